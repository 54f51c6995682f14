"""Execution contexts that are kept by shape."""

from __future__ import annotations

from taemi_edge.bundle.folder import Bundle
from taemi_edge.runtime.tensorrt.bindings import Bindings
from taemi_edge.runtime.tensorrt.buffers import Features, Inputs, Outputs


def test_a_context_is_made_once_for_a_shape(gpu, opened, engines: Bundle):
    by_part, layout = opened
    features, outputs = Features(gpu, engines.tokens, layout), Outputs(gpu, 2)
    bindings = Bindings(by_part, layout, Inputs(gpu, layout, mapped=False), features, outputs)
    assert bindings.vision(2) is bindings.vision(2)
    assert bindings.vision(2) is not bindings.vision(3)
    assert bindings.fusion(frozenset({"audio"})).shapes["vision"] == (2, 1, layout.dim("vision"))

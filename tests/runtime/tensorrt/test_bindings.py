"""Execution contexts that are kept by shape."""

from __future__ import annotations

from taemi_edge.bundle.folder import Bundle
from taemi_edge.runtime.tensorrt.bindings import Bindings
from taemi_edge.runtime.tensorrt.buffers import Features, Inputs, Results, Windows
from taemi_edge.runtime.tensorrt.calls import EncoderCase
from taemi_edge.runtime.work import Layout


def bindings_of(gpu, opened, engines: Bundle, **options) -> Bindings:
    by_part, layout = opened
    features = Features(gpu, engines.tokens, layout)
    inputs, results = Inputs(gpu, layout, Layout(2, 4.0, 0.5), mapped=False), Results(gpu, layout, mapped=False)
    buffers = (inputs, features, Windows(gpu, layout, features), results)
    return Bindings(by_part, layout, buffers, **options)


def test_a_context_is_made_once_for_a_shape(gpu, opened, engines: Bundle):
    bindings, layout = bindings_of(gpu, opened, engines), opened[1]
    two, three = EncoderCase("vision", 2), EncoderCase("vision", 3)
    assert bindings.encoder(two) is bindings.encoder(two)
    assert bindings.encoder(two) is not bindings.encoder(three)
    case = layout.ring_case(frozenset({"audio"}))
    assert bindings.head(case).shapes["vision"] == (2, 1, layout.dim("vision"))


def test_the_context_that_was_used_least_recently_goes_first(gpu, opened, engines: Bundle):
    gone: list[object] = []
    bindings = bindings_of(gpu, opened, engines, before_drop=gone.append, most=2)
    one, two, three = (EncoderCase("vision", n) for n in (1, 2, 3))
    first = bindings.encoder(one)
    bindings.encoder(two)
    assert bindings.encoder(one) is first
    bindings.encoder(three)
    assert (gone, len(bindings)) == ([two], 2)
    assert bindings.encoder(one) is first

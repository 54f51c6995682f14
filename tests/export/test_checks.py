"""Dynamic dimensions are proven: a length that the exporter wrote into the graph as a constant is found."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="export starts from PyTorch")

import onnx

from taemi_edge.bundle.values import TensorSpec
from taemi_edge.export.checks import frozen_dimensions
from taemi_edge.export.tracing import trace_module


class BakedBatch(torch.nn.Module):
    """Python's int() takes a length out of the trace; the graph still declares it dynamic."""

    def forward(self, x):
        return x.reshape(int(x.shape[0]), -1)


class BakedLength(torch.nn.Module):
    """A constant of the traced length."""

    def forward(self, x):
        return x + torch.ones(int(x.shape[1]))


@pytest.mark.parametrize(("module", "dim"), [(BakedBatch(), "batch"), (BakedLength(), "tokens")])
def test_a_dimension_that_the_exporter_froze_is_found(tmp_path: Path, module: torch.nn.Module, dim: str):
    spec = TensorSpec(name="x", dtype="float32", shape=("batch", "tokens"))
    out = TensorSpec(name="y", dtype="float32", shape=("batch", "tokens"))
    file, lengths = tmp_path / "frozen.onnx", {"batch": 2, "tokens": 7}
    trace_module(module, file, (spec,), (out,), lengths=lengths, opset=17)
    declared = onnx.load(file).graph.output[0].type.tensor_type.shape.dim
    assert [bool(d.dim_param) for d in declared] == [True, True]
    (found,) = frozen_dimensions(file, module, (spec,), lengths)
    assert found.startswith(f"{dim} (traced at {lengths[dim]}; at ")

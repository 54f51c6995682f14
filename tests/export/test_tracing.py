"""Exporting a small module: its graph runs at other lengths than the traced ones, and a frozen length is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="export starts from PyTorch")

import onnx
import onnxruntime

from taemi_edge.bundle.values import TensorSpec
from taemi_edge.errors import ExportError
from taemi_edge.export.tracing import export_module

X = TensorSpec(name="x", dtype="float32", shape=("batch", "steps", 4))
Y = TensorSpec(name="y", dtype="float32", shape=("batch", "steps", 2))
LENGTHS = {"batch": 2, "steps": 7}


def test_a_graph_runs_at_any_length_and_gives_what_pytorch_gives(tmp_path: Path):
    module = torch.nn.Linear(4, 2).eval()
    part = export_module(module, tmp_path / "linear.onnx", (X,), (Y,), lengths=LENGTHS, opset=17)
    assert (part.file, part.opset, part.parameters, part.precision) == ("linear.onnx", 17, 10, "fp32")
    session = onnxruntime.InferenceSession(str(tmp_path / part.file), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).standard_normal((3, 19, 4)).astype(np.float32)
    (y,) = session.run(None, {"x": x})
    np.testing.assert_allclose(y, module(torch.from_numpy(x)).detach().numpy(), atol=1e-6)


def test_what_torchscript_freezes_the_dynamo_exporter_is_asked_for(tmp_path: Path):
    class Frozen(torch.nn.Module):
        def forward(self, x):
            return x[..., :2] + torch.ones(int(x.shape[1]), 1)

    part = export_module(Frozen(), tmp_path / "frozen.onnx", (X,), (Y,), lengths=LENGTHS, opset=17)
    assert (part.exporter, part.opset) == ("dynamo", 18)


def test_a_frozen_dimension_is_refused_by_the_name_of_the_part(tmp_path: Path):
    """The dynamo exporter fails on the branch, and the tracer freezes the length."""

    class Frozen(torch.nn.Module):
        def forward(self, x):
            return x[..., :2] + torch.ones(int(x.shape[1]), 1) * (0 if x.sum() > 1e9 else 1)

    with pytest.raises(ExportError) as refused:
        export_module(Frozen(), tmp_path / "frozen.onnx", (X,), (Y,), lengths=LENGTHS, opset=17)
    text = str(refused.value)
    assert text.startswith(
        "frozen: expected a graph that does what PyTorch does, but the TorchScript exporter froze steps"
    )
    assert "(traced at 7; at steps = 3 expected (2, 3, 2), got an error)" in text
    assert "at test_tracing.py, line " in text
    assert list(tmp_path.iterdir()) == []


def test_a_module_in_training_is_exported_and_left_in_evaluation(tmp_path: Path):
    module = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(4, 2)).train()
    export_module(module, tmp_path / "drop.onnx", (X,), (Y,), lengths=LENGTHS, opset=17)
    assert not any(layer.training for layer in module.modules())
    assert "Dropout" not in {node.op_type for node in onnx.load(tmp_path / "drop.onnx").graph.node}


def test_real_values_are_repeated_or_cut_to_the_lengths_that_are_tried(tmp_path: Path):
    class Positive(torch.nn.Module):
        def forward(self, x):
            return x[..., :2].log()

    file, real = tmp_path / "positive.onnx", {"x": torch.ones(1, 3, 4)}
    with pytest.raises(ExportError, match="positive: expected finite numbers in y, PyTorch itself gives NaN"):
        export_module(Positive(), file, (X,), (Y,), lengths=LENGTHS, opset=17)
    part = export_module(Positive(), file, (X,), (Y,), lengths=LENGTHS, opset=17, examples=real)
    assert part.exporter == "torchscript"

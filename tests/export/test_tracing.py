"""Exporting a small module: its graph runs at other lengths than the traced ones, and a frozen length is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="export starts from PyTorch")

import onnxruntime

from taemi_edge.bundle.values import TensorSpec
from taemi_edge.errors import ExportError
from taemi_edge.export.tracing import export_module

X = TensorSpec(name="x", dtype="float32", shape=("batch", "steps", 4))
Y = TensorSpec(name="y", dtype="float32", shape=("batch", "steps", 2))


def test_a_graph_runs_at_any_length_and_gives_what_pytorch_gives(tmp_path: Path):
    module = torch.nn.Linear(4, 2).eval()
    part = export_module(module, tmp_path / "linear.onnx", (X,), (Y,), lengths={"batch": 2, "steps": 7}, opset=17)
    assert (part.file, part.opset, part.parameters, part.precision) == ("linear.onnx", 17, 10, "fp32")
    session = onnxruntime.InferenceSession(str(tmp_path / part.file), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).standard_normal((3, 19, 4)).astype(np.float32)
    (y,) = session.run(None, {"x": x})
    np.testing.assert_allclose(y, module(torch.from_numpy(x)).detach().numpy(), atol=1e-6)


def test_a_frozen_dimension_is_refused_by_the_name_of_the_part(tmp_path: Path):
    class Frozen(torch.nn.Module):
        def forward(self, x):
            return x[..., :2] + torch.ones(int(x.shape[1]), 1)

    with pytest.raises(ExportError, match=r"frozen: expected dynamic .* the exporter froze steps \(traced at 7"):
        export_module(Frozen(), tmp_path / "frozen.onnx", (X,), (Y,), lengths={"batch": 2, "steps": 7}, opset=17)

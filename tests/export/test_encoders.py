"""Encoders of many families export, with values that were compared at other lengths and under ragged masks."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="export starts from PyTorch")

from taemi_edge.bundle.values import TensorSpec
from taemi_edge.export.tracing import export_module
from tests.export.encoders import ENCODERS, LENGTHS


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.filterwarnings("ignore:.*torchvision.*")
def test_an_encoder_exports_at_opset_17(name: str, tmp_path: Path):
    torch.manual_seed(0)
    encoder = ENCODERS[name]
    module = encoder.build()
    features = TensorSpec(name="features", dtype="float32", shape=encoder.shape)
    part = export_module(module, tmp_path / "x.onnx", encoder.inputs, (features,), lengths=LENGTHS, opset=17)
    assert (part.exporter, part.opset) == ("torchscript", 17)
    assert not any(layer.training for layer in module.modules())

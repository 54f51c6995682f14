"""The highest rates of this machine."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from taemi_edge.bench import ceilings
from taemi_edge.bench.ceilings import host_ceilings, torch_ceilings


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small copies: the sizes of a benchmark take seconds."""
    monkeypatch.setattr(ceilings, "_COPY_BYTES", 1 << 26)
    monkeypatch.setattr(ceilings, "_RUNS", 2)
    monkeypatch.setattr(ceilings, "_SIDE", 256)


def test_the_processor_copies_and_multiplies():
    found = host_ceilings()
    assert found["copy_gb_s"] > 0
    assert found["fp32_tflop_s"] > 0
    assert ("int8_tflop_s" in found) == (find_spec("onnx") is not None)
    assert found.get("int8_tflop_s", 1.0) > 0


def test_pytorch_on_the_processor_multiplies():
    torch = pytest.importorskip("torch")
    assert torch_ceilings(torch.device("cpu")).keys() == {"fp32_tflop_s"}

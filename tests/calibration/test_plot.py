"""Sensitivity is drawn with a panel for each part."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="pictures need the extra `plot`")
pytest.importorskip("onnx", reason="sensitivity is measured with onnx")

from taemi_edge.calibration.plot import plot_sensitivity
from taemi_edge.calibration.sensitivity import BlockCost, PartSensitivity
from taemi_edge.taemi.names import PARTS


def test_a_picture_has_blocks_that_stay_and_blocks_that_are_left_out(tmp_path: Path):
    blocks = tuple(
        BlockCost(block=f"layers.{i}", cost=10.0**-i, loss=None, weights=9, macs_share=0.5, excluded=why)
        for i, why in enumerate((None, "too much"))
    )
    found = PartSensitivity(blocks=blocks, methods={"minmax": 0.99}, steps=((1.0, 0.1), (0.5, 0.0)))
    file = tmp_path / "sensitivity.svg"
    of_parts = dict.fromkeys(PARTS[:2], found)
    plot_sensitivity({"int8": of_parts, "fp8": of_parts}, "INT8 and FP8 block by block", file)
    assert "</svg>" in file.read_text()

"""Every block has a cost and a saving."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("onnx", reason="graphs are quantised with onnx")


from taemi_edge.bundle.folder import Bundle
from taemi_edge.taemi.names import PARTS


def test_sensitivity_names_every_block_with_its_cost_and_its_saving(calibrated: Bundle):
    content = json.loads((calibrated.folder / "sensitivity.json").read_text())
    for part in PARTS:
        blocks = content["parts"][part]["blocks"]
        assert sum(block["macs_share"] for block in blocks) == pytest.approx(1)
        assert all(block["cost"] >= 0 or abs(block["cost"]) < 1e-9 for block in blocks)
        assert set(content["parts"][part]["methods"]) == {"minmax", "percentile", "entropy", "per tensor"}
    assert (calibrated.folder / "sensitivity.png").stat().st_size > 10_000

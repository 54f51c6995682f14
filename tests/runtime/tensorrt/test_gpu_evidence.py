"""The modules of `make gpu-evidence` that need engines, on the stand-in for a GPU."""

from __future__ import annotations

import json
from pathlib import Path

from taemi_edge.bundle.folder import Bundle
from tools.gpu_evidence import device_hops, layers


def test_hops_are_timed_on_the_device_and_told_by_part(engines: Bundle, tmp_path: Path):
    device_hops.main([str(engines.folder), "--hops", "16", "--json", str(tmp_path / "hops.json")])
    report = json.loads((tmp_path / "hops.json").read_text())
    [found] = report["sources"]
    assert found["sources"] == 1
    assert found["execute_us"]["hops"] > 0  # those that were interrupted are left out
    assert found["execute_us"]["median"] > 0
    assert "launch" in found["parts_us"]
    assert report["machine"]["gpu"]


def test_layers_are_told_by_part(engines: Bundle, tmp_path: Path):
    layers.main([str(engines.folder), "--json", str(tmp_path / "layers.json")])
    parts = json.loads((tmp_path / "layers.json").read_text())["parts"]
    assert set(parts) == set(engines.manifest.parts)
    assert parts["vision"]["count"] == len(parts["vision"]["layers"]) > 0
    assert parts["vision"]["casts"] == 0

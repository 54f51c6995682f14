"""The commands that look at bundles: `parity` and `inspect`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def test_inspect_shows_what_a_bundle_holds(cli_here, tiny_folder, tmp_path: Path):
    done = cli_here("inspect", tiny_folder, "--json", tmp_path / "i.json")
    assert done.returncode == 0
    for words in (
        "vision.onnx",
        "fp32",
        "untrained",
        "hashes verified",
        "taemi-tiny",
        "pixels uint8 (frames, 32, 32, 3)",
    ):
        assert words in done.stdout
    described = json.loads((tmp_path / "i.json").read_text())
    assert described["hashes_verified"] == 9
    assert all(np.isfinite(norm) and norm > 0 for norm in described["token_norms"].values())


def test_a_bundle_passes_against_its_own_golden_outputs(cli, tiny_folder, tmp_path: Path):
    done = cli("parity", tiny_folder, "--json", tmp_path / "p.json", "--threads", 1)
    assert done.returncode == 0, done.stderr
    stages = {stage["stage"] for stage in json.loads((tmp_path / "p.json").read_text())["stages"]}
    assert {"vision", "audio", "text", "fusion"} <= stages
    for stage in stages:
        assert stage in done.stdout

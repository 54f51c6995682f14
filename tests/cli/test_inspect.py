"""`taemi-edge inspect`, and the command line without a command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def test_inspect_shows_what_a_bundle_holds(cli, tiny_folder, tmp_path: Path):
    done = cli("inspect", tiny_folder, "--json", tmp_path / "i.json")
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
    assert described["hashes_verified"] == 7
    assert all(np.isfinite(norm) and norm > 0 for norm in described["token_norms"].values())


def test_version_and_no_arguments(cli):
    from taemi_edge import __version__

    assert cli("--version").stdout.strip() == __version__
    assert cli("run").returncode == 2

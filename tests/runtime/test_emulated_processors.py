"""Engines on a processor without VNNI, which qemu emulates: no sum is wrong there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.emulated_processors import emulator
from taemi_edge.runtime.processor import kernels_are_exact

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "benchmarks/emulated_processors.py"


@pytest.mark.nightly
@pytest.mark.skipif(emulator() is None, reason="no qemu-x86_64 (qemu-user-static), or no x86 Linux")
def test_engines_are_refused_or_right_without_vnni(calibrated_folder: Path, tmp_path: Path):
    file = tmp_path / "found.json"
    words = [sys.executable, TOOL, calibrated_folder, "--processors", "Haswell", "--output", file]
    subprocess.run(words, check=True, capture_output=True, cwd=ROOT)
    [found] = json.loads(file.read_text())["processors"]
    assert found["integer_kernels_are_exact"] is False
    if kernels_are_exact():
        assert found["engines_built_here"]["exit"] == 2
        assert "integer kernels add up exactly, and they saturate on this one" in found["engines_built_here"]["said"]
    anew = found["built_anew_there"]
    assert (anew["exit"], anew["verified"], anew["parity_there"], anew["parity_here"]) == (0, True, 0, 0)

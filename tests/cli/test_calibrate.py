"""The command `calibrate`, used wrongly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.checks import refused

pytest.importorskip("onnx", reason="graphs are quantised with onnx")


def test_clips_or_ranges_are_needed(cli, tiny_folder: Path):
    refused(cli("calibrate", tiny_folder), "expected --data CORPUS to calibrate on, or --ranges")

"""The command `calibrate`, used wrongly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.checks import refused

pytest.importorskip("onnx", reason="graphs are quantised with onnx")


def test_clips_or_ranges_are_needed(cli_here, tiny_folder: Path):
    refused(cli_here("calibrate", tiny_folder), "expected --data CORPUS to calibrate on, or --ranges")

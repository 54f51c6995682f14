"""The command `calibrate`, used wrongly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.checks import refused

pytest.importorskip("onnx", reason="graphs are quantised with onnx")


def test_what_is_always_made_is_not_asked_for(cli_here, tiny_folder: Path):
    done = cli_here("calibrate", tiny_folder, "--data", tiny_folder, "--also", "fp8", "--also", "int8")
    refused(done, "--also 'int8': expected bf16 or fp8 (FP16 and INT8 are always made)")


def test_clips_or_ranges_are_needed(cli_here, tiny_folder: Path):
    refused(cli_here("calibrate", tiny_folder), "expected --data CORPUS to calibrate on, or --ranges")

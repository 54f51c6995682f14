"""The commands `export` and `init`, used wrongly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.checks import refused


def test_a_clip_without_its_transcript_is_refused(cli_here, demo_video: Path):
    refused(cli_here("export", "taemi-tiny", "--clip", demo_video), "--clip and --transcript go together")


def test_a_checkpoint_is_never_overwritten(cli_here, tmp_path: Path):
    pytest.importorskip("torch", reason="a checkpoint is made with PyTorch")
    refused(cli_here("init", "taemi-tiny", "--output", tmp_path), "exists and might hold a trained checkpoint")


def test_a_python_file_wants_the_name_of_a_function(cli_here):
    pytest.importorskip("torch", reason="a declared model is exported with PyTorch")
    refused(cli_here("export", "mine/model.py"), "expected FILE.py:FUNCTION")

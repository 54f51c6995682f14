"""Too few clips, and clips that lack a stream, give no ranges."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="graphs are quantised with onnx")


from taemi_edge.calibration.calibrate import calibrate_bundle
from taemi_edge.errors import CalibrationError
from taemi_edge.taemi.vidmimic2 import open_corpus
from tests.calibration.recipes import few
from tests.cli.checks import refused


def test_too_few_clips(cli_here, tiny_folder, corpus_folder, tmp_path):
    done = cli_here("calibrate", tiny_folder, "--data", corpus_folder, "--output", tmp_path / "out", "--clips", 64)
    refused(done, "expected at least 8 clips to judge on (split test or valid), got 4")
    assert list(tmp_path.iterdir()) == []


def test_clips_of_one_presence_pattern(tiny_folder, corpus_folder, tmp_path):
    silent = Path(shutil.copytree(corpus_folder, tmp_path / "corpus"))
    shutil.rmtree(silent / "transcripts")
    with pytest.raises(
        CalibrationError, match="each stream live in some, got .* alone: nothing shows the range of text"
    ):
        calibrate_bundle(tiny_folder, open_corpus(silent), few(), tmp_path / "out", workers=1)
    assert [entry.name for entry in tmp_path.iterdir()] == ["corpus"]

"""The inputs that a rival's own INT8 is calibrated on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="calibrations read graphs with onnx")

from taemi_edge.bench import calibration_feeds
from taemi_edge.bench.calibration_feeds import CalibrationFeeds, write_calibration_feeds
from taemi_edge.bundle.folder import Bundle
from taemi_edge.errors import UsageError
from taemi_edge.progress import SILENT


def test_every_part_has_real_inputs(tiny: Bundle, corpus_folder: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(calibration_feeds, "CLIPS", 8)
    write_calibration_feeds(tiny, corpus_folder, tmp_path, SILENT, workers=1)
    written = CalibrationFeeds(tmp_path)
    assert "synthetic clips" in written.described
    assert "without audio frontend, as calibration/taemi-tiny.toml says" in written.described
    for part, spec in tiny.manifest.parts.items():
        feeds, left_out = written.of(part)
        assert 4 <= len(feeds) <= 300
        assert not [problem for of_one in feeds for problem in spec.feed_problems(of_one)]
        assert bool(left_out) == (part == "audio")


def test_a_stream_that_no_clip_has_is_named(tmp_path: Path):
    np.savez(tmp_path / "audio.npz")
    (tmp_path / "calibration.json").write_text('{"described": "", "left_out": {}}')
    with pytest.raises(UsageError, match="audio: expected a clip in --data that has this stream, found none"):
        CalibrationFeeds(tmp_path).of("audio")

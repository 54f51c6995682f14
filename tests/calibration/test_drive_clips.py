"""What was logged on a robot calibrates a bundle: some clips of the drive give ranges, and others judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx", reason="calibration needs the extra `export`")
pytest.importorskip("mcap")
pytest.importorskip("rosbags")

from taemi_edge.bundle.folder import open_bundle
from taemi_edge.calibration.clip_selection import read_clips
from taemi_edge.calibration.recipe import CalibrationRecipe
from taemi_edge.corpora.drive_ranges import DriveOptions
from taemi_edge.corpora.opening import open_any_corpus
from taemi_edge.progress import SILENT
from tests.robots.drives import write_mcap
from tests.robots.messages import Form, messages


def test_clips_of_a_drive_give_ranges_and_others_judge(drive: Any, robot_folder: Path, tmp_path: Path):
    write_mcap(tmp_path / "drive.mcap", messages(drive, Form(pictures="jpeg", others=False)), chunk_size=1 << 14)
    corpus = open_any_corpus(tmp_path / "drive.mcap", needs_labels=False, drives=DriveOptions(clip_s=0.5))
    recipe = CalibrationRecipe(name="few", clips=6, held_out=3, min_clips=3, least_rows=0)
    bundle = open_bundle(robot_folder)
    found = read_clips(corpus, recipe, bundle, tmp_path / "scratch", 1, SILENT)
    assert (len(found.calibrating), len(found.judging), found.data, found.synthetic) == (6, 3, "drive.mcap", False)
    assert found.problems == {}
    assert {len(clip.features["eye"]) for clip in found.calibrating} <= {2, 3}
    assert {len(clip.features["wrist"]) for clip in found.judging} == {10}

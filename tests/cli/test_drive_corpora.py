"""Recordings as corpora, as users type it: extract, calibrate and evaluate on what was logged on a robot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcap")
pytest.importorskip("rosbags")

from taemi_edge.corpora.feature_store import open_store
from tests.robots.drives import write_bag, write_mcap
from tests.robots.messages import Form, messages


@pytest.fixture(scope="module")
def drives(drive: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drives")
    write_mcap(folder / "monday.mcap", messages(drive, Form(pictures="h264", others=False)), chunk_size=1 << 14)
    write_bag(folder / "tuesday", messages(drive, Form(pictures="none", others=False)))
    return folder


def test_a_folder_of_recordings_is_extracted_and_gone_on_with(cli_here, drives: Path, robot_folder: Path, tmp_path):
    words = ("extract", robot_folder, "--data", drives, "-o", tmp_path / "store", "--workers", 1)
    done = cli_here(*words)
    assert done.returncode == 0
    assert "6 clips" in done.stdout
    assert "monday.mcap: topics were chosen by their types: --map eye=/camera/video" in done.stderr
    assert "3 with no eye" in done.stderr
    store = open_store(tmp_path / "store")
    assert [len(clip.features["eye"]) for clip in store.read()] == [10, 10, 10, 0, 0, 0]
    assert cli_here(*words).stdout.startswith(f"{tmp_path / 'store'}: 6 clips in 1 shards, 0 new")
    other = cli_here(*words, "--cut", 3)
    assert other.returncode == 2
    assert "Traceback" not in other.stderr


def test_labels_of_a_table_judge_ranges(cli_here, drives: Path, robot_folder: Path, tmp_path: Path):
    for file in drives.iterdir():
        (tmp_path / file.name).symlink_to(file)
    alone = cli_here("evaluate", robot_folder, "--data", tmp_path)
    assert (alone.returncode, "found recordings alone" in alone.stderr) == (2, True)
    rows = [f"{day},{at},{at + 2},{at / 10},{1 - at / 10}" for day in ("monday.mcap", "tuesday") for at in (0, 2, 4)]
    (tmp_path / "samples.csv").write_text("\n".join(["recording,start_s,end_s,effort.push,effort.turn", *rows]))
    words = ("--data", tmp_path, "--split", "all", "--workers", 1, "--json", tmp_path / "r.json")
    done = cli_here("evaluate", robot_folder, *words, "--map", "talk=/transcript")
    assert done.returncode == 0
    assert json.loads((tmp_path / "r.json").read_text())["natural"]["clips"] == 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--map", "eye=/nowhere"), "expected a topic of the recording, which has /camera/video, /imu/data"),
        (("--map", "wrist=/imu/data.nothing"), "nothing"),
        (("--map", "eye"), "--map"),
        (("--clock", "sun"), "expected auto, header or log"),
        (("--cut", "0"), "--cut 0: expected seconds"),
    ],
)
def test_wrong_words_are_one_sentence(cli_here, drives: Path, robot_folder: Path, tmp_path, words: Any, message: str):
    done = cli_here("extract", robot_folder, "--data", drives, "-o", tmp_path / "store", "--workers", 1, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr

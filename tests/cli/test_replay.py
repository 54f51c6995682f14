"""`taemi-edge replay` as its users type it: rightly, and wrongly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("foxglove", reason="recordings are written with foxglove-sdk")
pytest.importorskip("mcap", reason="recordings are read with mcap")
pytest.importorskip("rosbags")
pytest.importorskip("torch")

from tests.parity.recorded_runs import record


@pytest.fixture(scope="module")
def run(robot_folder: Path, drive: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("run") / "run.mcap"
    record(robot_folder, file, dict(drive.files), "wrist@2-4", lossless=True)
    record(robot_folder, file.with_name("usual.mcap"), dict(drive.files))
    return file


def test_a_replay_prints_tables_and_writes_lines(cli_here, run: Path, robot_folder: Path, tmp_path: Path):
    places = ("--output", tmp_path / "lines.jsonl", "--plot", tmp_path / "r.png", "--json", tmp_path / "r.json")
    done = cli_here("replay", run, robot_folder, "--tolerance", "0", *places)
    assert (done.returncode, done.stderr) == (0, "")
    assert "run.mcap, replayed with robot: 12 hops" in done.stdout
    assert "effort" in done.stdout
    assert "hops changed" in done.stdout
    lines = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert [line["time_s"] for line in lines] == [0.5 * n for n in range(1, 13)]
    assert {tuple(line["difference"]["effort"].items()) for line in lines} == {(("push", 0.0), ("turn", 0.0))}
    written = json.loads((tmp_path / "r.json").read_text())
    assert (written["hops"], written["largest"], written["predicted"]["both"]) == (12, 0.0, 12)
    assert (tmp_path / "r.png").stat().st_size > 10_000


def test_outputs_beyond_the_tolerance_are_exit_code_1(cli_here, run: Path, robot_folder: Path):
    usual = run.with_name("usual.mcap")
    done = cli_here("replay", usual, robot_folder, "--map", "eye=eye", "--tolerance", "0")
    assert done.returncode == 1
    assert "expected outputs within 0 of the recorded ones, got 0." in done.stderr
    assert "pictures and sound were compressed" in done.stderr
    assert cli_here("replay", usual, robot_folder, "--tolerance", "1").returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--map", "eye"), "--map eye: expected NAME=RECORDED"),
        (("--map", "nose=eye"), "expected a stream of the bundle, eye (video), wrist (series), talk (text)"),
        (("--source", "door"), "expected one of its sources"),
        (("--plot", "r.exe"), "r.exe"),
    ],
)
def test_wrong_words_are_one_sentence(cli_here, run: Path, robot_folder: Path, words: Any, message: str):
    done = cli_here("replay", run, robot_folder, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_replayed_is_never_written_over(cli_here, run: Path, robot_folder: Path):
    done = cli_here("replay", run, robot_folder, "--output", run)
    assert done.returncode == 2
    assert "expected another file" in done.stderr

"""Recordings of robots as sources of a run: predictions equal those of the same data as plain files."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcap")
pytest.importorskip("rosbags")

import av

import taemi_edge as te
from taemi_edge.errors import UsageError
from taemi_edge.runtime.files import RunOptions, run_file, run_together
from taemi_edge.runtime.json_lines import JsonLines
from taemi_edge.runtime.prediction import Prediction
from tests.cli.checks import lines_of, refused
from tests.robots.drives import write_bag, write_mcap
from tests.robots.messages import Form, messages


@pytest.fixture(scope="module")
def recorded(drive: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drive as MCAP with lossless pictures."""
    return write_mcap(tmp_path_factory.mktemp("recorded") / "drive.mcap", messages(drive, Form("rgb8")))


@pytest.fixture(scope="module")
def wanted(drive: Any, robot_folder: Path) -> list[Prediction]:
    """The predictions of the same data as a video, a table and a transcript."""
    streams = {name: file for name, file in drive.files.items() if name != "eye"}
    with te.load(robot_folder, threads=1) as model:
        return list(model.run(drive.files["eye"], streams=streams))


def same(found: list[Prediction], wanted: list[Prediction]) -> None:
    assert [p.time_s for p in found] == [p.time_s for p in wanted]
    assert [p.presence for p in found] == [p.presence for p in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one.outputs["effort"] == pytest.approx(other.outputs["effort"], abs=5e-6)


def test_predictions_equal_those_of_plain_files(robot_folder: Path, recorded: Path, wanted: list[Prediction]) -> None:
    with te.load(robot_folder, threads=1) as model:
        same(list(model.run(recorded)), wanted)


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
def test_a_bag_gives_the_same(
    robot_folder: Path, drive: Any, wanted: list[Prediction], tmp_path: Path, storage: Any
) -> None:
    folder = write_bag(tmp_path / "bag", messages(drive, Form("png")), storage=storage)
    with te.load(robot_folder, threads=1) as model:
        found = list(model.run(folder, topics={"eye": "/camera/image_raw/compressed"}, clock="header"))
    same(found, wanted)
    assert found[0].source == "bag"


def test_a_recording_that_was_cut_off_gives_what_was_recorded(
    robot_folder: Path, recorded: Path, wanted: list[Prediction], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(recorded.read_bytes()[: recorded.stat().st_size // 2])
    with te.load(robot_folder, threads=1) as model, caplog.at_level(logging.WARNING, "taemi_edge.runtime"):
        found = list(model.run(cut))
    assert 4 <= len(found) < len(wanted)
    same(found, wanted[: len(found)])
    assert any("was cut off" in record.message for record in caplog.records)


def test_several_recordings_run_together(
    robot_folder: Path, recorded: Path, wanted: list[Prediction], drive: Any, tmp_path: Path
) -> None:
    others = [shutil.copyfile(recorded, tmp_path / f"{name}.mcap") for name in ("a", "b")]
    with JsonLines(tmp_path / "lines.jsonl") as lines:
        summary = run_together(te.open_bundle(robot_folder), others, RunOptions(threads=1), lines)
    for one in summary.sources.values():
        same(one.predictions, wanted)


def test_what_is_lost_is_missing(robot_folder: Path, drive: Any, recorded: Path, tmp_path: Path) -> None:
    with te.load(robot_folder, threads=1) as model:
        rehearsed = list(model.run(recorded, drops=["wrist@1-5"]))
        assert rehearsed[7].presence == {"eye": "live", "wrist": "missing", "talk": "live"}
        sent = [one for one in messages(drive, Form("png")) if not one.topic.startswith("/camera")]
        lost = list(model.run(write_mcap(tmp_path / "blind.mcap", sent)))
        assert lost[-1].presence["eye"] == "missing"
        assert lost[-1].reason["eye"] == "the recording has no topic that fits it"


def test_options_of_the_wrong_kind(robot_folder: Path, recorded: Path, drive: Any) -> None:
    with te.load(robot_folder, threads=1) as model:
        with pytest.raises(UsageError, match="expected topics by name"):
            model.run(recorded, topics=["eye"])
        with pytest.raises(UsageError, match=r"clock 'sim': expected auto, header or log"):
            model.run(recorded, clock="sim")
        with pytest.raises(UsageError, match=r"topics nose=/imu/data: expected one of eye \(video\)"):
            list(model.run(recorded, topics={"nose": "/imu/data"}))
        with pytest.raises(UsageError, match="expected a recording that feeds wrist"):
            list(model.run(drive.files["eye"], topics={"wrist": "/imu/data"}))


def test_the_annotated_video_shows_pictures_and_words(robot_folder: Path, recorded: Path, tmp_path: Path) -> None:
    options = RunOptions(annotate=tmp_path / "seen.mp4", threads=1)
    with JsonLines(tmp_path / "lines.jsonl") as lines:
        run_file(te.open_bundle(robot_folder), recorded, options, lines)
    with av.open(str(tmp_path / "seen.mp4")) as seen:
        frames = sum(1 for _ in seen.decode(video=0))
    assert frames >= 88


def test_the_command_line(
    robot_folder: Path, recorded: Path, wanted: list[Prediction], tmp_path: Path, cli_here: Any
) -> None:
    (tmp_path / "map.toml").write_text('[streams]\neye = "/camera/image_raw"\n', encoding="utf-8")
    output, plot = tmp_path / "out.jsonl", tmp_path / "out.png"
    flags = ["--map", tmp_path / "map.toml", "--map", "wrist=/imu/data", "-o", output, "--plot", plot]
    done = cli_here("run", robot_folder, recorded, *flags)
    assert [line["effort"] for line in lines_of(output.read_text())] == [
        pytest.approx(p.outputs["effort"], abs=5e-6) for p in wanted
    ]
    assert plot.exists()
    assert f"note: {recorded}: topics were chosen by their types: --map talk=/transcript" in done.stderr
    assert f"note: {recorded}: stamps of headers are taken" in done.stderr
    refused(
        cli_here("run", robot_folder, recorded, "--map", "eye=/imu"),
        "--map eye=/imu: expected a topic of the recording, which has /battery, /camera/image_raw",
    )
    refused(cli_here("run", robot_folder, recorded, "--clock", "sim"), "--clock 'sim': expected auto, header or log")
    refused(cli_here("run", robot_folder, recorded, "-o", recorded), "expected another file than")


def test_inspect(robot_folder: Path, recorded: Path, tmp_path: Path, cli_here: Any) -> None:
    shown = cli_here("inspect", recorded, robot_folder, "--json", tmp_path / "a.json").stdout
    assert "/camera/image_raw" in shown
    assert "--map eye=/camera/image_raw, by its type" in shown
    described = json.loads((tmp_path / "a.json").read_text())
    imu = next(topic for topic in described["topics"] if topic["name"] == "/imu/data")
    assert (imu["count"], imu["streams"]) == (1200, ["wrist"])
    assert "linear_acceleration.x" in imu["fields"]
    assert cli_here("inspect", recorded).stdout.count("/imu/data") == 1
    assert "problem" in cli_here("inspect", robot_folder, recorded, "--map", "eye=/nothing").stdout
    refused(cli_here("inspect", robot_folder, robot_folder), "expected a recording beside the bundle")
    refused(cli_here("inspect", robot_folder, "--clock", "log"), "--clock: expected a recording beside the bundle")


def test_names_in_a_recording_cannot_write_to_the_terminal(
    drive: Any, robot_folder: Path, tmp_path: Path, cli_here: Any
) -> None:
    sent = (replace(one, topic=f"{one.topic}\x1b]0;mine\x07") for one in messages(drive, Form("none", others=False)))
    file = write_mcap(tmp_path / "drive.mcap", sent)
    for done in (cli_here("inspect", file, robot_folder), cli_here("run", robot_folder, file)):
        said = done.stdout + done.stderr
        assert "/imu/data\\x1b]0;mine\\x07" in said
        assert "\x1b]" not in said
        assert "\x07" not in said

"""Recordings of robots that are played as live sources: at their own pace, all streams in step."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcap")
pytest.importorskip("rosbags")

import taemi_edge as te
from taemi_edge.bundle.streams import PresenceSpec, SeriesSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.errors import UsageError
from taemi_edge.live.capture.readers import DecodedPicture, DecodedRows, DecodedWords
from taemi_edge.live.capture.recording_reader import RecordingReader, addresses_of, plan_play
from taemi_edge.live.capture.settings import WatchSettings
from tests.cli.checks import refused
from tests.robots.drives import write_bag, write_mcap
from tests.robots.messages import Form, messages

TIMES = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
STREAMS: dict[str, StreamSpec] = {
    "eye": VideoSpec(feature_dim=4, presence=TIMES, size_hw=(8, 8), frames_per_second=5.0),
    "wrist": SeriesSpec(feature_dim=4, presence=TIMES, channels=6, rate_hz=200.0, chunk_s=0.5),
    "talk": TextSpec(feature_dim=4, presence=TIMES, max_tokens=8),
}


@pytest.fixture(scope="module")
def recorded(drive: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mcap(tmp_path_factory.mktemp("played") / "drive.mcap", messages(drive, Form("jpeg")))


def items_of(recorded: Path, name: str, repeats: bool = False, opened_after_s: float = 0.0) -> list[Any]:
    """What a stream gives up to the end of what is read; nobody waits for its time."""
    play, _ = plan_play(recorded, STREAMS, {}, "auto", repeats)
    play.position_s()
    if opened_after_s:
        assert play._start_s is not None
        play._start_s -= opened_after_s
    reader = RecordingReader(addresses_of(play)[name], WatchSettings(), STREAMS[name])
    try:
        items = []
        for item in reader.items():
            if item is None:
                break
            items.append(item)
        return items
    finally:
        reader.close()


def test_each_stream_gives_its_messages_with_their_times(recorded: Path, drive: Any) -> None:
    pictures = items_of(recorded, "eye")
    assert all(isinstance(item, DecodedPicture) for item in pictures)
    assert len(pictures) == 90
    assert pictures[-1].pts_s == pytest.approx(89 / 15, abs=0.3)
    rows = items_of(recorded, "wrist")
    assert all(isinstance(item, DecodedRows) and len(item.rows) <= 5 for item in rows)
    assert sum(len(item.rows) for item in rows) == 1200
    words = items_of(recorded, "talk")
    assert all(isinstance(item, DecodedWords) for item in words)
    assert [item.text for item in words] == [word for _, _, word in drive.words]


def test_who_comes_late_begins_where_it_is_played(recorded: Path) -> None:
    rows = items_of(recorded, "wrist", opened_after_s=4.0)
    assert 300 < sum(len(item.rows) for item in rows) <= 410
    assert rows[0].times_s[0] == pytest.approx(0.0, abs=0.5)
    again = items_of(recorded, "wrist", repeats=True, opened_after_s=6.05)
    assert sum(len(item.rows) for item in again) == 1200


def test_a_run_in_its_own_time(robot_folder: Path, recorded: Path, tmp_path: Path) -> None:
    began_s = time.monotonic()
    with te.load(robot_folder, threads=1) as model:
        found = list(model.stream(recorded, duration_s=2.5, topics={"wrist": "/imu/data"}))
    assert time.monotonic() - began_s > 2.0
    assert len(found) == 5
    assert found[-1].presence == {"eye": "live", "wrist": "live", "talk": "live"}


def test_a_bag_again_and_again_on_the_command_line(robot_folder: Path, drive: Any, tmp_path: Path, cli: Any) -> None:
    short = [one for one in messages(drive, Form("jpeg")) if one.log_ns < messages_start() + 1_000_000_000]
    folder = write_bag(tmp_path / "bag", short, storage="mcap")
    flags = ["--live", "--loop", "--duration", "3", "-o", tmp_path / "out.jsonl", "--map", "wrist=/imu/data"]
    done = cli("run", robot_folder, folder, *flags)
    assert done.returncode == 0, done.stderr
    assert "again and again" in done.stderr
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert len(lines) == 6
    assert '"wrist":"live"' in lines[-1]
    assert '"eye":"live"' in lines[-1]


def messages_start() -> int:
    from tests.robots.messages import START_NS

    return START_NS


def test_sentences(robot_folder: Path, recorded: Path, cli_here: Any) -> None:
    refused(cli_here("run", "--live", robot_folder, recorded, "--map", "nose=/x"), "expected one of eye (video)")
    refused(cli_here("run", "--live", robot_folder, recorded, "--map", "eye=/x"), "expected a topic of the recording")
    refused(cli_here("run", "--live", robot_folder, recorded.parent / "no.mcap"), "expected a recording, found nothing")
    with te.load(robot_folder, threads=1) as model, pytest.raises(UsageError, match="a recording that feeds wrist"):
        list(model.stream("talk.mp4", topics={"wrist": "/imu/data"}, duration_s=0.5))

"""Recordings of simulations: on their /clock, whatever rate it ran at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcap")
pytest.importorskip("rosbags")

from taemi_edge.media.recordings.recorded_streams import RecordingSource
from taemi_edge.media.recordings.simulated_time import SimulatedTime
from tests.media.recordings.test_recorded_streams import STREAMS, hops_of, of_files, require_same
from tests.robots.drives import write_bag, write_mcap
from tests.robots.messages import Form, Sent, messages, moved, simulated

#: Simulations begin at 0, and stamps of zero are none: the drive begins a little later.
BEGINS_NS = 12 * 10**9
SECOND_NS = 10**9


def words_of(hops: list[Any]) -> list[Any]:
    return [word for hop in hops for word in hop.pieces["talk"]]


@pytest.mark.parametrize("rate", [0.2, 1.0, 3.0])
def test_a_simulation_at_any_rate_gives_what_plain_files_give(drive: Any, tmp_path: Path, rate: float) -> None:
    sent = simulated(messages(drive, Form("rgb8", words="plain"), BEGINS_NS), rate)
    with RecordingSource(write_mcap(tmp_path / "drive.mcap", sent), STREAMS) as source:
        found, rest = hops_of(source)
        assert any("/clock" in note for note in source.notes)
        assert source.duration_s == pytest.approx(drive.seconds, abs=0.05)
    require_same(found, of_files(drive))
    ends_s = [word.end_s for word in words_of([*found, rest])]
    assert ends_s == pytest.approx([end_s for _, end_s, _ in drive.words], abs=0.025)  # a tick is 20 ms


def test_log_times_may_be_asked_for(drive: Any, tmp_path: Path) -> None:
    sent = simulated(messages(drive, Form("none"), BEGINS_NS), 2.0)
    with RecordingSource(write_bag(tmp_path / "bag", sent), {"wrist": STREAMS["wrist"]}, clock="log") as source:
        assert len(hops_of(source)[0]) == 6


def test_a_simulation_that_begins_anew_goes_on(drive: Any, tmp_path: Path) -> None:
    once: list[Sent] = list(messages(drive, Form("none", words="plain", others=False), BEGINS_NS))
    twice = [*simulated(once), *simulated(once, log_start_ns=1_772_366_500_000_000_000)]
    streams = {name: STREAMS[name] for name in ("wrist", "talk")}
    with RecordingSource(write_mcap(tmp_path / "drive.mcap", twice), streams) as source:
        found, rest = hops_of(source)
    words = words_of([*found, rest])
    assert [word.text for word in words] == [word for _, _, word in drive.words] * 2
    ends_s = [word.end_s for word in words]
    assert ends_s == sorted(ends_s)
    rows = sum(len(piece.rows) for hop in found for piece in hop.pieces["wrist"])
    assert rows > 2 * len(drive.imu) - 2 * 200


def test_a_range_is_one_of_the_simulation(drive: Any, tmp_path: Path) -> None:
    sent = simulated(messages(drive, Form("none"), BEGINS_NS), 4.0)
    file = write_mcap(tmp_path / "drive.mcap", sent)
    span = BEGINS_NS + 2 * SECOND_NS, BEGINS_NS + 4 * SECOND_NS
    with RecordingSource(file, {"wrist": STREAMS["wrist"]}, range_ns=span) as source:
        found, _ = hops_of(source)
    assert [hop.end_s for hop in found] == [0.5, 1.0, 1.5, 2.0]


@pytest.mark.parametrize("kept", [0, 1])
def test_a_clock_that_never_advances_is_none(drive: Any, tmp_path: Path, kept: int) -> None:
    sent = [moved(one, 1_772_366_400 * SECOND_NS) for one in messages(drive, Form("none"), 0)]
    tick = next(iter(simulated(messages(drive, Form("none"), BEGINS_NS))))
    ticks = [replace(tick, log_ns=sent[0].log_ns + at) for at in range(3 * kept)]
    with RecordingSource(write_mcap(tmp_path / "drive.mcap", [*ticks, *sent]), {"wrist": STREAMS["wrist"]}) as source:
        assert len(hops_of(source)[0]) == 12
        assert not any("/clock" in note for note in source.notes)


def test_time_stands_still_between_ticks_that_do_not_come() -> None:
    time = SimulatedTime()
    for at in range(10):
        time.tick(1000 + at * 10, 50 + at * 5)
    assert time.at_ns(1095) == 97
    assert time.at_ns(10**6) == 105
    time.tick(10**6, 95)  # it stood still
    time.tick(10**6 + 10, 100)
    assert time.at_ns(10**6 + 12) == 101
    time.tick(10**6 + 20, 3)  # it began anew
    assert time.at_ns(10**6 + 22) == 4

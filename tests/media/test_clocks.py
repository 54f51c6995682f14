"""Files that count time from different moments are brought to one clock, and what is assumed is said."""

from __future__ import annotations

import pytest

from taemi_edge.errors import InputError
from taemi_edge.media.clocks import Span, clock_of, common_clock

UNIX_S = 1_700_000_000.0
VIDEO = Span("a.mp4", "beginning", 0.0, 10.0, anchors=True)


def test_a_clock_is_told_by_its_first_time():
    assert [clock_of(t) for t in (-1.0, 0.0, 5000.0, UNIX_S)] == ["beginning"] * 3 + ["unix"]
    assert [clock_of(t, in_timestamps=True) for t in (12.0, UNIX_S)] == ["uptime", "unix"]


def test_files_of_one_clock_keep_their_distance_and_nothing_is_assumed():
    both = [Span("imu.csv", "unix", UNIX_S + 2, UNIX_S + 9), Span("heart.csv", "unix", UNIX_S, UNIX_S + 8)]
    assert common_clock(both) == ([-UNIX_S, -UNIX_S], [])
    assert common_clock([VIDEO, Span("imu.csv", "beginning", 3.0, 9.0)]) == ([0.0, 0.0], [])


def test_files_of_two_clocks_are_taken_to_begin_together():
    spans = [VIDEO, Span("imu.csv", "unix", UNIX_S + 1, UNIX_S + 9), Span("heart.csv", "unix", UNIX_S, UNIX_S + 8)]
    shifts_s, notes = common_clock(spans)
    assert shifts_s == [0.0, -UNIX_S, -UNIX_S]
    assert notes == ["a.mp4 counts from its own beginning, imu.csv has Unix time: they are taken to begin together"]


def test_a_series_alone_that_counts_from_long_before_begins_with_its_first_row():
    shifts_s, notes = common_clock([Span("imu.csv", "beginning", 5000.0, 5010.0)])
    assert shifts_s == [-5000.0]
    assert notes == ["imu.csv begins at 5000 s: this is taken as the beginning of the recording"]
    assert common_clock([Span("imu.csv", "beginning", 3.0, 9.0)]) == ([0.0], [])


def test_files_that_have_no_moment_in_common_are_refused():
    with pytest.raises(InputError, match=r"got imu.csv from 5000 s on and a.mp4 up to 10 s: bring them to one clock"):
        common_clock([VIDEO, Span("imu.csv", "beginning", 5000.0, 5010.0)])
    days = [
        Span("monday.csv", "unix", UNIX_S, UNIX_S + 9),
        Span("tuesday.csv", "unix", UNIX_S + 86_400, UNIX_S + 86_500),
    ]
    with pytest.raises(InputError, match="got tuesday.csv from 86400 s on and monday.csv up to 9 s"):
        common_clock(days)

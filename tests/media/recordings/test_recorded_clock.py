"""Which clock is chosen, and what happens where it leaps."""

from __future__ import annotations

import pytest

from taemi_edge.errors import UsageError
from taemi_edge.media.recordings.recorded_clock import Sample, Timeline, choose_clock, clock_named

SECOND = 10**9
NOW = 1_772_366_400 * SECOND


def stamped(apart_s: float, count: int = 5, every_s: float = 0.1) -> list[Sample]:
    """Messages whose stamps lie so far from their log times."""
    logged = [NOW + round(at * every_s * SECOND) for at in range(count)]
    return [Sample(log_ns, log_ns + round(apart_s * SECOND)) for log_ns in logged]


UNSTAMPED = [Sample(NOW + at * SECOND, None) for at in range(3)]


def test_stamps_are_taken_where_they_agree() -> None:
    clock = choose_clock({"/imu": stamped(-0.003), "/talk": UNSTAMPED}, "auto")
    assert clock.stamped == {"/imu"}
    assert clock.note.startswith("stamps of headers are taken, and log times of /talk")
    assert clock.time_ns("/imu", NOW, NOW - 5) == NOW - 5
    assert clock.time_ns("/talk", NOW, None) == NOW


@pytest.mark.parametrize(
    ("samples", "why"),
    [
        (stamped(-86_400), "the stamps of /imu lie 86400 s before the times at which they were logged"),
        (stamped(30), "lie 30 s after the times"),
        ([Sample(NOW + at * SECOND // 100, NOW) for at in range(5)], "do not advance"),
        (UNSTAMPED, "messages have no stamps"),
        ([*UNSTAMPED, Sample(NOW + 3, NOW)], "messages have no stamps"),
    ],
)
def test_stamps_that_are_not_believed(samples: list[Sample], why: str) -> None:
    clock = choose_clock({"/imu": samples, "/image": samples}, "auto")
    assert clock.stamped == frozenset()
    assert why in clock.note
    assert clock.time_ns("/imu", NOW, 5) == NOW


def test_what_is_asked_for_settles_it() -> None:
    assert choose_clock({"/imu": stamped(0)}, "log").stamped == frozenset()
    simulated = choose_clock({"/imu": stamped(-1e9), "/talk": UNSTAMPED}, "header")
    assert simulated.stamped == {"/imu"}
    assert simulated.time_ns("/imu", NOW, 7) == 7
    assert simulated.time_ns("/talk", NOW, None) == NOW - SECOND * 10**9
    with pytest.raises(UsageError, match="expected messages with stamps, got none of any topic"):
        choose_clock({"/talk": UNSTAMPED}, "header")
    with pytest.raises(UsageError, match="expected auto, header or log"):
        clock_named("sim")


def test_words_keep_the_time_at_which_they_were_said() -> None:
    late = [Sample(NOW, NOW - 8 * SECOND)]
    clock = choose_clock({"/imu": stamped(0), "/talk": late}, "auto", frozenset({"/talk"}))
    assert clock.stamped == {"/imu"}
    assert clock.time_ns("/talk", NOW, NOW - 8 * SECOND) == NOW - 8 * SECOND
    assert clock.time_ns("/talk", NOW, 3 * SECOND) == NOW


def test_a_senders_clock_that_is_set_on_the_way_is_left() -> None:
    clock = choose_clock({"/imu": stamped(0)}, "auto")
    assert clock.time_ns("/imu", NOW + SECOND, NOW + SECOND - 5) == NOW + SECOND - 5
    assert clock.time_ns("/imu", NOW + SECOND, 12 * SECOND) == NOW + SECOND


def placed(timeline: Timeline, topic: str, times: list[int], rate: float = 1.0) -> list[int | None]:
    """Where times in milliseconds lie that are logged as they come."""
    first = times[0]
    logged = [round((time - first) * rate) for time in times]
    found = [
        timeline.place(topic, t * 10**6, (NOW // 10**6 + log) * 10**6) for t, log in zip(times, logged, strict=True)
    ]
    return [None if time_ns is None else time_ns // 10**6 for time_ns in found]


def test_a_single_time_that_leaps_is_left_out() -> None:
    timeline = Timeline()
    ahead = 10**10
    assert placed(timeline, "/imu", [0, 10, ahead, 20, 30]) == [0, 10, None, 20, 30]
    assert timeline.left_out == 1
    assert timeline.set_at_ns == []


def test_a_clock_that_is_set_goes_on_and_other_topics_follow() -> None:
    timeline = Timeline()
    placed(timeline, "/imu", [0, 10, 20])
    placed(timeline, "/image", [0, 15])
    later = 10**11
    found = placed(timeline, "/imu", [later + at for at in range(0, 700, 10)])
    assert found[:50] == [None] * 50
    assert found[50:53] == [20, 30, 40]
    assert placed(timeline, "/image", [later + 700]) == [220]
    assert [at // 10**6 for at in timeline.set_at_ns] == [20]


def test_simulated_time_that_begins_anew_goes_on() -> None:
    timeline = Timeline()
    placed(timeline, "/imu", [9_000, 9_500])
    found = placed(timeline, "/imu", list(range(0, 3000, 100)), rate=0.5)
    assert found[-1] is not None
    assert found[-1] >= 9_500


def test_messages_that_were_held_up_are_no_new_clock() -> None:
    timeline = Timeline()
    placed(timeline, "/imu", [9_000, 9_500])
    burst = list(range(0, 3000, 10))
    assert placed(timeline, "/imu", burst, rate=0.001) == [None] * 300
    assert placed(timeline, "/imu", [9_600]) == [9_600]


def test_pauses_and_little_delays_are_neither() -> None:
    timeline = Timeline()
    assert placed(timeline, "/imu", [0, 10, 5, 600_000, 599_000]) == [0, 10, 5, 600_000, 599_000]
    assert timeline.left_out == 0

"""Timestamps of any kind are placed on the clock of the session."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.live.capture.clock import JUMP_S, SessionClock, StreamClock


@given(
    start=st.floats(-1e6, 1e9),
    delays=st.lists(st.floats(0, 0.4), min_size=2, max_size=60),
    drift=st.floats(0.98, 1.02),
)
def test_a_stream_is_placed_in_the_past_and_near_its_arrival(start: float, delays: list[float], drift: float):
    clock, now_s = StreamClock(), 0.0
    for index, delay in enumerate(delays):
        sent_s = index * 0.2
        now_s = max(now_s, 5.0 + sent_s + delay)
        time_s = clock.place(start + sent_s * drift, now_s)
        assert time_s <= now_s + 1e-5
        assert now_s - time_s < 0.4 + 0.02 * sent_s + 1e-5


@pytest.mark.parametrize("jump_s", [-1000.0, -5.0, 5.0, 86_400.0])
def test_a_clock_that_jumps_is_followed_at_once(jump_s: float):
    clock = StreamClock()
    before = [clock.place(100 + i * 0.04, 1 + i * 0.04) for i in range(50)]
    after = [clock.place(102 + jump_s + i * 0.04, 3 + i * 0.04) for i in range(50)]
    assert before == pytest.approx([1 + i * 0.04 for i in range(50)])
    assert after == pytest.approx([3 + i * 0.04 for i in range(50)])


def test_a_clock_that_runs_fast_does_not_lead_into_the_past():
    clock = StreamClock()
    for index in range(0, 60_000, 40):  # a minute, two per cent fast
        now_s = index / 1e3
        time_s = clock.place(now_s * 1.02, now_s)
        assert abs(now_s - time_s) < 0.02 * 11 + 0.01


def test_what_comes_late_after_a_hang_lies_where_it_was_sent():
    clock = StreamClock()
    for index in range(25):
        clock.place(index * 0.04, 10 + index * 0.04)
    assert clock.place(1.0, 16.0) == pytest.approx(11.0)
    assert clock.lag_s == pytest.approx(5.0)
    assert JUMP_S >= 1


def test_times_of_the_wall_clock_are_placed_by_their_age(monkeypatch):
    import taemi_edge.live.capture.clock as module

    clock = SessionClock()
    monkeypatch.setattr(module.time, "time", lambda: 2e9)
    assert clock.of_unix(2e9 - 3) == pytest.approx(clock.now_s() - 3, abs=0.1)


@pytest.mark.parametrize("hertz", [200.0, 15.0, 5.0])
@pytest.mark.parametrize("rate", [0.25, 0.5, 0.9, 1.0, 1.5, 2.0, 10.0])
def test_stamps_that_run_at_another_rate_are_placed_near_their_arrival(hertz: float, rate: float):
    clock, random, now_s = StreamClock(follows_rate=True), np.random.default_rng(0), 0.0
    times_s, ages_s = [], []
    for index in range(int(20 * hertz * rate)):
        now_s = max(now_s, 5.0 + index / hertz / rate + random.random() * 0.02)
        times_s.append(clock.place(1000 + index / hertz, now_s))
        ages_s.append(now_s - times_s[-1])
    assert min(ages_s) > -1e-6
    assert max(ages_s[len(ages_s) // 5 :]) < 0.1
    assert max(ages_s) < 1.3
    assert np.mean(np.diff(times_s)) == pytest.approx(1 / hertz / rate, rel=0.1)
    assert clock.rate == pytest.approx(rate, rel=0.02)


def test_a_camera_that_falls_behind_is_not_taken_for_a_slow_clock():
    clock = StreamClock()
    for index in range(75):
        clock.place(index * 0.04, 10 + index * 0.08)
    assert clock.lag_s > 2.5


def test_a_rate_that_changes_is_followed_within_seconds():
    clock, now_s, pts_s = StreamClock(follows_rate=True), 10.0, 50.0
    for rate in (1.0, 0.5, 2.0, 1.0):
        ages_s = []
        for _ in range(1000):
            now_s, pts_s = now_s + 0.01, pts_s + 0.01 * rate
            ages_s.append(now_s - clock.place(pts_s, now_s))
        assert max(ages_s) < 1.5
        assert max(ages_s[500:]) < 0.1
        assert clock.rate == pytest.approx(rate, rel=0.02)


def test_a_link_that_hangs_is_not_taken_for_another_rate():
    clock = StreamClock(follows_rate=True)
    for index in range(600):
        clock.place(index * 0.01, 10 + index * 0.01)
    late = [clock.place(6 + index * 0.01, 18 + index * 1e-4) for index in range(200)]  # two seconds in a burst
    assert late == pytest.approx([16 + index * 0.01 for index in range(200)], abs=0.02)


@pytest.mark.parametrize("pause_s", [1.5, 5.0, 60.0])
def test_a_simulation_that_stands_still_and_goes_on_is_followed(pause_s: float):
    clock = StreamClock(follows_rate=True)
    for index in range(600):
        clock.place(index * 0.01, 10 + index * 0.01)
    ages_s = []
    for index in range(1000):
        now_s = 16 + pause_s + index * 0.01
        ages_s.append(now_s - clock.place(6 + index * 0.01, now_s))
    assert max(ages_s[400:]) < 0.05


@pytest.mark.parametrize("jump_s", [-1000.0, -5.0, 0.6, 5.0, 86_400.0])
@pytest.mark.parametrize("rate", [0.5, 1.0, 2.0])
def test_a_simulated_clock_that_jumps_is_followed_at_once(jump_s: float, rate: float):
    clock = StreamClock(follows_rate=True)
    for index in range(800):
        clock.place(100 + index * 0.01 * rate, 1 + index * 0.01)
    after_s = [clock.place(100 + 8 * rate + jump_s + index * 0.01 * rate, 9 + index * 0.01) for index in range(800)]
    assert after_s[0] == 9
    ages_s = 9 + np.arange(800) * 0.01 - after_s
    assert ages_s.min() > -1e-6
    assert ages_s.max() < 0.5
    assert ages_s[-1] < 0.02


def test_messages_out_of_order_keep_their_places():
    clock, random = StreamClock(follows_rate=True), np.random.default_rng(1)
    order = np.concatenate([at + random.permutation(8) for at in range(0, 1600, 8)])
    placed = {int(index): clock.place(7 + index * 0.005, 3 + at * 0.005) for at, index in enumerate(order)}
    steps_s = np.diff([placed[index] for index in range(800, 1600)])
    assert np.median(steps_s) == pytest.approx(0.005, rel=0.05)
    assert np.percentile(steps_s, 1) > 0


@given(
    steps=st.lists(
        st.tuples(st.floats(-2, 20) | st.just(0.0), st.floats(0, 20) | st.just(0.0)), min_size=1, max_size=80
    )
)
def test_no_stamps_lead_into_the_future_or_fail(steps: list[tuple[float, float]]):
    clock, pts_s, now_s = StreamClock(follows_rate=True), 0.0, 0.0
    for follows_s, passed_s in steps:
        pts_s, now_s = pts_s + follows_s, now_s + passed_s
        assert clock.place(pts_s, now_s) <= now_s + 1e-6
        assert clock.rate > 0

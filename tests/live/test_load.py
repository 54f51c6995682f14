"""What is left out when hops take too long, and how all of it comes back."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taemi_edge.live.load import ALL, CALM_S, FULL, MOST_CALM_S, MOST_STRETCH, Level, LoadControl, ladder
from tests.live.specs import CAMERA

HOP_S, WINDOW_S = 0.5, 4.0
LEVELS = ladder(HOP_S, WINDOW_S, [CAMERA])


def drive(control: LoadControl, cost_s, seconds: float, now_s: float = 0.0) -> tuple[float, list[tuple[float, Level]]]:
    """Hops whose time follows from the level; returns the time at the end, and every change with its time."""
    end_s, changes = now_s + seconds, []
    while now_s < end_s:
        busy_s = cost_s(control.level)
        now_s += max(busy_s, control.hop_s)
        if control.judge(busy_s, now_s):
            changes.append((now_s, control.level))
    return now_s, changes


def work(share_s: float, each_s: float):
    """A machine whose hops take a time for each frame of a second, and one for themselves."""
    return lambda level: each_s + share_s * level.frames_share * HOP_S * level.stretch


def test_the_ladder_goes_from_all_to_one_frame_a_hop_and_then_to_longer_hops():
    assert LEVELS[0] == ALL
    assert [level.stretch for level in LEVELS] == sorted(level.stretch for level in LEVELS)
    shares = [level.frames_share for level in LEVELS]
    assert shares == sorted(shares, reverse=True)
    for level in LEVELS:
        frames = CAMERA.frames_per_second * HOP_S * level.stretch * level.frames_share
        assert frames >= 1 - 1e-9
        assert level.stretch * HOP_S <= WINDOW_S
    assert LEVELS[-1].stretch == MOST_STRETCH


@settings(deadline=None)
@given(st.floats(0.05, 20.0), st.floats(0.1, 60.0), st.floats(0.5, 60.0), st.floats(0.2, 10.0))
def test_a_ladder_is_bounded_for_any_model(hop_s, window_s, frames_per_second, missing_after_s):
    import msgspec

    presence = msgspec.structs.replace(CAMERA.presence, stale_after_s=0.1, missing_after_s=missing_after_s)
    video = msgspec.structs.replace(CAMERA, frames_per_second=frames_per_second, presence=presence)
    levels = ladder(hop_s, max(window_s, hop_s), [video])
    assert len(levels) <= 14
    assert len(set(levels)) == len(levels)
    for before, after in pairwise(levels):
        assert after.frames_share <= before.frames_share
        assert after.stretch >= before.stretch
    assert levels[-1].stretch * hop_s <= max(5.0, hop_s) + 1e-9
    assert all(0 < level.frames_share <= 1 for level in levels)


def test_too_much_work_is_shed_until_it_fits_and_all_comes_back():
    control = LoadControl(HOP_S, LEVELS)
    now_s, changes = drive(control, work(share_s=1.0, each_s=0.3), 60)
    assert control.reason is not None
    assert work(1.0, 0.3)(control.level) <= FULL * control.hop_s
    assert changes[0][0] < 10
    assert [level for _, level in changes if level.stretch == 1]  # frames first
    now_s, changes = drive(control, work(0.1, 0.05), 120, now_s)
    assert control.level == ALL
    assert control.reason is None
    assert changes[-1][0] - changes[0][0] <= 4 * CALM_S * len(LEVELS)  # an attempt or two may have been too early


def test_one_slow_hop_changes_nothing():
    control = LoadControl(HOP_S, LEVELS)
    now_s = 0.0
    for index in range(200):
        busy_s = 4.0 if index % 20 == 0 else 0.2
        now_s += max(busy_s, HOP_S)
        assert not control.judge(busy_s, now_s)
    assert control.level == ALL
    assert control.degraded_s == 0


def test_without_shedding_it_only_says_so():
    control = LoadControl(HOP_S)
    _, changes = drive(control, lambda level: 2.0, 30)
    assert control.level == ALL
    assert control.reason == "hops of 0.5 s took 2.0 s"
    assert len(changes) == 1
    _, changes = drive(control, lambda level: 0.4, 30, 100.0)
    assert control.reason is None


def test_what_was_too_much_again_is_tried_less_and_less_often():
    control = LoadControl(HOP_S, LEVELS)
    _, changes = drive(control, lambda level: 0.2 if level != ALL else 0.6, 3600)
    down = [at_s for at_s, level in changes if level == ALL]
    pauses = [b - a for a, b in pairwise(down)]
    assert pauses == sorted(pauses)
    assert len(down) <= 12
    assert pauses[-1] > MOST_CALM_S / 2


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.integers(1, 40)), max_size=30))
def test_it_never_swings_faster_than_it_may_and_always_comes_back(phases):
    control = LoadControl(HOP_S, LEVELS)
    now_s, last_down_s, at = 0.0, -CALM_S, 0
    for busy_s, hops in phases:
        for _ in range(hops):
            now_s += max(busy_s, control.hop_s)
            control.judge(busy_s, now_s)
            here = LEVELS.index(control.level)
            assert (control.reason is None) == (here == 0)
            if here < at:
                assert here == at - 1
                assert now_s - last_down_s >= CALM_S - 1e-6
                last_down_s = now_s
            at = here
    now_s, _ = drive(control, lambda level: 0.01, (MOST_CALM_S + 20) * len(LEVELS), now_s)
    assert control.level == ALL
    assert control.reason is None
    assert json.dumps(control.degraded_s)


@pytest.mark.parametrize("hop_s", [0.5, 2.0, 10.0])
def test_no_hop_is_stretched_beyond_what_a_watchdog_bears(hop_s):
    assert all(level.stretch * hop_s <= max(5.0, hop_s) for level in ladder(hop_s, 100.0, []))

"""A series from a file at its own pace."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.live.replay import SeriesReplay, round_length_s


def replay_of(times_s: list[float], repeat: bool = False) -> SeriesReplay:
    repeat_s = round_length_s(np.array(times_s)) if repeat else None
    return SeriesReplay(np.array(times_s), np.arange(len(times_s), dtype=np.float32)[:, None], repeat_s)


def test_a_repeated_series_goes_on_with_its_own_pause():
    replay = replay_of([0.0, 0.1, 0.2], repeat=True)
    pieces, _ = replay.take(1.0)
    times_s = [time_s for values in pieces for time_s in values.times_s.tolist()]
    assert times_s == pytest.approx([0.1 * index for index in range(len(times_s))])
    assert len(times_s) in (10, 11)
    assert not replay.ended


@given(
    steps_s=st.lists(st.floats(0.001, 2.0), min_size=1, max_size=20),
    ends_s=st.lists(st.floats(0, 60), max_size=20).map(sorted),
)
def test_every_row_comes_once_and_is_due(steps_s: list[float], ends_s: list[float]):
    times_s = np.cumsum(steps_s)
    replay = SeriesReplay(times_s, np.arange(len(times_s), dtype=np.float32)[:, None])
    seen: list[float] = []
    for end_s in ends_s:
        for values in replay.take(end_s)[0]:
            assert values.times_s.max() <= end_s
            seen += values.rows[:, 0].tolist()
    for values in replay.take(1e9)[0]:
        seen += values.rows[:, 0].tolist()
    assert seen == list(range(len(times_s)))
    assert replay.loss == "the file is at its end"

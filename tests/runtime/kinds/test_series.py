"""Rows of a series in a window: how many are kept, and what is left out, is said once."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import taemi_edge as te
from taemi_edge.bundle.streams import PresenceSpec, SeriesSpec
from taemi_edge.media.arrays import Samples
from taemi_edge.media.hops import Values
from taemi_edge.runtime.kinds import series
from taemi_edge.runtime.kinds.kind import Opening
from taemi_edge.runtime.presence import StreamPresence
from taemi_edge.runtime.work import Stopwatch

TIMES = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.0)


def state_of(spec: SeriesSpec):
    capacity = series.capacity(spec, 10.0, 1)
    return series.open_stream(Opening(spec, StreamPresence(spec.presence, "nothing"), capacity, name="imu"))


def feed(state, times_s: list[float], rows: list[float], end_s: float) -> int:
    """Give rows to a stream; returns how many inputs its encoder gets."""
    values = Values(np.array(times_s), np.array(rows, np.float32)[:, None])
    prepared = state.prepare([values], end_s, Stopwatch(), False)
    return sum(len(state.place(batch)) for batch in state.batches(prepared, lost=False))


@pytest.mark.parametrize(("declared", "kept"), [(20, 20), (5, 5), (64, 40)])
def test_the_newest_rows_of_a_window_are_kept_and_more_are_reported_once(caplog, declared: int, kept: int):
    state = state_of(SeriesSpec(feature_dim=4, channels=1, presence=TIMES, max_rows=declared))
    with caplog.at_level(logging.WARNING, "taemi_edge.runtime"):
        for at in range(4):
            times_s = [at + i / 10 for i in range(10)]
            assert feed(state, times_s, times_s, at + 1.0) == 10
            rows = state.rows(-0.1, at + 1.0)
    assert rows.count == kept
    said = [record.getMessage() for record in caplog.records]
    assert said == ([f"imu: {WINDOW.format(declared)}"] if declared < 40 else [])


WINDOW = "a window has more rows than max_rows, of which the newest {} are read; this is reported once"


@pytest.mark.parametrize("rate", [{}, {"rate_hz": 10.0, "chunk_s": 0.5}])
def test_rows_that_cannot_be_used_are_reported_once(caplog, rate: dict[str, float]):
    state = state_of(SeriesSpec(feature_dim=4, channels=1, presence=TIMES, **rate))
    with caplog.at_level(logging.WARNING, "taemi_edge.runtime"):
        feed(state, [0.1, 0.2, 0.15, 0.3], [1, float("nan"), 1, 1], 0.5)
        feed(state, [0.6, 0.4], [float("inf"), 1], 1.0)
    assert [record.getMessage() for record in caplog.records] == [
        "imu: rows with NaN, or that go backwards in time, were left out; this is reported once"
    ]


def test_a_leap_of_years_between_hops_costs_nothing():
    state = state_of(SeriesSpec(feature_dim=4, channels=1, presence=TIMES, rate_hz=100.0, chunk_s=0.5))
    assert feed(state, [i / 100 for i in range(50)], [1.0] * 50, 0.5) == 1
    assert feed(state, [1e9 + i / 100 for i in range(51)], [1.0] * 51, 1e9 + 0.5) == 1


@pytest.mark.parametrize("seconds_a_row", [0.02, 0.1, 0.3, 1.0, 3.0])
def test_a_series_that_is_slower_than_its_chunks_is_read_hop_by_hop_as_it_is_at_once(seconds_a_row: float):
    patient = PresenceSpec(stale_after_s=4.0, missing_after_s=8.0, recover_after_s=0.0)
    spec = SeriesSpec(feature_dim=4, channels=1, presence=patient, rate_hz=50.0, chunk_s=0.5)
    times_s = np.arange(0.0, 20.0, seconds_a_row)
    at_once = feed(state_of(spec), times_s.tolist(), times_s.tolist(), 20.0)
    state, inputs = state_of(spec), 0
    for end_s in np.arange(0.5, 20.5, 0.5):
        new = times_s[(times_s > end_s - 0.5) | (end_s == 0.5)]
        new = new[new <= end_s].tolist()
        inputs += feed(state, new, new, end_s)
        if end_s > 2 * seconds_a_row:
            assert state.presence.at(end_s).age_s <= seconds_a_row + 0.5
    assert inputs == at_once >= 30


@pytest.mark.parametrize("rows_a_block", [1, 25])
@pytest.mark.parametrize("drift", [0.999, 1.0, 1.001])
def test_blocks_that_are_handed_over_unevenly_follow_each_other(rows_a_block: int, drift: float):
    spec = SeriesSpec(feature_dim=4, channels=1, presence=TIMES, rate_hz=50.0, chunk_s=0.5)
    state, intake = state_of(spec), series.open_intake("imu", spec, 10.0)
    uneven = np.random.default_rng(0).normal(0, 0.002 if rows_a_block == 1 else 0.01, 1000)
    for at in range(1000):
        end_s = (at + 1) * rows_a_block / 50
        intake.add(Samples(np.full((rows_a_block, 1), end_s), rate_hz=50.0), end_s * drift + uneven[at])
        pieces = intake.take(end_s * drift + 1, float)
        state.prepare(pieces, end_s, Stopwatch(), False)
        times_s = np.concatenate([piece.times_s for piece in pieces])
        assert np.diff(times_s) == pytest.approx(1 / 50)
        assert times_s[-1] + 1 / 50 == pytest.approx(end_s * drift, abs=0.02)
    assert state._grid.left_out == 0


def test_rows_that_come_at_another_rate_than_they_claim_keep_their_times():
    intake = series.open_intake("imu", SeriesSpec(feature_dim=4, channels=1, presence=TIMES), 10.0)
    for at in range(100):
        intake.add(Samples(np.zeros((1, 1)), rate_hz=50.0), (at + 1) / 25)
    assert np.diff(intake.take(5.0, float)[0].times_s) == pytest.approx(1 / 25)


@pytest.mark.parametrize(("rate_hz", "chunk_s", "whole_s"), [(50.0, 0.5, 0.5), (10.0, 0.25, 0.2), (4.5, 0.5, 2 / 4.5)])
def test_a_ring_has_room_for_a_window_of_chunks_of_whole_rows(rate_hz: float, chunk_s: float, whole_s: float):
    torch = pytest.importorskip("torch", reason="a declared model is made of PyTorch modules")
    from taemi_edge.export.inspection import _spec

    declared = te.Stream(te.Series(1, rate_hz, chunk_s), torch.nn.Identity(), presence=TIMES)
    spec = _spec(declared, hop_s=1.0, tokenizer="")
    assert spec.chunk_s == whole_s
    assert spec.chunk_samples == round(whole_s * rate_hz)
    assert series.capacity(spec, 10.0, 1) > 10.0 / whole_s

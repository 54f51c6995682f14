"""Rows of a range: what lies before it is context, what lies behind it is left out, and pieces are cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.bundle.streams import AudioSpec, PresenceSpec, SeriesSpec, VideoSpec
from taemi_edge.corpora.row_takers import Reach, taker_of
from taemi_edge.media.hops import Frame, SoundPiece, Values

TIMES = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
FEATURES: dict[str, Any] = {"feature_dim": 4, "presence": TIMES}
EYE = VideoSpec(frames_per_second=5.0, size_hw=(4, 4), crop="whole", **FEATURES)
MIC = AudioSpec(sample_rate_hz=1000, chunk_s=0.5, context_s=0.0, **FEATURES)
IMU = SeriesSpec(channels=1, rate_hz=100.0, chunk_s=0.5, context_s=0.0, **FEATURES)
PULSE = SeriesSpec(channels=1, **FEATURES)


def rows_of(spec: Any, pieces: list[Any], begin_s: float, end_s: float) -> list[Any]:
    taker = taker_of("any", spec, {}, "drive.mcap", Reach(begin_s, end_s))
    for at in range(1, 20):
        taken = [piece for piece in pieces if at - 1 < first_of(piece) + 1e-9 <= at]
        taker.take(taken, float(at))
        if at >= end_s:
            break
    return taker.rows()


def first_of(piece: Any) -> float:
    return float(piece.times_s[0]) if isinstance(piece, Values) else piece.time_s


def test_pictures_before_and_behind_are_left_out():
    pieces = [Frame(at / 10, np.full((8, 8, 3), at, np.uint8)) for at in range(40)]
    rows = rows_of(EYE, pieces, 1.0, 3.0)
    assert [int(row["pixels"][0, 0, 0]) for row in rows] == list(range(10, 30, 2))


@given(st.integers(20, 300), st.floats(0.0, 0.2))
def test_sound_is_cut_where_the_range_begins(piece_ms: int, offset_s: float):
    ramp = np.arange(4000, dtype=np.float32)
    starts = range(0, 4000, piece_ms)
    begin_s = 1.0 + round(offset_s, 3)
    pieces = [SoundPiece(at / 1000, ramp[at : at + piece_ms]) for at in starts]
    rows = rows_of(MIC, pieces, begin_s, begin_s + 1.5)
    assert [row["samples"][0] for row in rows] == [round(begin_s * 1000) + n * 500 for n in range(3)]
    assert all(np.all(np.diff(row["samples"]) == 1) for row in rows)


@pytest.mark.parametrize("rate_hz", [50, 100, 130])
def test_a_series_is_interpolated_across_the_border(rate_hz: int):
    times_s = np.arange(0, 4, 1 / rate_hz)
    pieces = [Values(times_s[at : at + 1], times_s[at : at + 1, None].astype(np.float32)) for at in range(len(times_s))]
    rows = rows_of(IMU, pieces, 1.004, 3.004)
    given_s = np.concatenate([row["values"][:, 0] for row in rows])
    np.testing.assert_allclose(given_s[:-5], 1.004 + np.arange(len(given_s) - 5) / 100, atol=1e-5)
    assert len(rows) == 4


def test_rows_without_a_rate_are_those_of_the_range():
    times_s = np.arange(0, 4, 0.25)
    pieces = [Values(times_s[at : at + 1], times_s[at : at + 1, None].astype(np.float32)) for at in range(len(times_s))]
    assert [float(row["values"][0]) for row in rows_of(PULSE, pieces, 1.0, 2.0)] == [1.0, 1.25, 1.5, 1.75]

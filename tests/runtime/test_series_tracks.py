"""Series from files of their own run beside a media file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.streams import PresenceSpec, SeriesSpec
from taemi_edge.errors import InputError, UsageError
from taemi_edge.media.hops import Hop
from taemi_edge.runtime.series_tracks import open_tracks, with_tracks

TIMES = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
STREAMS = {"imu": SeriesSpec(feature_dim=4, channels=2, presence=TIMES)}


def test_rows_come_with_the_hop_of_their_time(tmp_path: Path):
    (tmp_path / "imu.csv").write_text("time_s,x,y\n0.1,1,2\n0.5,3,4\n0.9,5,6\n")
    tracks = open_tracks({"imu": tmp_path / "imu.csv"}, STREAMS)
    hops = list(with_tracks([Hop(0.5), Hop(1.0), Hop(1.5)], tracks))
    assert [h.pieces["imu"][0].times_s.tolist() for h in hops[:2]] == [[0.1, 0.5], [0.9]]
    assert "imu" not in hops[2].pieces


def test_a_stream_that_the_model_does_not_have_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="--stream radar=.*expected one of imu"):
        open_tracks({"radar": tmp_path / "radar.csv"}, STREAMS)


def test_a_place_that_is_no_series_is_refused(tmp_path: Path, tiny: Bundle):
    with pytest.raises(UsageError, match="expected a series and its .csv"):
        open_tracks({"audio": tmp_path / "other.wav"}, tiny.manifest.streams)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(InputError):
        open_tracks({"imu": tmp_path / "none.csv"}, STREAMS)


def test_nothing_is_lost_between_hops():
    from taemi_edge.media.series import Series

    rng = np.random.default_rng(0)
    times_s = np.sort(rng.uniform(0, 5, 200))
    series = Series(times_s, np.arange(200, dtype=np.float32)[:, None])
    hops = list(with_tracks([Hop(0.5 * i) for i in range(1, 11)], {"imu": series}))
    given = np.concatenate([h.pieces["imu"][0].rows[:, 0] for h in hops if "imu" in h.pieces])
    assert given.tolist() == list(range(200))

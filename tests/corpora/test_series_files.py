"""Series from files: brought to their rate, and refused in one sentence where that cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from taemi_edge.corpora.series_files import read_series
from taemi_edge.errors import MediaError
from tests.parity.toy_model import STREAMS

IMU, PULSE = STREAMS["imu"], STREAMS["pulse"]  # 3 channels at 4 Hz; one channel without a rate


def test_rows_between_samples_are_interpolated(tmp_path: Path):
    times = np.array([10.0, 10.5, 11.0])
    np.savez(tmp_path / "a.npz", times_s=times, values=np.outer(times - 10, [1, 2, 4]))
    found = read_series(tmp_path / "a.npz", IMU, 60.0)
    np.testing.assert_allclose(found, np.outer([0, 0.25, 0.5, 0.75, 1.0], [1, 2, 4]))
    assert len(read_series(tmp_path / "a.npz", IMU, 0.5)) == 3


def test_a_series_without_a_rate_keeps_its_rows_and_needs_no_times(tmp_path: Path):
    np.savez(tmp_path / "a.npz", values=[60, 61])
    assert read_series(tmp_path / "a.npz", PULSE, 60.0).tolist() == [[60.0], [61.0]]
    (tmp_path / "a.csv").write_text("timestamp_ns,bpm\n0,60\n5000000000,61\n")
    assert read_series(tmp_path / "a.csv", PULSE, 60.0).tolist() == [[60.0], [61.0]]
    assert read_series(tmp_path / "a.csv", PULSE, 4.0).tolist() == [[60.0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time_s,x,y\n0,1,2\n", "expected 3 channels, got values of shape .1, 2."),
        ("x,y,z\n0,1,2\n", "expected a column or an array time_s, times_s, timestamp_ns, found none"),
        ("time_s,x,y,z\n1,0,0,0\n2,0,0,0\n1.5,0,0,0\n", "never go backwards, row 3 is earlier"),
        ("time_s,x,y,z\n1,nan,0,0\n", "expected finite numbers, got NaN"),
        ("time_s,x,y,z\n1,fast,0,0\n", "expected a table of numbers"),
    ],
)
def test_a_series_that_cannot_be_used_is_one_sentence(tmp_path: Path, text: str, message: str):
    (tmp_path / "imu.csv").write_text(text)
    with pytest.raises(MediaError, match=message):
        read_series(tmp_path / "imu.csv", IMU, 60.0)
    (tmp_path / "imu.npz").write_bytes(b"no")
    with pytest.raises(MediaError, match="expected a file of arrays"):
        read_series(tmp_path / "imu.npz", IMU, 60.0)

"""Series from files: tables and arrays with a time for each row, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taemi_edge.bundle.streams import PresenceSpec, SeriesSpec
from taemi_edge.errors import InputError
from taemi_edge.media.series import read_series

TIMES = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
IMU = SeriesSpec(feature_dim=4, channels=2, presence=TIMES)


def written(folder: Path, text: str) -> Path:
    file = folder / "imu.csv"
    file.write_text(text)
    return file


def test_a_table_has_a_time_and_channels(tmp_path: Path):
    times_s, rows = read_series(written(tmp_path, "time_s,x,y\n0,1,2\n0.5,3,\n"), "imu", IMU)
    assert times_s.tolist() == [0.0, 0.5]
    assert rows[0].tolist() == [1.0, 2.0]
    assert np.isnan(rows[1, 1])


def test_nanoseconds_count_from_the_first_row(tmp_path: Path):
    file = written(tmp_path, "timestamp_ns,x,y\n1700000000000000000,1,2\n1700000000500000000,3,4\n")
    assert read_series(file, "imu", IMU)[0].tolist() == pytest.approx([0.0, 0.5])


def test_a_table_may_hold_several_streams(tmp_path: Path):
    file = written(tmp_path, "time_s,heart,imu.0,imu.1\n0,60,1,2\n")
    assert read_series(file, "imu", IMU)[1].tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("names", [{"values": "values"}, {"values": "imu"}])
def test_arrays_have_their_times_beside_them(tmp_path: Path, names: dict[str, str]):
    np.savez(tmp_path / "imu.npz", **{names["values"]: np.ones((3, 2)), "times_s": np.arange(3.0)})
    times_s, rows = read_series(tmp_path / "imu.npz", "imu", IMU)
    assert (times_s.shape, rows.shape, rows.dtype) == ((3,), (3, 2), np.float32)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected a column time_s or timestamp_ns, got no columns"),
        ("x,y\n1,2\n", "expected a column time_s or timestamp_ns, got x, y"),
        ("time_s,x,y\n", "expected rows of 2 channels for 'imu'"),
        ("time_s,x\n0,1\n", "expected rows of 2 channels for 'imu'"),
        ("time_s\n0\n", "expected columns for 'imu' beside the time"),
        ("time_s,x,y\n0,1\n", "line 2: expected 3 cells, got 2"),
        ("time_s,x,y\n0,1,two\n", "line 2: expected numbers"),
        ("time_s,x,y\n1,1,2\n0,1,2\n", "go backwards, got 0 s after 1 s in row 2"),
        ("time_s,x,y\n,1,2\n", "expected times that are numbers"),
    ],
)
def test_a_table_that_is_wrong_is_one_sentence(tmp_path: Path, text: str, words: str):
    with pytest.raises(InputError, match=words):
        read_series(written(tmp_path, text), "imu", IMU)


@pytest.mark.parametrize("name", ["none.csv", "imu.wav", "bad.npz", "."])
def test_what_is_no_series_is_one_sentence(tmp_path: Path, name: str):
    (tmp_path / "imu.wav").write_bytes(b"RIFF")
    (tmp_path / "bad.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match="expected"):
        read_series(tmp_path / name, "imu", IMU)


def test_nothing_is_unpickled(tmp_path: Path):
    np.savez(tmp_path / "imu.npz", values=np.array([{}], dtype=object), times_s=np.zeros(1))
    with pytest.raises(InputError, match="expected arrays of numbers"):
        read_series(tmp_path / "imu.npz", "imu", IMU)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=200), suffix=st.sampled_from([".csv", ".npz"]))
def test_any_bytes_are_rows_or_one_sentence(tmp_path: Path, content: bytes, suffix: str):
    file = tmp_path / f"any{suffix}"
    file.write_bytes(content)
    try:
        times_s, rows = read_series(file, "imu", IMU)
    except InputError:
        return
    assert len(times_s) == len(rows)

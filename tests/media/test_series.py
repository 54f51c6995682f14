"""Series from files, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taemi_edge.errors import InputError
from taemi_edge.media.series import read_series, read_streams, shifted_to_one_clock


def written(folder: Path, text: str) -> Path:
    file = folder / "imu.csv"
    file.write_text(text)
    return file


def test_a_file_of_several_streams_has_their_names_before_the_columns(tmp_path):
    file = written(tmp_path, "timestamp_ns,imu.x,imu.y,heart_rate\n1000000000,1,2,70\n1500000000,3,,71\n")
    times_s, rows = read_series(file, "imu", 2)
    assert times_s.tolist() == [0.0, 0.5]
    np.testing.assert_array_equal(rows, np.array([[1, 2], [3, np.nan]], np.float32))
    assert read_series(file, "heart", 1)[1][:, 0].tolist() == [70, 71]


def test_arrays_of_one_stream_or_of_several(tmp_path):
    one, several = tmp_path / "one.npz", tmp_path / "several.npz"
    np.savez(one, times_s=np.arange(3), values=np.ones((3, 2), np.float64))
    np.savez(
        several, imu=np.ones((2, 2)), imu_times_s=np.array([0, 1]), heart=np.array([7, 8]), times_s=np.array([5, 6])
    )
    assert read_series(one, "imu", 2)[1].dtype == np.float32
    assert read_series(several, "imu", 2)[0].tolist() == [0, 1]
    assert [part.tolist() for part in read_series(several, "heart", 1)] == [[5, 6], [[7], [8]]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected a first line with the names of the columns"),
        ("x,y\n1,2\n", "expected a column time_s or timestamp_ns, got the columns x, y"),
        ("time_s\n1\n", "expected one of the streams imu, found none"),
        ("time_s,x,x\n1,2,3\n", "different names"),
        ("time_s,x,y\n", "expected at least one row of the stream imu"),
        ("time_s,x,y\n1,2,3\n0.5,2,3\n", "line 3: expected times in order, got 0.5 s after 1 s"),
        ("time_s,x,y\n1,2,3\n,2,3\n", "line 3: expected a time"),
        ("time_s,x,y\n1,2\n", "line 2: expected 3 cells as in the first line, got 2"),
        ("time_s,x,y\n1,2,3\n1,2\n", "line 3: expected 3 cells"),
        ("time_s,x,y\n1,2,three\n", "line 2: expected a number in the column y, got 'three'"),
        ("time_s,x\n1,2\n", "expected 2 columns for the stream imu, got 1: x"),
        ("timestamp_ns,x,y\n1.5,2,3\n", "expected whole nanoseconds in the column timestamp_ns, got '1.5'"),
        ("timestamp_ns,x,y\n99999999999999999999,2,3\n", "expected whole nanoseconds"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path, text: str, words: str):
    with pytest.raises(InputError, match=words):
        read_series(written(tmp_path, text), "imu", 2)


def test_arrays_that_do_not_fit_are_one_sentence(tmp_path):
    file = tmp_path / "imu.npz"
    for arrays, words in (
        ({"values": np.ones((2, 2))}, "expected times of imu: imu_times_s, times_s, timestamp_ns or rate_hz"),
        ({"times_s": np.arange(3), "values": np.ones((2, 2))}, r"expected times_s as numbers \(2,\), got int64 \(3,\)"),
        ({"times_s": np.arange(2), "values": np.array(["a", "b"])}, r"as numbers \(rows, 2\), got <U1"),
        ({"times_s": np.arange(2), "values": np.array([{}, {}], dtype=object)}, "npz file of arrays"),
    ):
        np.savez(file, **arrays)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=words):
            read_series(file, "imu", 2)
    file.write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(InputError, match="npz file of arrays"):
        read_series(file, "imu", 2)


def test_a_file_that_is_not_there_or_of_another_kind(tmp_path):
    with pytest.raises(InputError, match="found nothing"):
        read_series(tmp_path / "imu.csv", "imu", 2)
    with pytest.raises(InputError, match=r"ends in \.csv, \.npz, \.parquet"):
        read_series(tmp_path / "imu.xlsx", "imu", 2)


def test_a_column_belongs_to_the_longest_name_that_fits(tmp_path):
    file = written(tmp_path, "time_s,imu_x,imu_left_x,imu_left_y\n0,1,2,3\n")
    found = read_streams(file, {"imu": 1, "imu_left": 2})
    assert [found[name].rows.tolist() for name in ("imu", "imu_left")] == [[[1]], [[2, 3]]]


def test_a_row_may_leave_the_cells_of_a_stream_empty(tmp_path):
    found = read_streams(
        written(tmp_path, "time_s,imu.1,imu.0,pulse\n0,1,2,\n1,,,70\n2,3,,71\n"), {"imu": 2, "pulse": 1}
    )
    assert found["pulse"].times_s.tolist() == [1, 2]
    assert found["imu"].times_s.tolist() == [0, 2]
    np.testing.assert_array_equal(found["imu"].rows, np.array([[2, 1], [np.nan, 3]], np.float32))


def test_timestamps_of_several_files_start_together(tmp_path):
    early, late = tmp_path / "early.csv", tmp_path / "late.csv"
    early.write_text("timestamp_ns,x\n1700000000000000000,1\n1700000001000000000,1\n")
    late.write_text("timestamp_ns,x\n1700000000250000000,1\n")
    series = {name: read_streams(file, {name: 1})[name] for name, file in (("a", early), ("b", late))}
    clock = shifted_to_one_clock(series)
    assert (clock["a"].times_s.tolist(), clock["b"].times_s.tolist()) == ([0.0, 1.0], [0.25])


def test_numbers_beyond_float32_are_infinite_and_the_file_is_read(tmp_path):
    assert np.isinf(read_series(written(tmp_path, "time_s,x\n0,1e300\n"), "imu", 1)[1]).all()


def test_a_parquet_file_is_read_like_a_table(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    file = tmp_path / "imu.parquet"
    times = np.array([0, 500_000_000], "datetime64[ns]")
    parquet.write_table(pyarrow.table({"timestamp_ns": times, "imu.0": [1, 2], "imu.1": [3.5, None]}), file)
    times_s, rows = read_series(file, "imu", 2)
    assert times_s.tolist() == [0.0, 0.5]
    np.testing.assert_array_equal(rows, np.array([[1, 3.5], [2, np.nan]], np.float32))
    file.write_bytes(b"PAR1 not a table")
    with pytest.raises(InputError, match="expected a Parquet file"):
        read_series(file, "imu", 2)


@given(content=st.binary(max_size=200), ending=st.sampled_from(["csv", "npz"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_or_refused(tmp_path, content: bytes, ending: str):
    file = tmp_path / f"imu.{ending}"
    file.write_bytes(content)
    try:
        times_s, rows = read_series(file, "imu", 2)
    except InputError as error:
        assert str(error).startswith(str(file))
    else:
        assert len(times_s) == len(rows) > 0

"""Series from files, and what is wrong with them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taemi_edge.errors import InputError
from taemi_edge.media.npz_files import MOST_BYTES, read_arrays
from taemi_edge.media.series import read_streams


def read_series(file: Path, stream: str, channels: int) -> tuple[np.ndarray, np.ndarray]:
    series = read_streams(file, {stream: channels}, alone=True)[stream]
    return series.times_s, series.rows


def written(folder: Path, text: str) -> Path:
    file = folder / "imu.csv"
    file.write_text(text)
    return file


def test_a_file_of_several_streams_has_their_names_before_the_columns(tmp_path):
    file = written(tmp_path, "timestamp_ns,imu.x,imu.y,heart_rate\n1000000000,1,2,70\n1500000000,3,4,71\n")
    times_s, rows = read_series(file, "imu", 2)
    assert times_s.tolist() == [0.0, 0.5]
    np.testing.assert_array_equal(rows, np.array([[1, 2], [3, 4]], np.float32))
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
        ("time_s,x,y\n0,1,2\n1,2,nan\n", "line 3: expected finite numbers in the stream imu, got nan"),
        ("time_s,x,y\n0,1,2\n1,,2\n", "line 3: expected finite numbers in the stream imu, got nan"),
        ("time_s,x,y\n0,1,1e300\n", "line 2: expected finite numbers in the stream imu, got 1e.300"),
        ("time_s,x,y\n1700000000000,1,2\n", "expected seconds, got 1700000000000: divide milliseconds by 1000"),
        ("time_s,x,y\n1,2,3\n2,2,inf\n", "got inf"),
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
        (
            {"times_s": np.arange(2), "values": np.array([{}, {}], dtype=object)},
            "holds pickled objects, which are never read",
        ),
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
        written(tmp_path, "time_s,imu.1,imu.0,pulse\n0,1,2,\n1,,,70\n2,3,4,71\n"), {"imu": 2, "pulse": 1}
    )
    assert found["pulse"].times_s.tolist() == [1, 2]
    assert found["imu"].times_s.tolist() == [0, 2]
    assert found["imu"].rows.tolist() == [[2, 1], [4, 3]]


def test_columns_that_belong_to_nothing_are_not_looked_at(tmp_path):
    # as pandas writes it: an index without a name
    file = written(tmp_path, ",time_s,imu_x,imu_y,gesture\n0,0.5,1,2,left\n1,1.0,3,4,right\n")
    assert read_series(file, "imu", 2)[1].tolist() == [[1, 2], [3, 4]]
    file = written(tmp_path, ",time_s,x,y,_note\n0,0.5,1,2,left\n1,1.0,3,4,right\n")
    assert read_series(file, "imu", 2)[1].tolist() == [[1, 2], [3, 4]]
    with pytest.raises(InputError, match="line 2: expected a number in the column imu_y, got 'left'"):
        read_series(written(tmp_path, "time_s,imu_x,imu_y\n0,1,left\n"), "imu", 2)


def test_a_picture_that_is_called_csv_is_refused(tmp_path):
    cv2 = pytest.importorskip("cv2")
    file = tmp_path / "imu.csv"
    file.write_bytes(cv2.imencode(".png", np.zeros((8, 8), np.uint8))[1].tobytes())
    with pytest.raises(InputError, match="expected a CSV file in UTF-8"):
        read_series(file, "imu", 2)


def test_arrays_take_no_more_room_than_they_fill(tmp_path, monkeypatch):
    file = tmp_path / "imu.npz"
    with zipfile.ZipFile(file, "w") as archive:
        header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (268435456, 2), }"
        padded = header.ljust(117) + b"\n"
        archive.writestr("imu.npy", b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded)
    with pytest.raises(InputError, match="imu.npy claims 2,147,483,648 bytes and holds 0"):
        read_series(file, "imu", 2)
    np.savez_compressed(file, imu=np.zeros((1000, 2)), times_s=np.arange(1000))
    assert len(read_series(file, "imu", 2)[0]) == 1000
    monkeypatch.setattr("taemi_edge.media.npz_files.MOST_BYTES", 10_000)
    with pytest.raises(InputError, match="more than 10,000 bytes"):
        read_series(file, "imu", 2)
    assert MOST_BYTES == 2**30


def test_a_pickle_is_not_opened(tmp_path):
    made = tmp_path / "made"
    np.savez(tmp_path / "imu.npz", imu=np.array([_Touches(made)], object), times_s=np.zeros(1))
    with pytest.raises(InputError, match="holds pickled objects"):
        read_arrays(tmp_path / "imu.npz")
    assert not made.exists()
    assert list(read_arrays(tmp_path / "imu.npz", {"times_s"})) == ["times_s"]


class _Touches:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return (Path.touch, (self.file,))


def test_rows_without_times_lie_a_second_apart_where_none_are_needed(tmp_path):
    np.savez(tmp_path / "imu.npz", values=np.ones((3, 2)))
    found = read_streams(tmp_path / "imu.npz", {"imu": 2}, needs_times=False)
    assert found["imu"].times_s.tolist() == [0, 1, 2]
    assert read_streams(written(tmp_path, "x,y\n1,2\n"), {"imu": 2}, needs_times=False)["imu"].rows.tolist() == [[1, 2]]


def test_a_parquet_file_is_read_like_a_table(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    file = tmp_path / "imu.parquet"
    times = np.array([0, 500_000_000], "datetime64[ns]")
    parquet.write_table(
        pyarrow.table({"timestamp_ns": times, "imu.0": [1, 2], "imu.1": [3.5, 4], "said": ["a", "b"]}), file
    )
    times_s, rows = read_series(file, "imu", 2)
    assert times_s.tolist() == [0.0, 0.5]
    np.testing.assert_array_equal(rows, np.array([[1, 3.5], [2, 4]], np.float32))
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

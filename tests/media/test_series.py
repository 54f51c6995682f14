"""Series from files, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taemi_edge.errors import InputError
from taemi_edge.media.series import read_series


def written(folder: Path, text: str) -> Path:
    file = folder / "imu.csv"
    file.write_text(text)
    return file


def test_a_file_of_several_streams_has_their_names_before_the_columns(tmp_path):
    file = written(tmp_path, "timestamp_ns,imu.x,imu.y,heart_rate\n1000000000,1,2,70\n1500000000,3,,71\n")
    times_s, rows = read_series(file, "imu", 2)
    assert times_s.tolist() == [1.0, 1.5]
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
        ("", "expected a column time_s or timestamp_ns"),
        ("x,y\n1,2\n", "expected a column time_s or timestamp_ns, got x, y"),
        ("time_s\n1\n", "expected columns of imu beside time_s"),
        ("time_s,x,x\n1,2,3\n", "different names"),
        ("time_s,x,y\n", "expected rows, got none"),
        ("time_s,x,y\n1,2,3\n0.5,2,3\n", "got 0.5 s in row 2 after 1 s"),
        ("time_s,x,y\n1,2,3\n,2,3\n", "got none in row 2"),
        ("time_s,x,y\n1,2\n", "line 2 has 2 cells, and there are 3 names"),
        ("time_s,x,y\n1,2,3\n1,2\n", "line 3 has 2 cells"),
        ("time_s,x,y\n1,2,three\n", "line 2: could not convert"),
        ("time_s,x\n1,2\n", "expected 2 channels of imu, got 1"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path, text: str, words: str):
    with pytest.raises(InputError, match=words):
        read_series(written(tmp_path, text), "imu", 2)


def test_arrays_that_do_not_fit_are_one_sentence(tmp_path):
    file = tmp_path / "imu.npz"
    for arrays, words in (
        ({"values": np.ones((2, 2))}, "expected arrays times_s and values"),
        ({"times_s": np.arange(3), "values": np.ones((2, 2))}, r"got \(3,\) and \(2, 2\)"),
        ({"times_s": np.arange(2), "values": np.array(["a", "b"])}, "arrays of numbers"),
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

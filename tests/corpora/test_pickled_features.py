"""Pickles from outside: arrays of numbers come in, nothing else does, and nothing of theirs is run."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from taemi_edge.corpora.pickled_features import load_array
from taemi_edge.errors import CorpusError


class Harmful:
    """Its unpickling would run a command."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_an_array_of_any_protocol_is_read(tmp_path, protocol: int, dtype: str):
    array = np.arange(12, dtype=dtype).reshape(4, 3)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(array, protocol))
    assert np.array_equal(load_array(tmp_path / "a.pkl"), array)


def test_what_numpy_1_wrote_is_read(tmp_path):
    content = pickle.dumps(np.ones((2, 2), np.float32), 2).replace(b"numpy._core", b"numpy.core")
    (tmp_path / "a.pkl").write_bytes(content)
    assert load_array(tmp_path / "a.pkl").shape == (2, 2)


def test_code_is_refused_by_name_and_not_run(tmp_path):
    mark = tmp_path / "ran"
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(Harmful(mark)))
    with pytest.raises(CorpusError, match=r"a.pkl: expected a pickled numpy array, but the pickle asks for .*\.system"):
        load_array(tmp_path / "a.pkl")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1.0, 2.0], "got a list"),
        ({"features": 1}, "got a dict"),
        (np.array([None, "x"], dtype=object), "got an array of object"),
        (np.array(["a"]), "got an array of <U1"),
    ],
)
def test_anything_but_an_array_of_numbers_is_refused(tmp_path, value: object, message: str):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(CorpusError, match=message):
        load_array(tmp_path / "a.pkl")


@given(st.binary(max_size=200))
def test_noise_never_ends_in_anything_but_our_error(tmp_path_factory, content: bytes):
    file = tmp_path_factory.mktemp("noise") / "a.pkl"
    file.write_bytes(content)
    with contextlib.suppress(CorpusError):
        assert load_array(file).dtype.kind in "fiu"


@given(hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=5)), st.integers(0, 300))
def test_a_damaged_array_is_said_to_be_one(tmp_path_factory, array: np.ndarray, cut: int):
    stream = io.BytesIO()
    pickle.dump(array, stream)
    content = stream.getvalue()
    file = tmp_path_factory.mktemp("cut") / "a.pkl"
    file.write_bytes(content[: min(cut, len(content) - 1)])
    with pytest.raises(CorpusError, match="damaged file"):
        load_array(file)

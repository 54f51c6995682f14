"""Pickles from outside: arrays of numbers come in, nothing else does, and nothing of theirs is run."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
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


def test_a_dtype_gets_no_state_of_the_pickles_choice(tmp_path):
    """NumPy's own dtype takes flags and field tables from a pickle, and reads and writes memory by them."""
    state = (3, "<", None, ("a",), {"a": (np.dtype("f8"), 2**40)}, 2**40, -1, 0)
    content = b"".join(
        [
            b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00V8K\x00K\x01\x87R",
            pickle.dumps(state, 2)[2:-1],  # without its first opcode, and without its end
            b"b.",
        ]
    )
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(CorpusError, match="got an array of"):
        load_array(tmp_path / "a.pkl")


def test_a_chain_of_encodings_is_not_followed(tmp_path):
    """Each "hex" doubles what is there: 847 bytes came to 570 MB."""
    chain = b"c_codecs\nencode\n(" * 24 + b"X\x01\x00\x00\x00a" + b"X\x03\x00\x00\x00hextR" * 24 + b"."
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02" + chain)
    with pytest.raises(CorpusError, match="bytes are spelled in 'hex'"):
        load_array(tmp_path / "a.pkl")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(np.zeros(4), 2).replace(b"K\x04\x85", b"K\x05\x85"), "expected 40 bytes for float64"),
        (b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"abc.", "damaged file"),  # BYTEARRAY8 of a terabyte
        (b"\x80\x04N" + b"r\xff\xff\xff\xff" + b".", "got a NoneType"),  # a memo of four billion places
        (b"\x80\x02" + b"N" * 5_000 + b".", "more than 1000 opcodes"),
        (b"I" + b"9" * 5_000 + b"\n.", "damaged file"),
        (b"(ios\nsystem\n.", "the opcode INST"),
        (b"t.", "damaged file"),
        (b".", "damaged file"),
    ],
)
def test_claims_cost_no_memory_and_are_one_sentence(tmp_path, content: bytes, message: str):
    (tmp_path / "a.pkl").write_bytes(content)
    tracemalloc.start()
    with pytest.raises(CorpusError, match=message):
        load_array(tmp_path / "a.pkl")
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_byte_order_and_memory_order_are_kept(tmp_path, order: str, protocol: int):
    array = np.asarray(np.arange(24).reshape(2, 3, 4), dtype=">f4", order=order)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(array, protocol))
    np.testing.assert_array_equal(load_array(tmp_path / "a.pkl"), array)


SEEDS = [pickle.dumps(np.ones((2, 2), dtype), protocol) for dtype in ("f4", "i8") for protocol in range(6)]


@settings(max_examples=400)
@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=6))
def test_a_pickle_with_changed_bytes_is_an_array_or_our_error(tmp_path_factory, seed: bytes, changes):
    content = bytearray(seed)
    for at, value in changes:
        content[at % len(content)] = value
    file = tmp_path_factory.getbasetemp() / "changed.pkl"
    file.write_bytes(content)
    with contextlib.suppress(CorpusError):
        assert load_array(file).dtype.kind in "fiu"


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

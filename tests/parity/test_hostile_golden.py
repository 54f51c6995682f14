"""`golden.npz` from anybody: cases of the bundle's own model, or one sentence, in bounded memory."""

from __future__ import annotations

import io
import resource
import shutil
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taemi_edge.bundle.folder import open_bundle
from taemi_edge.errors import BundleError, InputError
from taemi_edge.media.npz_files import arrays_of
from taemi_edge.parity.golden import golden_cases, load_cases
from tests.bundle.hostile import put

TOO_MUCH = 300 << 10  # kB


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "bundle"))


def npz(**entries: bytes) -> bytes:
    """A zip of entries as they are given."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def npy(descr: str, shape: str, content: bytes = b"") -> bytes:
    """An array that claims a type and a shape."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


def bomb(size: int) -> bytes:
    """A zip of zeros that claims an array of so many bytes, and holds them."""
    file = io.BytesIO()
    head = npy("'|u1'", f"({size},)")
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("text|a|in|ids.npy", "w", force_zip64=True) as entry,
    ):
        entry.write(head)
        for _ in range(size >> 20):
            entry.write(bytes(1 << 20))
    return file.getvalue()


def without(content: bytes, word: str) -> bytes:
    """The arrays of a file but for those with a word in their name."""
    file = io.BytesIO()
    with np.load(io.BytesIO(content)) as stored:
        np.savez(file, **{key: stored[key] for key in stored.files if word not in key})
    return file.getvalue()


def changed(content: bytes, word: str, change) -> bytes:
    """The arrays of a file; those with a word in their name are changed."""
    file = io.BytesIO()
    with np.load(io.BytesIO(content)) as stored:
        np.savez(file, **{key: change(stored[key]) if word in key else stored[key] for key in stored.files})
    return file.getvalue()


def flipped(content: bytes) -> bytes:
    """A byte of the first array is another one, so its checksum does not fit."""
    at = len(content) // 3
    return content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :]


HOSTILE = {
    "nothing": lambda golden: b"",
    "no zip": lambda golden: b"PK\x03\x04" + b"\0" * 100,
    "truncated": lambda golden: golden[: len(golden) // 2],
    "truncated at the end": lambda golden: golden[:-30],
    "a wrong checksum": flipped,
    "feeds that are missing": lambda golden: without(golden, "|in|"),
    "outputs that are missing": lambda golden: without(golden, "|out|"),
    "an input that is missing": lambda golden: without(golden, "|in|mask"),
    "a part without cases": lambda golden: without(golden, "audio|"),
    "keys of another kind": lambda golden: npz(a=npy("'<f4'", "(1,)", bytes(4))),
    "an unknown part": lambda golden: changed(golden, "audio|", lambda x: x).replace(b"audio|", b"smell|"),
    "an unknown stream": lambda golden: golden.replace(b"vision+audio", b"vision+smell"),
    "feeds of other shapes": lambda golden: changed(golden, "|in|pixels", lambda x: x[..., :1]),
    "feeds of other types": lambda golden: changed(golden, "|in|ids", lambda x: x.astype(np.float32)),
    "outputs of other shapes": lambda golden: changed(golden, "|out|features", lambda x: x.reshape(-1)),
    "outputs of other types": lambda golden: changed(golden, "|out|features", lambda x: x.astype(np.complex64)),
    "objects": lambda golden: npz(**{"text|a|in|ids": npy("'|O'", "(1,)", b"cos\nsystem\n(S'x'\ntR.")}),
    "fields of objects": lambda golden: npz(**{"text|a|in|ids": npy("[('a', '|O')]", "(1,)", bytes(8))}),
    "a claim of terabytes": lambda golden: npz(**{"text|a|in|ids": npy("'<f4'", "(1099511627776,)")}),
    "a claim beyond numbers": lambda golden: npz(**{"text|a|in|ids": npy("'<f4'", "(10**30,)")}),
    "two negative sides": lambda golden: npz(**{"text|a|in|ids": npy("'|u1'", "(-2, -2)", bytes(4))}),
    "a deep header": lambda golden: npz(**{"text|a|in|ids": npy("(" * 4000, "(1,)")}),
    "a type that is none": lambda golden: npz(**{"text|a|in|ids": npy("'<Q99'", "(1,)", bytes(8))}),
    "a type of nothing": lambda golden: npz(**{"text|a|in|ids": npy("[()]", "(1,)", bytes(8))}),
    "a shape of words": lambda golden: npz(**{"text|a|in|ids": npy("'<f4'", "('a',)", bytes(8))}),
    "another version": lambda golden: npz(**{"text|a|in|ids": b"\x93NUMPY\x09\x00" + bytes(100)}),
    "hundreds of megabytes in one": lambda golden: bomb(272 << 20),
    "a thousand names": lambda golden: npz(**{f"{n}": b"" for n in range(20_001)}),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_feeds_are_one_sentence(copy: Path, name: str):
    put(copy, "golden.npz", HOSTILE[name]((copy / "golden.npz").read_bytes()))
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(BundleError, match=r"golden.npz: expected golden feeds.*: export the model again") as caught:
        golden_cases(open_bundle(copy))
    assert len(str(caught.value)) < 700
    assert time.process_time() - started < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < TOO_MUCH


def test_feeds_that_are_packed_in_another_way_are_refused():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.npy", npy("'<f4'", "(1,)", bytes(4)))
    with pytest.raises(InputError, match="packed in a way that numpy does not write"):
        arrays_of(file.getvalue(), 1 << 20, 10)


def test_the_feeds_of_a_bundle_are_read_as_they_are(tiny_folder: Path):
    ours, plain = golden_cases(open_bundle(tiny_folder)), load_cases(tiny_folder / "golden.npz")
    assert [case.title for case in ours] == [case.title for case in plain]


@pytest.fixture(scope="module")
def golden(tiny_folder: Path) -> bytes:
    return npz(
        **{"text|a|in|ids": npy("'<i4'", "(1, 2)", bytes(8)), "text|a|out|features": npy("'<f4'", "(1,)", bytes(4))}
    )


@settings(deadline=None)
@given(st.data())
def test_any_changed_byte_is_read_or_one_sentence(golden: bytes, data: st.DataObject):
    content = bytearray(golden)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        arrays_of(bytes(content), 1 << 20, 100)
    except InputError as error:
        assert len(str(error)) < 400

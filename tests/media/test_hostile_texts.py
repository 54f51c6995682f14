"""Transcripts and series that are damaged, absurd or made to do harm: one sentence, at once."""

from __future__ import annotations

import io
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from taemi_edge.errors import InputError, TaemiError
from taemi_edge.media.series import read_streams
from taemi_edge.media.transcripts import read_transcript

DIGITS = b"9" * 5000
CUE = b"WEBVTT\n\n00:01.000 --> 00:02.000\n"
TRANSCRIPTS = {
    "hours.vtt": b"WEBVTT\n\n" + DIGITS + b":00:00.000 --> " + DIGITS + b":00:01.000\nx\n",
    "other digits.vtt": "WEBVTT\n\n\u0660\u0660:\u0660\u0661.000 --> 00:02.000\nx\n".encode(),
    "latin.srt": b"caf\xe9",
    "deep.jsonl": b'{"start":1,"end":2,"text":"x","y":' + b"[" * 200_000,
    "large.jsonl": b'{"start":1,"end":' + DIGITS + b',"text":"x"}',
    "surrogate.jsonl": b'{"start":1,"end":2,"text":"\\ud800 x"}',
}
ODD_AND_FINE = {
    "reference.vtt": CUE + b"x &#" + DIGITS + b"; &#xffffffffff;\n",
    "tags.vtt": CUE + b"x " + b"<" * 200_000,
    "styles.vtt": CUE + b"x " + b"{\\" * 100_000,
    "long.vtt": CUE + b"x" * 1_000_000,
}
TABLES = {
    "latin.csv": b"time_s,x,y\n0,1,\xe9\n",
    "null.csv": b"time_s,x,y\n0,1,\0\n",
    "digits.csv": b"time_s,x,y\n0,1," + DIGITS + b"\n",
    "field.csv": b"time_s,x,y\n0,1," + b"a" * 200_000 + b"\n",
    "quote.csv": b'time_s,x,y\n0,1,"' + b"a" * 200_000,
    "nanoseconds.csv": b"timestamp_ns,x,y\n" + DIGITS + b",1,2\n",
    "columns.csv": b",".join(b"c%d" % at for at in range(30_000)) + b"\n",
    "empty.csv": b"",
}


def _header(text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("values.npy", b"\x93NUMPY\x01\0" + len(text).to_bytes(2, "little") + text.encode())
    return buffer.getvalue()


ARRAYS = {
    f"{name}.npz": _header(text)
    for name, text in {
        "huge": f"{{'descr':'<f8','fortran_order':False,'shape':({'9' * 5000},)}}",
        "negative": "{'descr':'<f8','fortran_order':False,'shape':(-1,2)}",
        "open": "(" * 5000,
        "nothing": "{'descr':'|V0','fortran_order':False,'shape':(1000000000000,)}",
        "objects": "{'descr':'|O','fortran_order':False,'shape':(1,)}",
    }.items()
}


def _at_once(file: Path, content: bytes) -> str | None:
    """Read a file; what is wrong with it, in a sentence that comes at once."""
    file.write_bytes(content)
    started_s = time.process_time()
    problem = None
    try:
        if file.suffix in (".csv", ".npz"):
            read_streams(file, {"imu": 2}, alone=True)
        else:
            read_transcript(file, 10.0)
    except TaemiError as error:
        assert isinstance(error, InputError)
        problem = str(error)
        assert len(problem) < 600
        assert "\n" not in problem
    assert time.process_time() - started_s < 2
    return problem


@pytest.mark.parametrize("name", [*TRANSCRIPTS, *TABLES, *ARRAYS])
def test_what_cannot_be_read_is_said_at_once(name, tmp_path):
    content = {**TRANSCRIPTS, **TABLES, **ARRAYS}[name]
    assert _at_once(tmp_path / name, content)


@pytest.mark.parametrize("name", ODD_AND_FINE)
def test_what_is_odd_and_fine_takes_no_time(name, tmp_path):
    assert _at_once(tmp_path / name, ODD_AND_FINE[name]) is None


def test_numbered_columns_of_many_digits_stay_in_the_order_of_the_file(tmp_path):
    file = tmp_path / "imu.csv"
    file.write_bytes(b"time_s,imu.1,imu." + DIGITS + b"\n0,1,2\n")
    assert read_streams(file, {"imu": 2})["imu"].rows.tolist() == [[1.0, 2.0]]


def test_an_array_that_unpacks_to_gigabytes_is_refused(tmp_path):
    buffer = io.BytesIO()
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 2)})
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("values.npy", header.getvalue() + bytes(1_000_000))
    assert "claims" in str(_at_once(tmp_path / "bomb.npz", buffer.getvalue()))

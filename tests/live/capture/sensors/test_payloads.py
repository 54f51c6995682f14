"""What sensors send, in all its forms, and what is no row and no sentence."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taemi_edge.live.capture.sensors.payloads import MOST_BYTES, RowParser, WordParser


@pytest.mark.parametrize(
    ("payload", "options", "times_s", "rows"),
    [
        (b"1, 2.5, -3e1", {}, None, [[1, 2.5, -30]]),
        (b"  1;2.5;3\r\n", {}, None, [[1, 2.5, 3]]),
        (b"1 2\t3\n4 5 6\n\n", {}, None, [[1, 2, 3], [4, 5, 6]]),
        (b"100, 1, 2, 3", {"time": "0", "unit": "ms"}, [0.1], [[1, 2, 3]]),
        (b"x 1 2 3".replace(b"x", b"9"), {"format": "csv", "field": "1,2,3"}, None, [[1, 2, 3]]),
        (b"1,2,3,4,5", {"field": "4,0,2", "time": "1"}, [2.0], [[5, 1, 3]]),
        (b"[1, 2, 3]", {}, None, [[1, 2, 3]]),
        (b"[[1, 2, 3], [4, 5, 6]]", {}, None, [[1, 2, 3], [4, 5, 6]]),
        (b'{"values": [1, 2, 3], "time_s": 4}', {}, [4.0], [[1, 2, 3]]),
        (b'{"time_s": [1, 2], "values": [[1, 2, 3], [4, 5, 6]]}', {}, [1, 2], [[1, 2, 3], [4, 5, 6]]),
        (
            b'[{"time_s": 1, "values": [1, 2, 3]}, {"time_s": 2, "values": [4, 5, 6]}]',
            {},
            [1, 2],
            [[1, 2, 3], [4, 5, 6]],
        ),
        (b'{"x": 1, "y": 2, "z": 3}', {}, None, [[1, 2, 3]]),
        (b'{"x": 1, "y": 2, "z": 3, "time_s": 0.5}', {}, [0.5], [[1, 2, 3]]),
        (b'{"a": {"x": 1, "y": 2, "z": 3}}', {"field": "a"}, None, [[1, 2, 3]]),
        (b'{"a": {"x": 1}, "b": [2, 3]}', {"field": "b,a.x"}, None, [[2, 3, 1]]),
        (
            b'{"s": [{"v": [1, 2, 3]}], "t": {"ns": 1500000000}}',
            {"field": "s.0.v", "time": "t.ns", "unit": "ns"},
            [1.5],
            [[1, 2, 3]],
        ),
        (struct.pack("<3f", 1, 2, 3) * 2, {"format": "<3f"}, None, [[1, 2, 3], [1, 2, 3]]),
        (struct.pack(">Ix3h", 70, 1, 2, 3), {"format": ">Ix3h", "time": "0", "unit": "ms"}, [0.07], [[1, 2, 3]]),
        (struct.pack("<5d", 1, 2, 3, 4, 5), {"format": "<5d", "field": "0,2,4"}, None, [[1, 3, 5]]),
    ],
)
def test_rows_are_read_in_every_form(
    payload: bytes, options: dict[str, str], times_s: list[float] | None, rows: list[list[float]]
):
    parsed = RowParser(3, options).read(payload)
    assert parsed.rows == rows
    assert parsed.times_s == (None if times_s is None else pytest.approx(times_s))


@pytest.mark.parametrize(
    ("payload", "options", "words"),
    [
        (b"", {}, "got nothing"),
        (b"   \n", {}, "got nothing"),
        (b"1,2", {}, "expected 3 numbers, got 2"),
        (b"1,2,3,4", {}, r"expected 3 numbers, got 4: write \?time=0"),
        (b"1,2,three", {}, "expected numbers, got b'1,2,three'"),
        (b"1_0,2,3", {}, "expected numbers"),
        (b"1,2,3,4", {"time": "7"}, "time: expected a position up to 3"),
        (b"\xff\x00", {}, "expected numbers"),
        (b"[1,2", {}, "expected JSON"),
        (b"[]", {}, "expected 3 numbers, got 0"),
        (b"[[]]", {}, "expected 3 numbers, got 0"),
        (b"[1, true, 2]", {}, "expected numbers, got True"),
        (b"[1, null, 2]", {}, "expected numbers, got None"),
        (b"[1, 1" + b"0" * 400 + b", 2]", {}, "expected finite numbers"),
        (b'{"values": [1,2,3], "time_s": "now"}', {}, "expected numbers, got 'now'"),
        (b'{"values": [1,2,3], "time_s": 1e300}', {}, "expected a time in seconds"),
        (b'{"time_s": 1, "values": [[1,2,3],[4,5,6]]}', {}, "expected a time for each of 2 rows or for none, got 1"),
        (b'{"b": 1}', {"field": "a.x"}, "expected a.x, got b"),
        (b'{"a": 1}', {"field": "a.x"}, "expected a.x, got int"),
        (b'{"id": "left", "x": 1, "y": 2}', {}, r"got 'left'"),
        (b"1,2", {"field": "0,1,7"}, "expected 8 numbers, got 2"),
        (b"[" * 5000, {}, "expected JSON"),
        (b"x" * (MOST_BYTES + 1), {}, "expected at most 65536 bytes, got 65537"),
        (b"123", {"format": "<3f"}, "expected 12 bytes a row, got 3 bytes"),
        (b"", {"format": "<3f"}, "expected 12 bytes a row, got 0 bytes"),
    ],
)
def test_what_is_no_row_is_refused_in_a_sentence(payload: bytes, options: dict[str, str], words: str):
    with pytest.raises(ValueError, match=words) as refused:
        RowParser(3, options).read(payload)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"format": "xml"}, "format: expected json, csv or numbers as Python's struct packs them"),
        ({"format": "<3s"}, "format: expected json, csv or numbers"),
        ({"format": "<99999999999999999999f"}, "format: "),
        ({"format": "<999999f"}, "format: expected up to 65536 bytes a row"),
        ({"format": "<2f"}, "format: expected <2f to hold 3 numbers, got 2"),
        ({"format": "<4f"}, r"format: expected <4f to hold 3 numbers, got 4: write \?time=0"),
        ({"format": "<3f", "field": "0,1,3"}, "format: expected <3f to hold a number 3, counted from 0"),
        ({"format": "<3f", "field": "x,y,z"}, "field: expected the positions of numbers"),
        ({"format": "csv", "field": "0,1"}, "field: expected 3 positions, got 2"),
        ({"format": "csv", "time": "4"}, "time: expected a position up to 3"),
        ({"field": "a..b"}, "field: expected names with dots"),
        ({"time": "a,b"}, "time: expected one place, got 2"),
        ({"unit": "minutes"}, "unit: expected one of s, ms, us, ns, got 'minutes'"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused_by_its_name(options: dict[str, str], words: str):
    with pytest.raises(ValueError, match=words):
        RowParser(3, options)


def test_numbers_that_are_none_are_kept_for_the_box_which_says_so():
    for payload in (b"nan, 1", b'{"values": [NaN, 1]}', b"[Infinity, 1]", struct.pack("<2f", math.nan, 1)):
        [row] = RowParser(2, {"format": "<2f"} if len(payload) == 8 else {}).read(payload).rows
        assert not np.isfinite(row).all()


@pytest.mark.parametrize(
    ("payload", "options", "text", "end_s", "length_s"),
    [
        (b"so it is", {}, "so it is", None, None),
        (b'{"text": "so", "start": 1, "end": 1.5}', {}, "so", 1.5, 0.5),
        (b'{"text": "so"}', {}, "so", None, None),
        (b'{"a": {"said": "so"}, "ms": 700}', {"field": "a.said", "time": "ms", "unit": "ms"}, "so", 0.7, None),
        (b'{"text": 1}', {"format": "plain"}, '{"text": 1}', None, None),
        ("dürfen wir".encode(), {}, "dürfen wir", None, None),
    ],
)
def test_words_are_read_plain_and_from_json(
    payload: bytes, options: dict[str, str], text: str, end_s: float | None, length_s: float | None
):
    words = WordParser(options).read(payload)
    assert words.text == text
    assert words.length_s == length_s
    assert words.pts_s == (None if end_s is None else pytest.approx(end_s))


@pytest.mark.parametrize(
    ("payload", "options", "words"),
    [
        (b"\xff\xfe", {}, "expected text in UTF-8"),
        (b'{"text": 3}', {}, "expected a text, got 3"),
        (b'{"txt": "so"}', {}, "expected text, got txt"),
        (b'{"text": "so", "start": 2, "end": 1}', {}, "expected start < end"),
        (b"so", {"format": "json"}, "expected JSON"),
        (b"x" * (MOST_BYTES + 1), {}, "at most"),
    ],
)
def test_what_holds_no_words_is_refused(payload: bytes, options: dict[str, str], words: str):
    with pytest.raises(ValueError, match=words):
        WordParser(options).read(payload)


@pytest.mark.parametrize(
    "options", [{"format": "<3f"}, {"format": "csv"}, {"field": "a,b"}, {"field": "a", "format": "plain"}]
)
def test_options_of_numbers_are_no_options_of_words(options: dict[str, str]):
    with pytest.raises(ValueError, match="^(format|field): "):
        WordParser(options)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["values", "time_s", "x", "text"]), inner)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(content=JSON, field=st.sampled_from(["", "values", "x", "values.0,x", "0"]))
def test_any_json_gives_rows_or_one_sentence(content: Any, field: str):
    options = {"field": field} if field else {}
    for parser in (RowParser(2, options), WordParser({"field": "text"})):
        try:
            parsed = parser.read(json.dumps(content).encode())
        except ValueError:
            continue
        if isinstance(parser, RowParser):
            assert {len(row) for row in parsed.rows} == {2}
            assert parsed.times_s is None or len(parsed.times_s) == len(parsed.rows)

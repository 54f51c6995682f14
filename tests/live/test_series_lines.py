"""Live series: lines of rows, and what is wrong with them."""

from __future__ import annotations

import io
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.capture.mailbox import RowBox
from taemi_edge.live.lines import LineListener
from taemi_edge.live.series_lines import SeriesLines


@pytest.fixture
def clock(monkeypatch) -> SessionClock:
    """A session that has run for a hundred seconds."""
    clock = SessionClock()
    clock._start_s -= 100
    return clock


def series(clock: SessionClock, *streams: str, sources: tuple[str, ...] = ("rig",)) -> tuple[SeriesLines, dict]:
    boxes = {source: {stream: RowBox(2, 1e9, "nobody yet") for stream in streams or ("imu",)} for source in sources}
    return SeriesLines(boxes, clock), boxes


def rows_of(box: RowBox) -> list[tuple[float, list[float]]]:
    return [
        (time_s, row)
        for values in box.take(1e9)[0]
        for time_s, row in zip(values.times_s.tolist(), values.rows.tolist(), strict=True)
    ]


def test_times_are_of_the_session_of_the_wall_clock_or_now(clock):
    lines, boxes = series(clock)
    lines.take_line(b'{"time_s": 90.5, "values": [1, 2], "sequence": 7}')
    lines.take_line(json.dumps({"time_s": time.time() - 3, "values": [3, 4]}).encode())
    lines.take_line(b'{"values": [5, 6]}')
    (first, second, third) = rows_of(boxes["rig"]["imu"])
    assert first == (90.5, [1, 2])
    assert second == (pytest.approx(97, abs=0.2), [3, 4])
    assert third == (pytest.approx(100, abs=0.2), [5, 6])


def test_several_streams_and_sources_share_a_place_by_name(clock):
    lines, boxes = series(clock, "imu", "heart", sources=("left", "right"))
    lines.take_line(b'{"source": "right", "time_s": 1, "imu": [1, 2], "heart": [3, 4]}')
    lines.take_line(b'{"source": "left", "time_s": 1, "heart": [5, 6]}')
    assert {name: {s: rows_of(b) for s, b in of.items()} for name, of in boxes.items()} == {
        "left": {"imu": [], "heart": [(1, [5, 6])]},
        "right": {"imu": [(1, [1, 2])], "heart": [(1, [3, 4])]},
    }
    assert lines.name == "imu, heart"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"hello", "expected {"),
        (b"[1, 2]", "got a list"),
        (b"\xff\xfe", "expected {"),
        (b"[" * 5000 + b"NaN", "expected {"),
        (b'{"time_s": 1}', "expected {"),
        (b'{"time_s": 1, "heart": [1, 2]}', "got time_s, heart"),
        (b'{"time_s": 1, "values": [1]}', "imu: expected 2 values, got 1"),
        (b'{"time_s": 1, "values": 1}', "imu: expected 2 values, got 1"),
        (b'{"time_s": 1, "values": "ab"}', "expected a list of numbers"),
        (b'{"time_s": 1, "values": [1, null]}', "expected numbers, got None"),
        (b'{"time_s": 1, "values": [1, true]}', "expected numbers, got True"),
        (b'{"time_s": 1, "values": [1, NaN]}', "expected finite numbers"),
        (b'{"time_s": 1, "values": [1, -Infinity]}', "expected finite numbers"),
        (b'{"time_s": 1, "values": [1, 1' + b"0" * 400 + b"]}", "expected"),
        (b'{"time_s": NaN, "values": [1, 2]}', "time_s"),
        (b'{"time_s": "1", "values": [1, 2]}', "time_s"),
        (b'{"time_s": 500, "values": [1, 2]}', "in the future"),
        (b'{"time_s": 40, "values": [1, 2]}', "expected no time before 50.000 s"),
        (b'{"time_s": 60, "values": [1, 2], "source": "nobody"}', "to be one of rig"),
        (b'{"time_s": 60, "values": [1, 2], "source": ["rig"]}', "to be a name"),
    ],
)
def test_a_line_that_is_something_else_is_refused(clock, line: bytes, words: str):
    lines, boxes = series(clock)
    lines.take_line(b'{"time_s": 50, "values": [0, 0]}')
    with pytest.raises(ValueError, match="(?s)" + words):
        lines.take_line(line)
    assert rows_of(boxes["rig"]["imu"]) == [(50, [0, 0])]


def test_one_bad_row_of_a_line_leaves_the_others(clock):
    lines, boxes = series(clock, "imu", "heart")
    with pytest.raises(ValueError, match=r"^heart: expected finite"):
        lines.take_line(b'{"time_s": 1, "imu": [1, 2], "heart": [NaN, 1]}')
    assert rows_of(boxes["rig"]["imu"]) == [(1, [1, 2])]
    assert boxes["rig"]["heart"].take(9.0) == ([], "NaN in its values")


@given(lines=st.lists(st.binary(max_size=60) | st.text(max_size=60).map(str.encode), max_size=20))
def test_whatever_comes_is_counted_and_never_ends_the_reading(lines: list[bytes]):
    parser, boxes = series(SessionClock())
    listener = LineListener("-", parser)
    listener._read(io.BytesIO(b"\n".join(lines) + b'\n{"values": [1, 2]}\n'))
    assert listener.good_lines >= 1
    assert rows_of(boxes["rig"]["imu"])[-1][1] == [1, 2]


@given(
    content=st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(["time_s", "values", "imu", "source", "x"]), inner, max_size=4)
        ),
        max_leaves=12,
    )
)
def test_any_json_is_taken_or_refused_in_words(content: object):
    parser, _ = series(SessionClock())
    try:
        parser.take_line(json.dumps(content).encode())
    except ValueError as error:
        assert str(error)

"""JSON, and encodings that nothing reads."""

from __future__ import annotations

import json

import pytest

from taemi_edge.errors import MessageError
from taemi_edge.media.messages.decoders import JsonReader, json_shape, open_decoder, shape_of
from taemi_edge.media.messages.readings import MessageType
from taemi_edge.media.messages.shapes import Many, Number, Structure, Text, Unreadable
from taemi_edge.media.messages.stream_reader import StreamReader
from tests.media.messages import WORDS, read_one, series

JSON = MessageType("imu", "json")


@pytest.mark.parametrize(
    ("message", "field", "expected", "stamp_ns"),
    [
        ([1, 2.5, -3], "", (1, 2.5, -3), None),
        ({"x": 1, "y": True, "z": 3}, "", (1, 1, 3), None),
        ({"acc": {"x": 1, "y": 2, "z": 3}, "name": "a", "timestamp": 1.5}, "", (1, 2, 3), 1_500_000_000),
        ({"acc": [1, 2, 3], "gyro": [4, 5, 6]}, "gyro", (4, 5, 6), None),
        ({"acc": [1, 2, 3], "gyro": [4, 5, 6]}, "gyro[2],acc[0],acc[1]", (6, 1, 2), None),
        ({"header": {"stamp": {"sec": 3, "nanosec": 4}}, "v": [1, 2, 3]}, "", (1, 2, 3), 3_000_000_004),
        ({"stamp": {"secs": 3, "nsecs": 4}, "v": [1, 2, 3]}, "", (1, 2, 3), 3_000_000_004),
        ({"stamp": {"nanosec": 4, "sec": 3}, "v": [1, 2, 3]}, "", (1, 2, 3), 3_000_000_004),
        ({"acc-x": 1, "größe": 2, "z": 3}, "größe,acc-x,z", (2, 1, 3), None),
        ({"timestamp": 1_700_000_000_123, "v": [1, 2, 3]}, "", (1, 2, 3), 1_700_000_000_123_000_000),
        ({"timestamp": 1_700_000_000_123_456_789, "v": [1, 2, 3]}, "", (1, 2, 3), 1_700_000_000_123_456_789),
        ({"timestamp": 0, "v": [1, 2, 3]}, "", (1, 2, 3), None),
        ({"timestamp": None, "v": [1, 2, 3]}, "", (1, 2, 3), None),
        ({"timestamp": "soon", "v": [1, 2, 3]}, "", (1, 2, 3), None),
    ],
)
def test_rows_of_json(message: object, field: str, expected: tuple[float, ...], stamp_ns: int | None) -> None:
    reading = read_one(StreamReader(series(3), JSON, field), json.dumps(message).encode())
    assert (reading.values, reading.stamp_ns) == (expected, stamp_ns)


def test_a_message_of_json_may_lack_the_stamp_that_others_have() -> None:
    reader = StreamReader(series(2), JSON, "v")
    messages = ({"stamp": {"sec": 3, "nanosec": 4}, "v": [1, 2]}, {"v": [3, 4]}, {"stamp": None, "v": [5, 6]})
    readings = [read_one(reader, json.dumps(message).encode()) for message in messages]
    assert [(one.values, one.stamp_ns) for one in readings] == [((1, 2), 3_000_000_004), ((3, 4), None), ((5, 6), None)]


def test_a_first_message_that_does_not_fit_does_not_decide() -> None:
    reader = StreamReader(series(2), JSON)
    for content in (b"[]", b"[1]", b"{}", b'{"v": "a"}', b"null", b"no", b'[1, "a"]', b"[1, null]", b"[1, [2]]"):
        with pytest.raises(MessageError, match="expected|has no numbers|has the numbers"):
            reader.read(content)
    assert read_one(reader, b'{"v": [1, 2]}').values == (1, 2)
    assert reader.what == "v"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"v": [1, 2, 3]}', "expected 2 numbers in v of imu, got 3"),
        (b'{"w": [1, 2]}', "expected a message with v, got one without"),
        (b'{"v": [1, NaN]}', "in JSON"),
        (b'{"v": [1, 1e999]}', "expected"),
        (b'{"v": [1, "2"]}', "expected finite numbers"),
        (b'{"v": {"x": 1, "y": 2}}', "expected numbers in imu"),
        (b"[" * 100_000, "in JSON"),
        (b'{"v": [1, 2]', "in JSON"),
        (b"\xff\xfe", "in JSON"),
        (b"", "in JSON"),
        (b'{"v": [1, ' + b"9" * 400 + b"]}", "expected"),
    ],
)
def test_a_message_that_is_wrong_costs_itself_alone(content: bytes, problem: str) -> None:
    reader = StreamReader(series(2), JSON)
    assert read_one(reader, b'{"v": [1, 2]}').values == (1, 2)
    with pytest.raises(MessageError, match=problem):
        reader.read(content)
    assert read_one(reader, b'{"v": [3, 4]}').values == (3, 4)


def test_the_shape_of_a_value() -> None:
    shape = json_shape({"a": 1, "b": ["x"], "c": None, "d": []})
    assert isinstance(shape, Structure)
    assert shape.fields == {"a": Number(), "b": Many(Text(), 1), "c": Unreadable("null"), "d": Many(Number(), 0)}


def test_json_that_is_nested_beyond_reason_is_refused() -> None:
    nested: object = 1
    for _ in range(40):
        nested = {"a": nested}
    with pytest.raises(MessageError, match="32 levels"):
        StreamReader(series(1), JSON).read(json.dumps(nested).encode())


def test_a_field_that_is_asked_for_twice_is_given_twice() -> None:
    assert open_decoder(JSON, [("a",), ("b",), ("a",)]).values(b'{"a": 1, "b": 2}') == [1, 2, 1]
    assert JsonReader([()]).values(b"5") == [5]


@pytest.mark.parametrize("encoding", ["", "cbor", "flatbuffer", "ros3"])
def test_an_encoding_that_nothing_reads_is_named(encoding: str) -> None:
    with pytest.raises(MessageError, match=f"imu: expected messages in cdr, ros1, json or protobuf, got .*{encoding}"):
        shape_of(MessageType("imu", encoding))


def test_a_message_beyond_all_reason_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taemi_edge.media.messages.stream_reader.MOST_MESSAGE_BYTES", 10)
    with pytest.raises(MessageError, match="up to 10 bytes, got 12"):
        StreamReader(WORDS, JSON).read(b'"so it is ."')

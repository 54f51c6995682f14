"""Messages with words."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("rosbags")

from taemi_edge.errors import MessageError
from taemi_edge.media.messages.readings import MessageType, TextReading
from taemi_edge.media.messages.stream_reader import StreamReader
from tests.media.messages import WORDS, Robot, read_one

ROS2, ROS1 = Robot(), Robot("ROS1_NOETIC", ros1=True)
STRING = "std_msgs/msg/String"
UNIX_S = 1_700_000_000.5


@pytest.mark.parametrize("robot", [ROS2, ROS1], ids=["cdr", "ros1"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("so it is", TextReading(None, "so it is")),
        ("été", TextReading(None, "été")),
        ('{"text": "so it"}', TextReading(None, "so it")),
        ('{"text": "so", "start": 1.5, "end": 2}', TextReading(None, "so", 0.5)),
        (
            f'{{"text": "so", "start": {UNIX_S - 1}, "end": {UNIX_S}, "source": "a"}}',
            TextReading(1_700_000_000_500_000_000, "so", 1.0),
        ),
        ("{ no JSON", TextReading(None, "{ no JSON")),
    ],
)
def test_a_string_is_words_or_a_line_of_a_live_transcript(robot: Robot, text: str, expected: TextReading) -> None:
    assert (
        read_one(StreamReader(WORDS, MessageType(STRING, robot.encoding)), robot.write(STRING, data=text)) == expected
    )


@pytest.mark.parametrize("text", ["", "  ", '{"text": ""}'])
def test_no_words_are_no_reading(text: str) -> None:
    assert StreamReader(WORDS, MessageType(STRING)).read(ROS2.write(STRING, data=text)) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"label": "cat"}', 'expected {"text": "...", "start": s, "end": s}: .*text'),
        ('{"text": 5}', "expected"),
        ('{"text": "a", "start": "b"}', "expected"),
        ('{"text": "a", "start": 2, "end": 1}', "start < end"),
        ('{"text": "a", "end": 1e30}', "times of words"),
        ("a" * 65_537, "up to 65,536 letters"),
    ],
)
def test_words_of_another_kind_cost_their_message(text: str, problem: str) -> None:
    with pytest.raises(MessageError, match=problem):
        StreamReader(WORDS, MessageType(STRING)).read(ROS2.write(STRING, data=text))


def test_bytes_that_are_no_text_cost_their_message() -> None:
    data = ROS2.write(STRING, data="abcd").replace(b"abcd", b"\xff\xfe\xff\xfe")
    with pytest.raises(MessageError, match="no UTF-8"):
        StreamReader(WORDS, MessageType(STRING)).read(data)


def test_words_with_a_header_and_any_text_by_its_path() -> None:
    kind = ROS2.register("lab_msgs/msg/Said", "std_msgs/Header header\nstring words\n")
    data = ROS2.write("lab_msgs/msg/Said", header=ROS2.header(5_000_000_001), words="so it is")
    for field in ("", "words"):
        assert read_one(StreamReader(WORDS, kind, field), data) == TextReading(5_000_000_001, "so it is")
    kind = ROS2.register("lab_msgs/msg/Talk", "string who\nstring what\nfloat32 loud\n")
    with pytest.raises(MessageError, match="found the texts who, what: name the field"):
        StreamReader(WORDS, kind)
    data = ROS2.write("lab_msgs/msg/Talk", who="ann", what="so")
    assert read_one(StreamReader(WORDS, kind, "what"), data).text == "so"


@pytest.mark.parametrize(
    ("message", "field", "expected"),
    [
        ({"text": "so", "start": 1, "end": 2.5}, "", TextReading(None, "so", 1.5)),
        ({"text": "so", "stamp": {"sec": 3, "nsec": 4}}, "", TextReading(3_000_000_004, "so")),
        ({"best": {"text": "so", "score": 0.5}, "n": 1}, "best", TextReading(None, "so")),
        ({"alternatives": [{"words": "so"}]}, "alternatives[0].words", TextReading(None, "so")),
        ("so it is", "", TextReading(None, "so it is")),
    ],
)
def test_words_in_json(message: object, field: str, expected: TextReading) -> None:
    assert read_one(StreamReader(WORDS, MessageType("", "json"), field), json.dumps(message).encode()) == expected


def test_lines_in_json_may_lack_their_times() -> None:
    reader = StreamReader(WORDS, MessageType("", "json"))
    assert read_one(reader, b'{"text": "so", "start": 1, "end": 2}').length_s == 1
    assert read_one(reader, b'{"text": "it", "start": null}') == TextReading(None, "it")
    with pytest.raises(MessageError, match="expected"):
        reader.read(b'{"words": "it"}')


@pytest.mark.parametrize("name", ["sensor_msgs/msg/Image", "sensor_msgs/msg/Imu", "sensor_msgs/msg/CompressedImage"])
def test_a_type_without_words_is_refused(name: str) -> None:
    with pytest.raises(MessageError, match=f"expected words in {name}"):
        StreamReader(WORDS, MessageType(name))


def test_one_field_alone_is_a_text() -> None:
    with pytest.raises(MessageError, match="expected one field for a stream that is no series, got 2"):
        StreamReader(WORDS, MessageType(STRING), "data,data")

"""Fields that are read out of messages are those that rosbags reads."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags")

from rosbags.serde import SerdeError

from taemi_edge.errors import MessageError
from taemi_edge.media.messages.cdr import MOST_ELEMENTS, FieldReader
from taemi_edge.media.messages.definitions import ros_shape
from taemi_edge.media.messages.readings import MessageType
from taemi_edge.media.messages.shapes import Many, Number, Shape, Structure, Text
from taemi_edge.media.messages.topic_field import Path
from tests.media.messages import Robot

ROS2, ROS1 = Robot(), Robot("ROS1_NOETIC", ros1=True)
EVERY_TYPE = [(robot, name) for robot in (ROS2, ROS1) for name in sorted(robot.store.fielddefs)]


def shape_of(robot: Robot, name: str) -> Structure:
    return ros_shape(MessageType(name, robot.encoding))


def read_by_rosbags(robot: Robot, name: str, data: bytes) -> Any:
    return robot.store.deserialize_ros1(data, name) if robot.ros1 else robot.store.deserialize_cdr(data, name)


def every_field(shape: Shape, message: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The paths of everything in a message that can be read, with what rosbags read there."""
    if isinstance(shape, Structure):
        for name, inner in shape.fields.items():
            attribute = f"{name}_" if not hasattr(message, name) else name  # rosbags renames Python's keywords
            yield from every_field(inner, getattr(message, attribute), (*path, name))
    elif isinstance(shape, Many) and not isinstance(shape.item, Number):
        for index, item in enumerate(message):
            yield from every_field(shape.item, item, (*path, index))
    else:
        yield path, message
        if isinstance(shape, Many) and len(message):
            yield (*path, len(message) - 1), message[-1]


def same(mine: Any, theirs: Any) -> bool:
    if isinstance(theirs, np.ndarray):
        return bool(len(mine) == len(theirs) and (mine == theirs).all())
    return bool(mine == theirs)


@pytest.mark.parametrize(("robot", "name"), EVERY_TYPE, ids=[f"{robot.encoding}-{name}" for robot, name in EVERY_TYPE])
def test_every_field_of_every_type_is_read_as_rosbags_reads_it(robot: Robot, name: str) -> None:
    chance = random.Random(name)
    shape = shape_of(robot, name)
    for round_number in range(3):
        little = robot.ros1 or round_number != 1
        data = robot.bytes_of(name, robot.random(name, chance), little)
        fields = list(every_field(shape, read_by_rosbags(robot, name, data)))
        chance.shuffle(fields)
        for chosen in (fields[:1], fields[: len(fields) // 2], fields):
            values = FieldReader(shape, [path for path, _ in chosen], robot.ros1).values(data)
            assert all(same(mine, theirs) for mine, (_, theirs) in zip(values, chosen, strict=True)), name


def random_definition(chance: random.Random) -> str:
    """A definition of anything in anything: types of ROS know few ways to lie beside each other."""
    parts: list[str] = []

    def fields(level: int) -> str:
        lines = []
        for at in range(chance.choice((0, 1, 1, 2, 3, 5)) if level else chance.randint(1, 6)):
            kind = chance.choice(("bool", "byte", "int16", "uint32", "int64", "float32", "float64", "string"))
            if level < 3 and chance.random() < 0.3:
                kind = f"T{len(parts)}"
                parts.append("")
                parts[int(kind[1:])] = f"MSG: lab_msgs/{kind}\n{fields(level + 1)}"
            lines.append(f"{kind}{chance.choice(('', '', '[]', '[1]', '[3]', '[<=9]'))} f{at}\n")
        return "".join(lines)

    return ("=" * 80 + "\n").join([fields(0), *parts])


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("ros1", [False, True], ids=["cdr", "ros1"])
def test_any_definition_is_read_as_rosbags_reads_it(ros1: bool, seed: int) -> None:
    chance, name = random.Random(seed), "lab_msgs/msg/Any"
    robot, definition = Robot("ROS1_NOETIC" if ros1 else "ROS2_JAZZY", ros1), random_definition(chance)
    robot.register(name, definition)
    shape = ros_shape(MessageType(name, robot.encoding, definition.encode(), "ros2msg"))
    for little in (True, ros1):
        data = robot.bytes_of(name, robot.random(name, chance), little)
        fields = list(every_field(shape, read_by_rosbags(robot, name, data)))
        chance.shuffle(fields)
        values = FieldReader(shape, [path for path, _ in fields], ros1).values(data)
        assert all(same(mine, theirs) for mine, (_, theirs) in zip(values, fields, strict=True)), definition


@pytest.mark.parametrize("robot", [ROS2, ROS1], ids=["cdr", "ros1"])
@pytest.mark.parametrize(
    "name", ["sensor_msgs/msg/JointState", "sensor_msgs/msg/PointCloud2", "tf2_msgs/msg/TFMessage"]
)
def test_a_message_that_ends_early_is_refused_where_rosbags_refuses_it(robot: Robot, name: str) -> None:
    if name not in robot.store.fielddefs:
        pytest.skip("not among the types of this store")
    chance = random.Random(5)
    reader = FieldReader(shape_of(robot, name), [], robot.ros1)
    data = robot.bytes_of(name, robot.random(name, chance), True)
    for content in [data[:end] for end in range(len(data) + 1)]:
        try:
            read_by_rosbags(robot, name, content)
        except SerdeError:
            with pytest.raises(MessageError, match="expected a message"):
                reader.values(content)
        else:
            reader.values(content)
    if robot.ros1:
        with pytest.raises(MessageError, match="1 bytes too many"):
            reader.values(data + b"\0")
    else:  # rosbags refuses these, and rclpy writes them
        reader.values(data + bytes(9))


def test_lengths_that_claim_more_than_there_is_are_refused() -> None:
    name = "sensor_msgs/msg/JointState"
    data = ROS2.write(name, name=["hip", "knee"], position=np.arange(2.0))
    reader = FieldReader(shape_of(ROS2, name), [("position",), ("name", 1)])
    for at in range(4, len(data) - 4, 4):
        changed = bytearray(data)
        changed[at : at + 4] = struct.pack("<I", 0xFFFF_FFF0)
        try:
            reader.values(changed)
        except MessageError as error:
            assert "expected a" in str(error)


def test_a_list_that_is_passed_one_by_one_has_an_end() -> None:
    """Each structure of ROS 1 may take a byte or none at all, and a list of them claims four billion."""
    types = MessageType("a/B", "ros1", b"a/C[] many\na/C[4000] fixed\nMSG_END\n".replace(b"MSG_END\n", b""), "ros1msg")
    separator = b"=" * 80
    empty = ros_shape(MessageType("a/B", "ros1", types.schema + separator + b"\nMSG: a/C\n", "ros1msg"))
    assert FieldReader(empty, [], ros1=True).values(struct.pack("<I", 0xFFFF_FFFF)) == []
    small = ros_shape(MessageType("a/B", "ros1", types.schema + separator + b"\nMSG: a/C\nstring s\n", "ros1msg"))
    count = MOST_ELEMENTS + 1
    with pytest.raises(MessageError, match="lists of more than 200,000 elements"):
        FieldReader(small, [], ros1=True).values(struct.pack("<I", count) + bytes(4 * count))


@pytest.mark.parametrize(("content", "text"), [(b"\0\0\0\0", ""), (b"\1\0\0\0\0", ""), (b"\2\0\0\0so", "so")])
def test_strings_are_read_as_ros_2_reads_them(content: bytes, text: str) -> None:
    """Others write an empty string of no bytes, or leave out the zero: Fast CDR takes both."""
    assert FieldReader(shape_of(ROS2, "std_msgs/msg/String"), [("data",)]).values(b"\0\1\0\0" + content) == [text]


@pytest.mark.parametrize("head", [b"", b"\0", b"\0\1\0", b"\1\0\0\0", b"\0\x07\0\0", b"\0\x02\0\0{}"])
def test_another_encoding_of_dds_is_named(head: bytes) -> None:
    with pytest.raises(MessageError, match="plain CDR"):
        FieldReader(shape_of(ROS2, "std_msgs/msg/Float64"), [("data",)]).values(head)


def test_an_element_that_is_not_there_is_named() -> None:
    name = "sensor_msgs/msg/JointState"
    data = ROS2.write(name, name=["hip"], position=np.arange(2.0))
    for path, count in ((("position", 2), 2), (("name", 1), 1)):
        with pytest.raises(MessageError, match=rf"element \[{path[1]}\], got one of {count}"):
            FieldReader(shape_of(ROS2, name), [path]).values(data)


def test_a_definition_that_grows_with_each_level_is_refused() -> None:
    parts = [f"MSG: a/T{level}\na/T{level + 1} x\na/T{level + 1} y\n" for level in range(1, 30)]
    text = ("=" * 80 + "\n").join(["a/T1 x\n", *parts, "MSG: a/T30\nfloat32 z\n"])
    shape = ros_shape(MessageType("a/T0", "cdr", text.encode(), "ros2msg"))
    many = ros_shape(MessageType("a/T0", "cdr", text.replace("a/T1 x", "a/T1[] x", 1).encode(), "ros2msg"))
    for grown in (shape, many):
        with pytest.raises(MessageError, match="up to 16,384 fields"):
            FieldReader(grown, [])


def test_what_lies_before_a_field_that_cannot_be_read_is_read() -> None:
    shape = Structure("a/msg/B", {"x": Number("f"), "name": Text()})
    assert FieldReader(shape, [("x",)]).values(b"\0\1\0\0" + struct.pack("<fI", 0.5, 1) + b"\0") == [0.5]

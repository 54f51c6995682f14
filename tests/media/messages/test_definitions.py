"""Definitions that came with recordings, from anybody."""

from __future__ import annotations

import struct
import sys
import time

import pytest

pytest.importorskip("rosbags")

from taemi_edge.errors import MessageError
from taemi_edge.media.messages.cdr import FieldReader
from taemi_edge.media.messages.definitions import ros_name, ros_shape
from taemi_edge.media.messages.readings import MessageType
from taemi_edge.media.messages.shapes import Many, Number, Text, Unreadable
from taemi_edge.media.messages.stream_reader import StreamReader
from tests.media.messages import Robot, read_one, series

LINE = "=" * 80 + "\n"


def defined(text: str, name: str = "a/msg/B", form: str = "ros2msg") -> MessageType:
    return MessageType(name, "cdr", text.encode(), form)


def test_a_definition_with_comments_constants_and_bounds() -> None:
    text = (
        "# what it is\r\n\n  # more\nuint8 OFF=0  # none\nstring NAME='a # b'\nfloat32[<=3] few 1.5\n"
        'string<=9 name "x"\n'
        f"int8[2] pair [1, 2]\nC[] parts # of a kind\n{LINE}MSG: a/C\nwstring wide\n"
    )
    fields = ros_shape(defined(text)).fields
    assert fields["few"] == Many(Number("f"))
    assert (fields["name"], fields["pair"]) == (Text(), Many(Number("b"), 2))
    assert isinstance(fields["parts"], Many)
    assert fields["parts"].item.fields == {"wide": Unreadable("wstring")}


def test_comments_may_be_in_any_encoding() -> None:
    assert list(ros_shape(MessageType("a/B", "ros1", b"float32 x # in \xb0C\n# \xfc\n", "ros1msg")).fields) == ["x"]


def test_definitions_of_a_recording_win_over_those_of_ros() -> None:
    """Messages of a robot may be older than our types, or have a name that somebody else has used."""
    kind = defined("float32 x\n", "sensor_msgs/msg/Imu")
    robot = Robot()
    robot.register("other/msg/Imu", "float32 x\n")
    data = robot.write("other/msg/Imu", x=1.5)
    assert read_one(StreamReader(series(1), kind, "x"), data).values == (1.5,)


def test_a_definition_in_idl() -> None:
    text = (
        f"{LINE}IDL: a/msg/B\nmodule a {{ module msg {{ struct B {{ std_msgs::msg::Header header; C c; }}; }}; }};\n"
        f"{LINE}IDL: a/msg/C\nmodule a {{ module msg {{ struct C {{ float x; long long n; }}; }}; }};\n"
    )
    robot = Robot()
    robot.register("a/msg/C", "float32 x\nint64 n\n")
    robot.register("a/msg/B", f"std_msgs/Header header\nC c\n{LINE}MSG: a/C\nfloat32 x\nint64 n\n")
    data = robot.write("a/msg/B", header=robot.header(9), c=robot.of("a/msg/C", x=0.5, n=-3))
    reading = read_one(StreamReader(series(2), defined(text, form="ros2idl")), data)
    assert (reading.values, reading.stamp_ns) == ((0.5, -3), 9)


@pytest.mark.parametrize("time", ["int32 sec\n", "float32[] sec\nuint32 nanosec\n", "string sec\nuint32 nanosec\n", ""])
def test_a_time_that_is_none_is_no_stamp(time: str) -> None:
    text = f"builtin_interfaces/Time stamp\nfloat32 x\n{LINE}MSG: builtin_interfaces/Time\n{time}"
    reader = StreamReader(series(1), defined(text), "x")
    assert reader.what == "x"


def test_a_definition_in_idl_of_another_system() -> None:
    text = "module plant { struct Valve { double flow; float level[2]; }; };"
    kind = MessageType("plant::Valve", "cdr", text.encode(), "omgidl")
    data = b"\0\1\0\0" + struct.pack("<dff", 1.5, 2.5, 3.5)
    assert read_one(StreamReader(series(3), kind), data).values == (1.5, 2.5, 3.5)


@pytest.mark.parametrize("store", ["ROS2_HUMBLE", "ROS2_JAZZY"])
def test_a_type_that_has_grown_is_read_without_its_definition(store: str) -> None:
    robot, name = Robot(store), "sensor_msgs/msg/Range"
    assert read_one(StreamReader(series(1), MessageType(name)), robot.write(name, range=2.5)).values == (2.5,)


def test_a_name_in_each_form_that_ros_writes() -> None:
    assert ros_name("std_msgs::msg::dds_::String_") == ros_name("std_msgs/String") == "std_msgs/msg/String"


def test_nothing_of_a_definition_is_run_as_python() -> None:
    """rosbags would generate classes from it; here no module of them appears, and odd names are refused."""
    before = set(sys.modules)
    kind = defined("float32 x\nfloat32 class\nfloat32 self\nfloat32 np\n")
    assert list(ros_shape(kind).fields) == ["x", "class", "self", "np"]
    FieldReader(ros_shape(kind), [("class",)])
    assert not {name for name in set(sys.modules) - before if "usertypes" in name}
    for name in ("a/msg/B\nimport os", "a/msg/B:", "a/msg/(B)", "a", "", "/a/b", "a/b/c/d/e", "a/../B"):
        with pytest.raises(MessageError, match="expected the name of a ROS type"):
            ros_shape(defined("float32 x\n", name))
    for text in ("float32 x;import os\n", "float32 __init__\n", "a/B' x\n", "float32 x\nMSG: a/C\n", "float32 é\n"):
        with pytest.raises(MessageError, match="expected a definition of a/msg/B that can be parsed"):
            ros_shape(defined(text))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a/B x\n", "expected a definition that ends, got a/msg/B inside itself"),
        (f"C x\n{LINE}MSG: a/C\nB y\n", "inside itself"),
        ("T0 x\n" + "".join(f"{LINE}MSG: a/T{at}\nT{at + 1} x\n" for at in range(60)), "or in 32 others"),
        ("other/Thing x\n", "expected a definition of other/msg/Thing among those"),
        (f"int8[{1 << 40}] x\n", "lists of up to 268,435,456 elements"),
        (f"int8[{'9' * 4000}] x\n", "lists of up to 268,435,456 elements"),
        (f"int8[{'9' * 5000}] x\n", "that can be parsed"),
        ("int8[-1] x\n", "expected lists"),
        ("float32 " + "x" * 100_000 + "\n", "up to 98,304 letters beside its comments"),
        ("# " + "x" * 300_000 + "\n", "up to 262,144 bytes"),
        ("\xff", "that can be parsed"),
    ],
)
def test_a_definition_that_cannot_be_used_is_refused_in_one_sentence(text: str, problem: str) -> None:
    with pytest.raises(MessageError, match=problem) as refused:
        ros_shape(defined(text))
    assert len(str(refused.value)) < 500


def test_a_type_without_a_definition_is_named() -> None:
    with pytest.raises(MessageError, match="expected a definition of nobody_msgs/msg/Knows with its messages"):
        ros_shape(MessageType("nobody_msgs/msg/Knows"))


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("\n" * 60_000, "ros2msg"),
        ("#\n" * 30_000, "ros2msg"),
        ("float32 x\n" * 6000, "ros2msg"),
        ("module a { module msg { const long X = " + "(" * 9000, "ros2idl"),
        ("module a { module msg { const long X = ((1)); struct B { long x; };};};", "ros2idl"),
        ("module a { module msg { struct B { long x" + "[1]" * 9000 + ";};};};", "ros2idl"),
        ("/*" * 30_000, "ros2idl"),
        ('"' * 60_000, "ros2idl"),
    ],
)
def test_a_definition_takes_no_longer_than_its_length_deserves(text: str, form: str) -> None:
    """The parser of rosbags for IDL takes minutes for the fifth and the sixth."""
    began = time.process_time()
    try:
        ros_shape(defined(text, form=form))
    except MessageError as error:
        assert "expected" in str(error)
    assert time.process_time() - began < 20

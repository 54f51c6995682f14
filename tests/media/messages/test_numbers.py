"""Which numbers of a message a series reads, and what is wrong with others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags")

from taemi_edge.errors import MessageError
from taemi_edge.media.messages.readings import MessageType, RowReading
from taemi_edge.media.messages.stream_reader import Fit, StreamReader, fit_of
from tests.media.messages import Robot, read_one, series

ROBOT = Robot()
STAMP_NS = 1_700_000_000_123_456_789


def vector(name: str, *values: float) -> Any:
    return ROBOT.of(f"geometry_msgs/msg/{name}", **dict(zip("xyzw", values, strict=False)))


def message_of(name: str) -> bytes:
    """A message of a type, with a number of its own in each field that is looked at here."""
    header = ROBOT.header(STAMP_NS)
    covariance = np.arange(100.0, 109.0)
    fields: dict[str, dict[str, Any]] = {
        "sensor_msgs/msg/Imu": {
            "orientation": vector("Quaternion", 1, 2, 3, 4),
            "orientation_covariance": covariance,
            "angular_velocity": vector("Vector3", 5, 6, 7),
            "linear_acceleration": vector("Vector3", 8, 9, 10),
        },
        "sensor_msgs/msg/JointState": {"name": ["hip", "knee"], "position": np.arange(2.0), "velocity": np.ones(2)},
        "sensor_msgs/msg/BatteryState": {"voltage": 12.5, "current": -1.5, "percentage": 0.75},
        "sensor_msgs/msg/NavSatFix": {"latitude": 47.5, "longitude": 8.5, "altitude": 400.0},
        "sensor_msgs/msg/MagneticField": {"magnetic_field": vector("Vector3", 1, 2, 3)},
        "sensor_msgs/msg/Range": {"min_range": 0.5, "range": 2.5},
        "sensor_msgs/msg/Temperature": {"temperature": 20.5},
        "geometry_msgs/msg/TwistStamped": {
            "twist": ROBOT.of(
                "geometry_msgs/msg/Twist", linear=vector("Vector3", 1, 2, 3), angular=vector("Vector3", 4, 5, 6)
            )
        },
    }
    return ROBOT.write(name, header=header, **fields[name])


@pytest.mark.parametrize(
    ("name", "field", "expected"),
    [
        ("sensor_msgs/msg/Imu", "", (5, 6, 7, 8, 9, 10)),
        ("sensor_msgs/msg/Imu", "", (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)),
        ("sensor_msgs/msg/Imu", "linear_acceleration", (8, 9, 10)),
        ("sensor_msgs/msg/Imu", "linear_acceleration.x", (8,)),
        ("sensor_msgs/msg/Imu", "linear_acceleration.z,angular_velocity", (10, 5, 6, 7)),
        ("sensor_msgs/msg/Imu", "angular_velocity.y, angular_velocity.y", (6, 6)),
        ("sensor_msgs/msg/Imu", "orientation_covariance[0],orientation_covariance[8],orientation.w", (100, 108, 4)),
        ("sensor_msgs/msg/Imu", "orientation_covariance", tuple(range(100, 109))),
        ("sensor_msgs/msg/Imu", "header.stamp.sec", (1_700_000_000,)),
        ("sensor_msgs/msg/JointState", "", (0, 1)),
        ("sensor_msgs/msg/JointState", "velocity", (1, 1)),
        ("sensor_msgs/msg/JointState", "position[1],velocity[0],position", (1, 1, 0, 1)),
        ("sensor_msgs/msg/BatteryState", "", (0.75,)),
        ("sensor_msgs/msg/BatteryState", "", (12.5, -1.5)),
        ("sensor_msgs/msg/BatteryState", "", (12.5, -1.5, 0.75)),
        ("sensor_msgs/msg/NavSatFix", "", (47.5, 8.5, 400.0)),
        ("sensor_msgs/msg/MagneticField", "", (1, 2, 3)),
        ("sensor_msgs/msg/Range", "", (2.5,)),
        ("sensor_msgs/msg/Temperature", "temperature", (20.5,)),
        ("geometry_msgs/msg/TwistStamped", "", (1, 2, 3, 4, 5, 6)),
    ],
)
def test_rows_of_known_types(name: str, field: str, expected: Sequence[float]) -> None:
    reader = StreamReader(series(len(expected)), MessageType(name), field)
    reading = read_one(reader, message_of(name))
    assert isinstance(reading, RowReading)
    assert reading.values == expected
    assert reading.stamp_ns == STAMP_NS


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("std_msgs/msg/Float32", {"data": 0.5}, (0.5,)),
        ("std_msgs/msg/Bool", {"data": True}, (1.0,)),
        ("std_msgs/msg/UInt16", {"data": 65_535}, (65_535,)),
        ("std_msgs/msg/Float32MultiArray", {"data": np.array([1.5, 2, 3], np.float32)}, (1.5, 2, 3)),
        ("std_msgs/msg/Int64MultiArray", {"data": np.array([-1, 2])}, (-1, 2)),
        ("geometry_msgs/msg/Quaternion", {"w": 1.0}, (0, 0, 0, 1)),
    ],
)
def test_rows_of_types_without_a_stamp(name: str, values: dict[str, Any], expected: Sequence[float]) -> None:
    reading = read_one(StreamReader(series(len(expected)), MessageType(name)), ROBOT.write(name, **values))
    assert (reading.values, reading.stamp_ns) == (expected, None)


def test_rows_of_a_definition_that_came_with_the_recording() -> None:
    definition = "float64 LIMIT=9.5\nstd_msgs/Header header\nfloat32[3] gyro\nint16 gain\nlab_msgs/Cell[2] cells\n"
    definition += "=" * 80 + "\nMSG: lab_msgs/Cell\nstring name\nfloat32 volt\n"
    kind = ROBOT.register("lab_msgs/msg/Probe", definition)
    cells = [ROBOT.of("lab_msgs/msg/Cell", name="a", volt=1.5), ROBOT.of("lab_msgs/msg/Cell", name="bcd", volt=2.5)]
    header = ROBOT.header(STAMP_NS)
    data = ROBOT.write("lab_msgs/msg/Probe", header=header, gyro=np.array([1, 2, 3], np.float32), gain=4, cells=cells)
    assert read_one(StreamReader(series(4), kind), data).values == (1, 2, 3, 4)
    reading = read_one(StreamReader(series(2), kind, "cells[1].volt,cells[0].volt"), data)
    assert (reading.values, reading.stamp_ns) == ((2.5, 1.5), STAMP_NS)


@pytest.mark.parametrize(
    ("name", "channels", "field", "problem"),
    [
        ("sensor_msgs/msg/Imu", 3, "", r"6 \(angular_velocity,linear_acceleration\) or 10 .* has 3: name the fields"),
        ("sensor_msgs/msg/Imu", 6, "linear_acceleration", "linear_acceleration of .* has 3 numbers .* 6 channels"),
        ("sensor_msgs/msg/Imu", 1, "linear_acceleration.w", "has no w: expected one of x, y, z"),
        ("sensor_msgs/msg/Imu", 1, "acceleration", "Imu has no acceleration: expected one of header, orientation, "),
        ("sensor_msgs/msg/Imu", 1, "linear_acceleration.x.y", "nothing behind it"),
        ("sensor_msgs/msg/Imu", 1, "orientation_covariance[9]", "a number below 9 in brackets"),
        ("sensor_msgs/msg/Imu", 1, "header.frame_id", "expected numbers in header.frame_id of .*, but .* is no number"),
        ("sensor_msgs/msg/Imu", 1, "linear_acceleration[0]", r"has no \[0\]: expected one of x, y, z"),
        ("geometry_msgs/msg/Twist", 3, "", "numbers linear.x, .*, angular.z, and the stream 3 channels"),
        ("tf2_msgs/msg/TFMessage", 3, "", "has no numbers, and the stream is a series of 3 channels"),
        ("tf2_msgs/msg/TFMessage", 3, "transforms", "a list of structures: name one"),
        ("std_msgs/msg/String", 1, "", "has no numbers"),
        ("sensor_msgs/msg/Image", 5, "", "has the numbers height, width, .* name those to read"),
        ("sensor_msgs/msg/Image", 4, "", "has the numbers height, width, .* name those to read"),
        ("sensor_msgs/msg/CompressedImage", 6, "", "has the numbers data, and the stream 6 channels"),
        ("std_msgs/msg/UInt8MultiArray", 6, "", "has the numbers data, and the stream 6 channels"),
    ],
)
def test_a_type_that_can_never_feed_the_stream_is_refused(name: str, channels: int, field: str, problem: str) -> None:
    with pytest.raises(MessageError, match=problem):
        StreamReader(series(channels), MessageType(name), field)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_costs_its_message(value: float) -> None:
    reader = StreamReader(series(1), MessageType("std_msgs/msg/Float64"))
    with pytest.raises(MessageError, match="expected finite numbers in std_msgs/msg/Float64, got NaN or an infinite"):
        reader.read(ROBOT.write("std_msgs/msg/Float64", data=value))
    assert read_one(reader, ROBOT.write("std_msgs/msg/Float64", data=1.5)).values == (1.5,)


def test_large_numbers_are_finite_although_their_sum_is_not() -> None:
    data = ROBOT.write("geometry_msgs/msg/Vector3", x=1e308, y=1e308, z=1e308)
    reader = StreamReader(series(3), MessageType("geometry_msgs/msg/Vector3"))
    assert read_one(reader, data).values == (1e308,) * 3


def test_a_list_of_another_length_costs_its_message() -> None:
    name = "std_msgs/msg/Float32MultiArray"
    reader = StreamReader(series(3), MessageType(name))
    with pytest.raises(MessageError, match="expected 3 numbers in data of .*, got 2"):
        reader.read(ROBOT.write(name, data=np.zeros(2, np.float32)))
    assert read_one(reader, ROBOT.write(name, data=np.ones(3, np.float32))).values == (1, 1, 1)


def test_a_fit_says_what_is_read_and_whether_every_message_has_it() -> None:
    assert fit_of(series(6), MessageType("sensor_msgs/msg/Imu")) == Fit("angular_velocity,linear_acceleration", True)
    assert fit_of(series(9), MessageType("sensor_msgs/msg/JointState")) == Fit("position", False)
    assert fit_of(series(9), MessageType("imu", "json")) == Fit("", False)


@pytest.mark.parametrize(
    ("definition", "problem"),
    [
        (
            "V angular_velocity\nV linear_acceleration\n" + "=" * 80 + "\nMSG: sensor_msgs/V\nfloat64 x\n",
            "has 2 numbers",
        ),
        ("E angular_velocity\nE linear_acceleration\n" + "=" * 80 + "\nMSG: sensor_msgs/E\n", "has 2 numbers"),
    ],
)
def test_a_type_with_a_known_name_and_other_fields_is_refused(definition: str, problem: str) -> None:
    kind = MessageType("sensor_msgs/msg/Imu", "cdr", definition.encode(), "ros2msg")
    with pytest.raises(MessageError, match=problem):
        StreamReader(series(6), kind)


def test_json_with_a_known_name_and_other_fields_is_refused() -> None:
    reader = StreamReader(series(1), MessageType("sensor_msgs/msg/JointState", "json"))
    with pytest.raises(MessageError, match="position of .* has 0 numbers"):
        reader.read(b'{"position": {}}')

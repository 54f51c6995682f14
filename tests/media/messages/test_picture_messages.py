"""Messages with pictures, in the encodings of ROS, and what a camera's stream takes of them."""

from __future__ import annotations

import base64
import json
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags")

from taemi_edge.errors import MessageError
from taemi_edge.media.messages.readings import MessageType, PictureReading
from taemi_edge.media.messages.stream_reader import StreamReader
from tests.media import moving_picture
from tests.media.messages import CAMERA, Robot, read_one

ROS2, ROS1 = Robot(), Robot("ROS1_NOETIC", ros1=True)
STAMP_NS = 12_000_000_345
PIXELS = moving_picture(3)
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"


def image(robot: Robot, **fields: Any) -> bytes:
    height, width = PIXELS.shape[:2]
    given = {"height": height, "width": width, "encoding": "rgb8", "step": width * 3, "data": PIXELS.reshape(-1)}
    return robot.write(IMAGE, header=robot.header(STAMP_NS, "cam"), **(given | fields))


@pytest.mark.parametrize("robot", [ROS2, ROS1], ids=["cdr", "ros1"])
def test_a_raw_picture(robot: Robot) -> None:
    reading = read_one(StreamReader(CAMERA, MessageType(IMAGE, robot.encoding)), image(robot))
    assert isinstance(reading, PictureReading)
    assert (reading.picture == PIXELS).all()
    assert reading.stamp_ns == STAMP_NS


def test_numbers_of_a_big_endian_camera() -> None:
    grey = np.full((2, 4), 0x1234, ">u2")
    data = image(
        ROS2, height=2, width=4, encoding="mono16", is_bigendian=1, step=8, data=grey.view(np.uint8).reshape(-1)
    )
    assert (read_one(StreamReader(CAMERA, MessageType(IMAGE)), data).picture == 0x12).all()


@pytest.mark.parametrize("form", ["jpeg", "bgr8; jpeg compressed bgr8", ""])
def test_a_compressed_picture(form: str) -> None:
    content = cv2.imencode(".jpg", cv2.cvtColor(PIXELS, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 98])[1]
    data = ROS2.write(COMPRESSED, header=ROS2.header(STAMP_NS), format=form, data=content)
    reading = read_one(StreamReader(CAMERA, MessageType(COMPRESSED)), data)
    assert np.abs(reading.picture.astype(int) - PIXELS).mean() < 4
    assert reading.stamp_ns == STAMP_NS


def test_a_picture_inside_a_message_of_its_own_kind() -> None:
    kind = ROS2.register("lab_msgs/msg/Seen", "string note\nsensor_msgs/Image left\n")
    height, width = PIXELS.shape[:2]
    left = ROS2.of(
        IMAGE,
        header=ROS2.header(STAMP_NS),
        height=height,
        width=width,
        encoding="rgb8",
        step=width * 3,
        data=PIXELS.reshape(-1),
    )
    data = ROS2.write("lab_msgs/msg/Seen", note="a", left=left)
    reading = read_one(StreamReader(CAMERA, kind, "left"), data)
    assert (reading.picture == PIXELS).all()
    assert reading.stamp_ns == STAMP_NS
    with pytest.raises(MessageError, match="lab_msgs/msg/Seen is no picture"):
        StreamReader(CAMERA, kind)


def test_a_picture_in_json() -> None:
    content = cv2.imencode(".png", cv2.cvtColor(PIXELS, cv2.COLOR_RGB2BGR))[1].tobytes()
    message = {"timestamp": {"sec": 12, "nsec": 345}, "format": "png", "data": base64.b64encode(content).decode()}
    reader = StreamReader(CAMERA, MessageType("foxglove.CompressedImage", "json"))
    reading = read_one(reader, json.dumps(message).encode())
    assert (reading.picture == PIXELS).all()
    assert reading.stamp_ns == STAMP_NS
    with pytest.raises(MessageError, match="base64"):
        reader.read(json.dumps(message | {"data": "?"}).encode())


def test_a_picture_that_nobody_looks_at_is_not_decoded() -> None:
    reader = StreamReader(CAMERA, MessageType(IMAGE))
    assert reader.read(image(ROS2, encoding="none"), lambda stamp: stamp != STAMP_NS) == []
    assert read_one(reader, image(ROS2)).stamp_ns == STAMP_NS
    content = {"timestamp": {"sec": 12, "nsec": 345}, "format": "png", "data": ""}
    reader = StreamReader(CAMERA, MessageType("foxglove.CompressedImage", "json"))
    assert reader.read(json.dumps(content).encode(), lambda stamp: stamp != STAMP_NS) == []


@pytest.mark.parametrize("name", ["sensor_msgs/msg/Imu", "std_msgs/msg/UInt8MultiArray", "sensor_msgs/msg/PointCloud2"])
def test_a_type_without_pictures_is_refused(name: str) -> None:
    with pytest.raises(MessageError, match=f"{name} is no picture, and the stream is a video"):
        StreamReader(CAMERA, MessageType(name))


def test_an_encoding_that_is_not_known_costs_its_message() -> None:
    reader = StreamReader(CAMERA, MessageType(IMAGE))
    with pytest.raises(MessageError, match="32FC1"):
        reader.read(image(ROS2, encoding="32FC1"))
    assert read_one(reader, image(ROS2)).picture.shape == PIXELS.shape

"""Messages that ROS 2 itself has written give the fields that were put into them.

`rclpy_messages.json` has, by type, bytes of `rclpy.serialization.serialize_message` of ROS 2 Jazzy (rclpy 7.1, Fast
CDR), and what was put into them. Behind the last field there may be bytes that mean nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rosbags")

from taemi_edge.media.messages.cdr import FieldReader
from taemi_edge.media.messages.definitions import ros_shape
from taemi_edge.media.messages.readings import MessageType
from taemi_edge.media.messages.topic_field import field_paths

WRITTEN = json.loads(Path(__file__).with_name("rclpy_messages.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", list(WRITTEN))
def test_fields_that_ros_2_has_written(name: str) -> None:
    data, fields = bytes.fromhex(WRITTEN[name]["hex"]), WRITTEN[name]["fields"]
    paths = [field_paths(field)[0] for field in fields]
    values = FieldReader(ros_shape(MessageType(name)), paths).values(data)
    assert [_plain(value) for value in values] == list(fields.values())


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value

"""Messages for tests, written by rosbags: what a robot publishes, with content of our choice."""

from __future__ import annotations

import random
import string
from typing import Any

import numpy as np

from taemi_edge.bundle.streams import AudioSpec, PresenceSpec, SeriesSpec, TextSpec, VideoSpec
from taemi_edge.media.messages.readings import MessageType
from taemi_edge.media.messages.stream_reader import StreamReader

PRESENCE = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
CAMERA = VideoSpec(feature_dim=4, presence=PRESENCE, size_hw=(16, 16), frames_per_second=5.0)
SOUND = AudioSpec(feature_dim=4, presence=PRESENCE, sample_rate_hz=16_000, chunk_s=0.5)
WORDS = TextSpec(feature_dim=4, presence=PRESENCE, max_tokens=16)
#: Kinds of fields in definitions of rosbags.
BASE, STRUCTURE, ARRAY, SEQUENCE = 1, 2, 3, 4
_KINDS = {"bool": "bool", "byte": "int8", "char": "uint8", "octet": "uint8"}


def series(channels: int) -> SeriesSpec:
    """A series of so many channels."""
    return SeriesSpec(feature_dim=4, presence=PRESENCE, channels=channels)


def read_one(reader: StreamReader, data: bytes) -> Any:
    """The only reading of a message."""
    (reading,) = reader.read(data)
    return reading


class Robot:
    """Writes messages of ROS by rosbags.

    Args:
        store: a name of `rosbags.typesys.Stores`.
        ros1: write the encoding of ROS 1.
    """

    def __init__(self, store: str = "ROS2_JAZZY", ros1: bool = False) -> None:
        from rosbags.typesys import Stores, get_typestore

        self.store = get_typestore(Stores[store])
        self.ros1 = ros1

    def register(self, name: str, definition: str) -> MessageType:
        """Add a type; gives it as a recording with definitions would."""
        from rosbags.typesys import get_types_from_msg

        self.store.register(get_types_from_msg(definition, name))
        return self.type_with_schema(name)

    def type_with_schema(self, name: str) -> MessageType:
        """A type with its definition."""
        version = 1 if self.ros1 else 2
        schema = self.store.generate_msgdef(name, ros_version=version)[0].encode()
        return MessageType(name, self.encoding, schema, f"ros{version}msg")

    @property
    def encoding(self) -> str:
        return "ros1" if self.ros1 else "cdr"

    def of(self, name: str, /, **fields: Any) -> Any:
        """A message of a type; fields that are not given are zero and empty."""
        values = []
        for field, kind in self.store.fielddefs[name][1]:
            values.append(fields.pop(field) if field in fields else self._empty(kind))
        assert not fields, f"{name} has no {', '.join(fields)}"
        return self.store.types[name](*values)

    def header(self, stamp_ns: int, frame: str = "base") -> Any:
        stamp = self.of("builtin_interfaces/msg/Time", sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        return self.of("std_msgs/msg/Header", stamp=stamp, frame_id=frame)

    def write(self, name: str, little_endian: bool = True, /, **fields: Any) -> bytes:
        """The bytes of a message."""
        return self.bytes_of(name, self.of(name, **fields), little_endian)

    def bytes_of(self, name: str, message: Any, little_endian: bool = True) -> bytes:
        if self.ros1:
            return bytes(self.store.serialize_ros1(message, name))
        return bytes(self.store.serialize_cdr(message, name, little_endian=little_endian))

    def random(self, name: str, chance: random.Random) -> Any:
        """A message with anything in it."""
        return self.store.types[name](*(self._any(kind, chance) for _, kind in self.store.fielddefs[name][1]))

    def _empty(self, kind: Any) -> Any:
        if kind[0] == STRUCTURE:
            return self.of(kind[1])
        if kind[0] == BASE:
            return "" if kind[1][0] == "string" else 0
        item, count = kind[1]
        count = count if kind[0] == ARRAY else 0
        if item[0] == BASE and item[1][0] != "string":
            return np.zeros(count, _KINDS.get(item[1][0], item[1][0]))
        return [self._empty(item) for _ in range(count)]

    def _any(self, kind: Any, chance: random.Random) -> Any:
        if kind[0] == STRUCTURE:
            return self.random(kind[1], chance)
        if kind[0] == BASE:
            return _any_value(kind[1][0], chance)
        item, count = kind[1]
        count = count if kind[0] == ARRAY else chance.choice((0, 0, 1, 2, 3, 5))
        if item[0] == BASE and item[1][0] != "string":
            values = [_any_value(item[1][0], chance) for _ in range(count)]
            return np.array(values, _KINDS.get(item[1][0], item[1][0]))
        return [self._any(item, chance) for _ in range(count)]


def _any_value(base: str, chance: random.Random) -> Any:
    if base == "string":
        return "".join(chance.choices(string.ascii_letters + "é ", k=chance.choice((0, 1, 2, 3, 4, 7, 9))))
    if base == "bool":
        return chance.random() < 0.5
    if base.startswith("float"):
        return float(np.float32(chance.uniform(-1e6, 1e6)))
    limits = np.iinfo(_KINDS.get(base, base))
    return chance.randint(int(limits.min), int(limits.max))

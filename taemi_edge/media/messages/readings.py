"""What a message gives to a stream: pictures, sound, rows of numbers or words, each with its stamp.

A recording and a live subscription decode the same messages. They place what comes on clocks of their own, so a reading
keeps the stamp that the sender wrote, and nothing else about time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from taemi_edge.bundle.values import Array


@dataclass(frozen=True)
class MessageType:
    """What is known of the messages of a topic before the first one is read.

    Attributes:
        name: of the type, such as "sensor_msgs/msg/Image" or "foxglove.CompressedVideo".
        encoding: of the messages: "cdr", "ros1", "json" or "protobuf".
        schema: the definition that came with them, as it came; empty where there was none.
        schema_encoding: of the definition: "ros2msg", "ros2idl", "ros1msg", "jsonschema", "protobuf" or "".
    """

    name: str
    encoding: str = "cdr"
    schema: bytes = b""
    schema_encoding: str = ""


@dataclass(frozen=True, eq=False)
class PictureReading:
    """A picture.

    Attributes:
        stamp_ns: when it was taken, on the sender's clock; None where the message has no stamp, or one of zero.
        picture: RGB pixels, uint8 (H, W, 3), or PyAV's decoded frame.
    """

    stamp_ns: int | None
    picture: Any


@dataclass(frozen=True, eq=False)
class SoundReading:
    """A piece of sound.

    Attributes:
        stamp_ns: when its first sample was taken; None where the message does not say so.
        samples: mono, float32 (n,) in [-1, 1].
        rate_hz: samples a second.
    """

    stamp_ns: int | None
    samples: Array
    rate_hz: int


@dataclass(frozen=True, eq=False)
class RowReading:
    """A row of a series.

    Attributes:
        stamp_ns: when it was measured; None where the message has no stamp, or one of zero.
        values: its numbers, as many as the stream has channels, all of them finite.
    """

    stamp_ns: int | None
    values: tuple[float, ...]


@dataclass(frozen=True)
class TextReading:
    """Words that were said.

    Attributes:
        stamp_ns: when the last of them ended; None where the message does not say so.
        text: the words.
        length_s: how long they took, in seconds; None where the message does not say so.
    """

    stamp_ns: int | None
    text: str
    length_s: float | None = None


Reading: TypeAlias = PictureReading | SoundReading | RowReading | TextReading

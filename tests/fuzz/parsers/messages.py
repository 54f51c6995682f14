"""Messages of robots, definitions of messages, and fields as they are typed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from taemi_edge.bundle.streams import AudioSpec, PresenceSpec, SeriesSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.errors import MessageError
from taemi_edge.media.hops import Frame
from taemi_edge.media.messages.cdr import FieldReader
from taemi_edge.media.messages.definitions import ros_shape
from taemi_edge.media.messages.protobuf import protobuf_shape
from taemi_edge.media.messages.readings import MessageType, PictureReading, RowReading, SoundReading, TextReading
from taemi_edge.media.messages.stream_reader import StreamReader
from taemi_edge.media.messages.topic_field import parse_topic_field
from tests.fuzz.harness import SEEDS, Harness
from tests.fuzz.mutation.binary import mutate_protobuf
from tests.fuzz.mutation.plain import mutate_text

_PRESENCE = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
CAMERA = VideoSpec(feature_dim=4, presence=_PRESENCE, size_hw=(16, 16), frames_per_second=5.0)
SOUND = AudioSpec(feature_dim=4, presence=_PRESENCE, sample_rate_hz=8000, chunk_s=0.5)
WORDS = TextSpec(feature_dim=4, presence=_PRESENCE, max_tokens=16)
#: What is between two messages of a seed: decoders of videos and of MP3 remember what came before.
BETWEEN = b"\n--message--\n"
#: Descriptors of a message in protobuf, which are a seed as well.
PROBE = SEEDS / "descriptors" / "probe.bin"


def series(channels: int) -> SeriesSpec:
    """A series of so many channels."""
    return SeriesSpec(feature_dim=4, presence=_PRESENCE, channels=channels)


#: By the first byte of an input: what is read of which type.
READERS: tuple[tuple[StreamSpec, MessageType, str], ...] = (
    (series(6), MessageType("sensor_msgs/msg/Imu"), ""),
    (series(2), MessageType("sensor_msgs/msg/JointState"), "position[1],effort[0]"),
    (series(3), MessageType("std_msgs/msg/Float32MultiArray"), ""),
    (series(3), MessageType("tf2_msgs/msg/TFMessage", "cdr"), "transforms[1].transform.translation"),
    (series(6), MessageType("sensor_msgs/Imu", "ros1"), ""),
    (CAMERA, MessageType("sensor_msgs/msg/Image"), ""),
    (CAMERA, MessageType("sensor_msgs/msg/CompressedImage"), ""),
    (CAMERA, MessageType("foxglove_msgs/msg/CompressedVideo"), ""),
    (CAMERA, MessageType("foxglove.CompressedImage", "json"), ""),
    (SOUND, MessageType("audio_common_msgs/msg/AudioData"), ""),
    (SOUND, MessageType("foxglove_msgs/msg/RawAudio"), ""),
    (WORDS, MessageType("std_msgs/msg/String"), ""),
    (WORDS, MessageType("", "json"), ""),
    (series(3), MessageType("imu", "json"), ""),
    (series(3), MessageType("lab.Probe", "protobuf", PROBE.read_bytes(), "protobuf"), "gyro"),
)


def _messages(content: bytes) -> None:
    spec, message_type, field = READERS[(content[0] if content else 0) % len(READERS)]
    reader = StreamReader(spec, message_type, field)
    refused: MessageError | None = None
    for data in content[1:].split(BETWEEN):
        try:
            for reading in reader.read(data):
                _check(reading, spec)
        except MessageError as error:
            refused = error
    for reading in reader.finish():
        _check(reading, spec)
    if refused is not None:
        raise refused


def _check(reading: object, spec: StreamSpec) -> None:
    match reading:
        case PictureReading():
            pixels = Frame(0.0, reading.picture).image
            assert pixels.dtype == np.uint8
            assert pixels.shape[2:] == (3,)
            assert pixels.size
        case SoundReading():
            assert reading.samples.dtype == np.float32
            assert np.isfinite(reading.samples).all()
            assert reading.rate_hz > 0
        case RowReading():
            assert isinstance(spec, SeriesSpec)
            assert len(reading.values) == spec.channels
            assert np.isfinite(reading.values).all()
        case TextReading():
            assert reading.text.strip()


def _definition(encoding: str, form: str) -> Callable[[bytes], object]:
    def read(content: bytes) -> None:
        shape = ros_shape(MessageType("lab_msgs/msg/Probe", encoding, content, form))
        FieldReader(shape, [], encoding == "ros1")

    return read


def _descriptors(content: bytes) -> None:
    protobuf_shape(MessageType("lab.Probe", "protobuf", content, "protobuf"))


def _topic_field(content: bytes) -> None:
    text = content.decode("utf-8", "replace")
    found = parse_topic_field(text, ("/imu", "robot.imu"))
    assert str(found) == text


HARNESSES = (
    Harness("messages", _messages, None, share=2, needs=("rosbags", "google")),
    Harness("definition-msg", _definition("cdr", "ros2msg"), mutate_text, share=0.5, needs=("rosbags",)),
    Harness("definition-ros1", _definition("ros1", "ros1msg"), mutate_text, share=0.3, needs=("rosbags",)),
    Harness("definition-idl", _definition("cdr", "ros2idl"), mutate_text, share=0.5, needs=("rosbags",)),
    Harness("descriptors", _descriptors, mutate_protobuf, share=0.5, needs=("google",)),
    Harness("topic-field", _topic_field, mutate_text, share=0.2),
)

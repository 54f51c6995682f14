"""Messages in protobuf, with the descriptors that a recording holds."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("google.protobuf")

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

from taemi_edge.errors import MessageError
from taemi_edge.media.messages.readings import MessageType
from taemi_edge.media.messages.stream_reader import StreamReader
from tests.media import moving_picture
from tests.media.messages import CAMERA, SOUND, WORDS, read_one, series

_KINDS = {"double": 1, "float": 2, "int64": 3, "uint32": 13, "bool": 8, "string": 9, "bytes": 12, "enum": 14}


def described(
    name: str, fields: dict[str, str], others: dict[str, dict[str, str]] | None = None
) -> tuple[MessageType, Any]:
    """A type of a package `lab`, and the class of its messages; `[]` stands behind what is repeated."""
    file = descriptor_pb2.FileDescriptorProto(name="lab.proto", package="lab", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    for message, of in {**(others or {}), name: fields}.items():
        made = file.message_type.add(name=message)
        for number, (field, kind) in enumerate(of.items(), 1):
            repeated = kind.endswith("[]")
            kind = kind.removesuffix("[]")
            at = made.field.add(name=field, number=number, label=3 if repeated else 1, type=_KINDS.get(kind, 11))
            if kind not in _KINDS:
                at.type_name = f".google.protobuf.{kind}" if kind == "Timestamp" else f".lab.{kind}"
    own = descriptor_pb2.FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(own)
    files = descriptor_pb2.FileDescriptorSet(file=[file, own])  # what is imported comes last here
    pool = descriptor_pool.DescriptorPool()
    pool.Add(own)
    pool.Add(file)
    kind = MessageType(f"lab.{name}", "protobuf", files.SerializeToString(), "protobuf")
    return kind, message_factory.GetMessageClass(pool.FindMessageTypeByName(kind.name))


VECTOR = {"Vector": {"x": "double", "y": "double", "z": "double"}}


def test_numbers_by_themselves_and_by_path() -> None:
    fields = {"timestamp": "Timestamp", "gyro": "Vector", "acc": "Vector", "note": "string", "raw": "float[]"}
    kind, message = described("Imu", fields, VECTOR)
    data = message(
        timestamp={"seconds": 5, "nanos": 7}, gyro={"x": 1, "y": 2, "z": 3}, acc={"z": 9.75}, raw=[1.5, 2.5]
    ).SerializeToString()
    reading = read_one(StreamReader(series(4), kind, "acc,gyro.y"), data)
    assert (reading.values, reading.stamp_ns) == ((0, 0, 9.75, 2), 5_000_000_007)
    assert read_one(StreamReader(series(2), kind, "raw"), data).values == (1.5, 2.5)
    assert read_one(StreamReader(series(1), kind, "raw[1]"), data).values == (2.5,)
    assert read_one(StreamReader(WORDS, kind, "note"), message(note="so").SerializeToString()).text == "so"
    with pytest.raises(MessageError, match=r"raw\[1\], got one without"):
        StreamReader(series(1), kind, "raw[1]").read(message(raw=[1]).SerializeToString())
    with pytest.raises(MessageError, match="finite"):
        StreamReader(series(3), kind, "acc").read(message(acc={"x": math.nan}).SerializeToString())
    with pytest.raises(MessageError, match="numbers gyro.x, .*, raw, and the stream 7 channels"):
        StreamReader(series(7), kind)
    with pytest.raises(MessageError, match="has no mag: expected one of timestamp, gyro"):
        StreamReader(series(3), kind, "mag")


def test_all_numbers_where_they_are_as_many_as_channels() -> None:
    kind, message = described("Twist", {"timestamp": "Timestamp", "linear": "Vector", "angular": "Vector"}, VECTOR)
    data = message(linear={"x": 1}, angular={"z": 2}).SerializeToString()
    reading = read_one(StreamReader(series(6), kind), data)
    assert (reading.values, reading.stamp_ns) == ((1, 0, 0, 0, 0, 2), None)


def test_pictures_and_sound_of_foxglove() -> None:
    pixels = moving_picture(0)
    height, width = pixels.shape[:2]
    fields = {"timestamp": "Timestamp", "width": "uint32", "height": "uint32", "encoding": "string", "step": "uint32"}
    kind, message = described("RawImage", {**fields, "data": "bytes"})
    raw = message(
        timestamp={"seconds": 1}, width=width, height=height, encoding="rgb8", step=width * 3, data=pixels.tobytes()
    )
    reading = read_one(StreamReader(CAMERA, kind), raw.SerializeToString())
    assert (reading.picture == pixels).all()
    assert reading.stamp_ns == 1_000_000_000
    kind, message = described("CompressedImage", {"timestamp": "Timestamp", "data": "bytes", "format": "string"})
    png = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()
    reading = read_one(StreamReader(CAMERA, kind), message(data=png, format="png").SerializeToString())
    assert (reading.picture == pixels).all()
    fields = {"timestamp": "Timestamp", "data": "bytes", "format": "string", "sample_rate": "uint32"}
    kind, message = described("RawAudio", {**fields, "number_of_channels": "uint32"})
    heard = message(data=np.arange(8, dtype="<i2").tobytes(), format="pcm-s16", sample_rate=8000, number_of_channels=2)
    reading = read_one(StreamReader(SOUND, kind), heard.SerializeToString())
    assert (len(reading.samples), reading.rate_hz) == (4, 8000)


def test_types_of_the_foxglove_sdk() -> None:
    """The descriptors that its server and its files hold."""
    messages = pytest.importorskip("foxglove.messages")
    schema = messages.RawImage.get_schema()
    kind = MessageType(schema.name, schema.encoding, schema.data, schema.encoding)
    pixels = moving_picture(1)
    height, width = pixels.shape[:2]
    stamp = messages.Timestamp(sec=3, nsec=4)
    data = messages.RawImage(
        timestamp=stamp, width=width, height=height, encoding="rgb8", step=width * 3, data=pixels.tobytes()
    ).encode()
    reading = read_one(StreamReader(CAMERA, kind), data)
    assert (reading.picture == pixels).all()
    assert reading.stamp_ns == 3_000_000_004


def test_messages_in_themselves_are_not_followed() -> None:
    kind, message = described("Tree", {"x": "float", "inner": "Tree"})
    assert read_one(StreamReader(series(1), kind), message(x=1.5).SerializeToString()).values == (1.5,)


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x02\x09\x01"])
def test_bytes_that_are_no_message_cost_their_message(data: bytes) -> None:
    kind, _ = described("Twist", {"linear": "Vector"}, VECTOR)
    with pytest.raises(MessageError, match="expected a message of lab.Twist"):
        StreamReader(series(3), kind).read(data)


@pytest.mark.parametrize(
    ("schema", "name"), [(b"", "lab.B"), (b"\xff\xff", "lab.B"), (bytes(2 << 20), "lab.B"), (b"", "a" * 5000)]
)
def test_a_schema_that_is_none_is_refused_in_one_sentence(schema: bytes, name: str) -> None:
    with pytest.raises(MessageError, match="expected descriptors") as refused:
        StreamReader(series(3), MessageType(name, "protobuf", schema, "protobuf"))
    assert len(str(refused.value)) < 700


def test_a_name_that_the_schema_does_not_have_is_refused() -> None:
    kind, _ = described("Twist", {"linear": "Vector"}, VECTOR)
    with pytest.raises(MessageError, match="lab.Twost: expected descriptors of this message"):
        StreamReader(series(3), MessageType("lab.Twost", "protobuf", kind.schema, "protobuf"))

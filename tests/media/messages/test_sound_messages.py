"""Messages with sound."""

from __future__ import annotations

import struct

import av
import numpy as np
import pytest

pytest.importorskip("rosbags")

from taemi_edge.bundle.values import Array
from taemi_edge.errors import MessageError
from taemi_edge.media.messages.readings import MessageType, SoundReading
from taemi_edge.media.messages.sound import FORMATS, SoundFormat, samples_of_pcm
from taemi_edge.media.messages.stream_reader import StreamReader
from tests.media import tone
from tests.media.messages import CAMERA, SOUND, Robot, read_one

ROBOT = Robot()
AUDIO_DATA = "audio_common_msgs/msg/AudioData"
TONE = tone(0.5)
PCM = (TONE * 32_767).astype("<i2").tobytes()


def audio_data(content: bytes) -> bytes:
    """A message of AudioData: a list of bytes."""
    return b"\0\1\0\0" + struct.pack("<I", len(content)) + content


def test_raw_sound_without_a_definition() -> None:
    reading = read_one(StreamReader(SOUND, MessageType(AUDIO_DATA)), audio_data(PCM))
    assert isinstance(reading, SoundReading)
    assert (reading.rate_hz, reading.stamp_ns, reading.samples.dtype) == (16_000, None, np.float32)
    assert np.abs(reading.samples - TONE).max() < 1e-3


@pytest.mark.parametrize("name", list(FORMATS))
def test_every_format_gives_the_same_sound(name: str) -> None:
    letter, full = FORMATS[name]
    scaled = TONE * (full - 1 if full > 1 else 1)
    numbers = (scaled + (full if name == "U8" else 0)).astype(letter)
    pairs = np.stack([numbers, numbers], axis=1).astype(letter)
    found = samples_of_pcm(pairs.tobytes(), SoundFormat(44_100, 2, name))
    assert np.abs(found - TONE).max() < 2 / full + 1e-6


def test_a_format_that_is_given() -> None:
    form = SoundFormat(8000, 2, "F32LE")
    pair = np.stack([TONE, -TONE], axis=1).astype("<f4")
    reading = read_one(StreamReader(SOUND, MessageType(AUDIO_DATA), sound=form), audio_data(pair.tobytes()))
    assert (reading.rate_hz, len(reading.samples), np.abs(reading.samples).max()) == (8000, 8000, 0)


def test_a_format_behind_a_question_mark() -> None:
    pair = np.stack([TONE, TONE], axis=1).astype("<f4").tobytes()
    for field in ("?rate=8000&channels=2&format=F32LE", "data?format=F32LE&channels=2&rate=8000"):
        reading = read_one(StreamReader(SOUND, MessageType(AUDIO_DATA), field), audio_data(pair))
        assert (reading.rate_hz, len(reading.samples)) == (8000, 8000)
    for field in ("?rate", "?rate=fast", "?rate=-1", "?speed=3", "?format=opus", "?rate=999999999", "?channels=0"):
        with pytest.raises(MessageError, match="expected"):
            StreamReader(SOUND, MessageType(AUDIO_DATA), field)
    with pytest.raises(MessageError, match="form of sound for a stream of sound alone"):
        StreamReader(CAMERA, MessageType("sensor_msgs/msg/Image"), "?rate=8000")


def mp3_of(samples: Array) -> list[bytes]:
    encoder = av.CodecContext.create("libmp3lame", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 16_000, "mono", "s16p"
    encoder.bit_rate = 64_000
    encoder.open()
    made, size = [], encoder.frame_size
    for at in range(0, len(samples) - size, size):
        piece = (samples[None, at : at + size] * 32_767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(piece, format="s16p", layout="mono")
        frame.sample_rate, frame.pts = 16_000, at
        made += [bytes(packet) for packet in encoder.encode(frame)]
    return made + [bytes(packet) for packet in encoder.encode(None)]


@pytest.mark.parametrize("cut", [1, 3])
def test_mp3_is_known_by_its_first_bytes(cut: int) -> None:
    """A message may hold a frame, or end in the middle of one."""
    content = mp3_of(tone(1.0))
    whole = b"".join(content)
    pieces = content if cut == 1 else [whole[at : at + 100] for at in range(0, len(whole), 100)]
    reader = StreamReader(SOUND, MessageType(AUDIO_DATA))
    found = [reading for piece in pieces for reading in reader.read(audio_data(piece))]
    assert {reading.rate_hz for reading in found} == {16_000}
    samples = np.concatenate([reading.samples for reading in found])
    assert len(samples) > 14_000
    assert 0.4 < np.abs(samples[4000:12_000]).max() < 0.6
    if cut == 1:
        assert len(found) >= len(pieces) - 1


def test_foxglove_and_the_newer_audio_common_say_their_format() -> None:
    fields = "builtin_interfaces/Time timestamp\nuint8[] data\nstring format\nuint32 sample_rate\n"
    ROBOT.register("foxglove_msgs/msg/RawAudio", f"{fields}uint32 number_of_channels\n")
    stamp = ROBOT.of("builtin_interfaces/msg/Time", sec=7, nanosec=8)
    data = ROBOT.write(
        "foxglove_msgs/msg/RawAudio",
        timestamp=stamp,
        data=np.frombuffer(PCM, np.uint8),
        format="pcm-s16",
        sample_rate=16_000,
        number_of_channels=1,
    )
    reading = read_one(StreamReader(SOUND, MessageType("foxglove_msgs/msg/RawAudio")), data)
    assert (reading.rate_hz, reading.stamp_ns) == (16_000, 7_000_000_008)
    assert np.abs(reading.samples - TONE).max() < 1e-3

    line = "=" * 80 + "\n"
    kinds = {
        "float32": "float32",
        "int32": "int32",
        "int24": "int32",
        "int16": "int16",
        "int8": "int8",
        "uint8": "uint8",
    }
    lists = "".join(f"{kind}[] {name}_data\n" for name, kind in kinds.items())
    definition = (
        f"std_msgs/Header header\nnew_msgs/Audio audio\n{line}MSG: new_msgs/Audio\nnew_msgs/Data audio_data\n"
        f"new_msgs/Info info\n{line}MSG: new_msgs/Data\n{lists}{line}MSG: new_msgs/Info\nint32 format\nint32 channels\n"
        f"int32 rate\nint32 chunk\n"
    )
    kind = ROBOT.register("new_msgs/msg/AudioStamped", definition)
    info = ROBOT.of("new_msgs/msg/Info", channels=1, rate=16_000)
    heard = ROBOT.of("new_msgs/msg/Data", int16_data=np.frombuffer(PCM, "<i2"))
    data = ROBOT.write(
        "new_msgs/msg/AudioStamped",
        header=ROBOT.header(99),
        audio=ROBOT.of("new_msgs/msg/Audio", audio_data=heard, info=info),
    )
    reading = read_one(StreamReader(SOUND, kind), data)
    assert (reading.rate_hz, reading.stamp_ns, len(reading.samples)) == (16_000, 99, 8000)


def test_a_list_of_numbers_by_its_path() -> None:
    kind = ROBOT.register("lab_msgs/msg/Mic", "std_msgs/Header header\nfloat32[] wave\n")
    data = ROBOT.write("lab_msgs/msg/Mic", header=ROBOT.header(5), wave=TONE)
    reading = read_one(StreamReader(SOUND, kind, "wave", SoundFormat(8000)), data)
    assert (reading.rate_hz, reading.stamp_ns) == (8000, 5)
    assert (reading.samples == TONE).all()


@pytest.mark.parametrize(
    ("content", "problem"), [(PCM[:-1], "samples of 2 bytes, got 15,999 bytes"), (b"\1", "samples of 2 bytes, got 1 b")]
)
def test_a_part_of_a_sample_costs_its_message(content: bytes, problem: str) -> None:
    reader = StreamReader(SOUND, MessageType(AUDIO_DATA))
    with pytest.raises(MessageError, match=problem):
        reader.read(audio_data(content))
    assert len(read_one(reader, audio_data(PCM)).samples) == 8000
    assert reader.read(audio_data(b"")) == []


def test_a_message_with_more_sound_than_any_is_refused() -> None:
    frame = mp3_of(tone(0.2))[0]
    for content in (bytes(17 << 20), frame * (300_000 // len(frame))):
        with pytest.raises(MessageError, match="bytes of .* in a message, got"):
            StreamReader(SOUND, MessageType(AUDIO_DATA)).read(audio_data(content))


def test_samples_that_are_not_finite_are_refused() -> None:
    with pytest.raises(MessageError, match="finite samples"):
        samples_of_pcm(np.array([0, np.nan], "<f4").tobytes(), SoundFormat(sample_format="F32LE"))


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ((16_000, 1, "opus"), "got 'opus'"),
        ((0, 1, "U8"), "got 0 Hz"),
        ((8000, 65, "U8"), "in 65"),
        ((-1, 1, "U8"), "-1"),
    ],
)
def test_a_format_that_no_microphone_has_is_refused(values: tuple[int, int, str], problem: str) -> None:
    with pytest.raises(MessageError, match=problem):
        SoundFormat(*values)


def test_a_type_without_sound_is_refused_and_sound_is_no_picture() -> None:
    for name in ("sensor_msgs/msg/Image", "std_msgs/msg/UInt8MultiArray", "sensor_msgs/msg/Imu"):
        with pytest.raises(MessageError, match=f"{name} is no sound, and the stream is an audio"):
            StreamReader(SOUND, MessageType(name))
    for name in (AUDIO_DATA, "foxglove_msgs/msg/RawAudio"):
        with pytest.raises(MessageError, match="is no picture"):
            StreamReader(CAMERA, MessageType(name))


@pytest.mark.parametrize("content", [b'{"s": ["AAAA", {"a": 2}]}', b'{"s": ["AAAA", null]}', b'{"s": ["AAAA", 5]}'])
def test_json_whose_sound_is_none_costs_its_message(content: bytes) -> None:
    reader = StreamReader(SOUND, MessageType("robot.Sound", "json"), "s[1]")
    with pytest.raises(MessageError, match="expected"):
        reader.read(content)

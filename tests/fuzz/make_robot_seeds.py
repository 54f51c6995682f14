"""Makes the seeds of parsers that read what robots send: python -m tests.fuzz.make_robot_seeds. It needs `rosbags`."""

from __future__ import annotations

import base64
import json
import random
import tempfile
from pathlib import Path

import cv2
import numpy as np

from taemi_edge.media.messages.known_definitions import KNOWN
from tests.fuzz.make_seeds import put
from tests.fuzz.parsers.messages import BETWEEN, READERS
from tests.media import tone
from tests.media.messages import Robot
from tests.media.messages.test_compressed_video import packets
from tests.media.messages.test_idl import idl_of
from tests.media.messages.test_protobuf import VECTOR, described
from tests.media.messages.test_sound_messages import audio_data, mp3_of
from tests.robots.definitions import cdr, message
from tests.robots.drives import write_bag, write_mcap, write_ros1_bag
from tests.robots.messages import Sent, image, imu

_DEFINITION = """# a probe
uint8 OFF=0
string NAME="a # b"
std_msgs/Header header
float32[3] gyro 0.0
int16[] gains
string<=9 name "x"
lab_msgs/Cell[2] cells
================================================================================
MSG: lab_msgs/Cell
bool on true
float64[<=4] volt
time when
"""


_PROBE = described("Probe", {"timestamp": "Timestamp", "gyro": "Vector", "raw": "float[]"}, VECTOR)


def _messages() -> list[bytes]:
    """A message for each of `READERS`, in their order."""
    robot, ros1 = Robot(), Robot("ROS1_NOETIC", ros1=True)
    for name, text in KNOWN.items():
        if name.startswith("foxglove"):
            robot.register(name, text)
    chance = random.Random(1)
    pixels = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    jpeg, png = (cv2.imencode(ending, pixels)[1] for ending in (".jpg", ".png"))
    header = robot.header(12_000_000_034)
    joints = {"name": ["hip", "knee"], "position": np.arange(2.0), "effort": np.ones(1)}
    transforms = [robot.random("geometry_msgs/msg/TransformStamped", chance) for _ in range(2)]
    image = {"height": 6, "width": 8, "encoding": "bgr8", "step": 24, "data": pixels.reshape(-1)}
    video = [
        robot.write("foxglove_msgs/msg/CompressedVideo", data=np.frombuffer(packet, np.uint8), format="h264")
        for packet in packets(count=3)
    ]
    sound = np.arange(64, dtype="<i2").view(np.uint8)
    said = {"sample_rate": 16_000, "number_of_channels": 1}
    picture = {"format": "png", "data": base64.b64encode(png.tobytes()).decode(), "timestamp": {"sec": 1, "nsec": 2}}
    return [
        robot.bytes_of("sensor_msgs/msg/Imu", robot.random("sensor_msgs/msg/Imu", chance)),
        robot.write("sensor_msgs/msg/JointState", header=header, **joints),
        robot.write("std_msgs/msg/Float32MultiArray", data=np.arange(3, dtype=np.float32)),
        robot.write("tf2_msgs/msg/TFMessage", transforms=transforms),
        ros1.bytes_of("sensor_msgs/msg/Imu", ros1.random("sensor_msgs/msg/Imu", chance)),
        robot.write("sensor_msgs/msg/Image", header=header, **image),
        robot.write("sensor_msgs/msg/CompressedImage", header=header, format="jpeg", data=jpeg),
        BETWEEN.join(video),
        json.dumps(picture).encode(),
        BETWEEN.join(audio_data(piece) for piece in mp3_of(tone(0.3))),
        robot.write("foxglove_msgs/msg/RawAudio", data=sound, format="pcm-s16", **said),
        robot.write("std_msgs/msg/String", data='{"text": "so it is", "start": 1.5, "end": 2}'),
        b'{"text": "so it is", "start": 1.5, "end": 2}',
        b'{"acc": {"x": 1, "y": 2.5, "z": -3}, "stamp": {"sec": 1, "nanosec": 2}}',
        _PROBE[1](gyro={"x": 1, "y": 2}, raw=[1.5], timestamp={"seconds": 5}).SerializeToString(),
    ]


def _drive() -> list[Sent]:
    """A drive of a second: four pictures, twenty rows of an IMU, two words."""
    start_ns = 1_700_000_000_000_000_000
    pixels = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    made: list[tuple[int, str, str, bytes]] = []
    for at in range(20):
        stamp_ns = start_ns + at * 50_000_000
        made.append((stamp_ns, "/imu", "sensor_msgs/msg/Imu", cdr(imu([at, 0, 0, 0, 0, 9.8], stamp_ns))))
        if at % 5 == 0:
            made.append((stamp_ns, "/camera", "sensor_msgs/msg/Image", cdr(image(pixels, "rgb8", stamp_ns))))
        if at % 10 == 9:
            made.append((stamp_ns, "/words", "std_msgs/msg/String", cdr(message("std_msgs/msg/String", data="so it"))))
    return [Sent(topic, kind, "cdr", stamp_ns, stamp_ns + 1_000_000, data) for stamp_ns, topic, kind, data in made]


def _recordings() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, drive = Path(name), _drive()
        for compression in ("zstd", "lz4", "none", None):
            file = write_mcap(folder / "drive.mcap", drive, compression=compression, chunk_size=3000)
            put("mcap", f"{compression or 'unchunked'}.mcap", file.read_bytes())
        put("mcap", "no-index.mcap", write_mcap(folder / "drive.mcap", drive, index=False).read_bytes())
        bag = write_bag(folder / "bag", drive, storage="sqlite3")
        put("bag-sqlite", "drive.db3", next(bag.glob("*.db3")).read_bytes())
        put("bag-ros1", "drive.bag", write_ros1_bag(folder / "drive.bag", drive).read_bytes())
    put("topic-map", "robot.toml", '[streams]\neye = "/camera/image_raw"\nwrist = "/imu/data.linear_acceleration"\n')


def main() -> None:
    """Make the seeds of messages, of their definitions and fields, and of recordings."""
    _recordings()
    for number, content in enumerate(_messages()):
        name = READERS[number][1].name.replace("/", "-") or "words"
        put("messages", f"{number:02d}-{name}.bin", bytes([number]) + content)
    put("definition-msg", "probe.msg", _DEFINITION)
    put("definition-ros1", "probe.msg", _DEFINITION)
    robot = Robot()
    kind = robot.register("lab_msgs/msg/Probe", "std_msgs/Header header\nfloat32[3] gyro\nint16[] gains\nstring name\n")
    constants, fields = robot.store.fielddefs[kind.name]
    put("definition-idl", "probe.idl", idl_of(kind.name, [*fields, ("scale", fields[1][1])], constants))
    put("descriptors", "probe.bin", _PROBE[0].schema)
    put("topic-field", "imu.txt", "/imu.linear_acceleration.x,position[2]")
    put("topic-field", "dots.txt", "robot.imu.transforms[0].transform")


if __name__ == "__main__":
    main()

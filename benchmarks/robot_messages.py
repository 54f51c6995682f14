"""What it costs to read what a stream takes out of a message, one thread, in microseconds of a processor.

    python benchmarks/robot_messages.py --output benchmarks/robot-messages.json

Messages are written by `rosbags`. Each is read by `StreamReader`, from bytes to a reading that was checked, and by the
deserialiser of `rosbags`, which makes an object of every field and checks none of the numbers. The two take turns, and
the median of the rounds counts. It takes half a minute.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.typesys import Stores, get_typestore

from taemi_edge.bench.provenance import write_report
from taemi_edge.bundle.streams import PresenceSpec, SeriesSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.media.messages.readings import MessageType
from taemi_edge.media.messages.stream_reader import StreamReader

_PRESENCE = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
_CAMERA = VideoSpec(feature_dim=4, presence=_PRESENCE, size_hw=(224, 224), frames_per_second=5.0)
_WORDS = TextSpec(feature_dim=4, presence=_PRESENCE, max_tokens=64)
_ROUNDS, _ROUND_S = 15, 0.05
_STORE = get_typestore(Stores.ROS2_JAZZY)


def _series(channels: int) -> SeriesSpec:
    return SeriesSpec(feature_dim=4, presence=_PRESENCE, channels=channels)


def _of(type_name: str, /, **fields: Any) -> Any:
    """A message; fields that are not given are zero and empty."""
    values = []
    for field, (kind, what) in _STORE.fielddefs[type_name][1]:
        if field in fields:
            values.append(fields[field])
        elif kind == 2:
            values.append(_of(what))
        elif kind == 1:
            values.append("" if what[0] == "string" else 0)
        else:
            values.append(np.zeros(what[1] if kind == 3 else 0, what[0][1][0]) if what[0][0] == 1 else [])
    return _STORE.types[type_name](*values)


def _messages() -> dict[str, tuple[StreamSpec, str, str, Any]]:
    """By what a row of the table is called: the stream, the type, the field and the message."""
    stamp = _of("builtin_interfaces/msg/Time", sec=1_700_000_000, nanosec=5)
    header = _of("std_msgs/msg/Header", stamp=stamp, frame_id="base_link")
    height, width = 480, 640
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    pixels = np.stack([columns % 256, rows % 256, (columns + rows) % 256], axis=-1).astype(np.uint8)
    raw = {"height": height, "width": width, "encoding": "rgb8", "step": width * 3, "data": pixels.reshape(-1)}
    swapped = {**raw, "encoding": "bgr8"}
    jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    joints = {"name": [f"joint_{at}" for at in range(12)], "position": np.arange(12.0), "velocity": np.ones(12)}
    image, compressed = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
    imu, state = "sensor_msgs/msg/Imu", "sensor_msgs/msg/JointState"
    several = "std_msgs/msg/Float32MultiArray"
    return {
        "Imu, 6 numbers": (_series(6), imu, "", _of(imu, header=header)),
        "Imu, one number by its path": (_series(1), imu, "linear_acceleration.x", _of(imu, header=header)),
        "JointState, 12 positions": (_series(12), state, "", _of(state, header=header, **joints)),
        "Float32MultiArray of 64": (_series(64), several, "", _of(several, data=np.arange(64, dtype=np.float32))),
        "String": (_WORDS, "std_msgs/msg/String", "", _of("std_msgs/msg/String", data="so it is")),
        "Image 640 x 480, rgb8": (_CAMERA, image, "", _of(image, header=header, **raw)),
        "Image 640 x 480, bgr8": (_CAMERA, image, "", _of(image, header=header, **swapped)),
        "CompressedImage 640 x 480, JPEG": (
            _CAMERA,
            compressed,
            "",
            _of(compressed, header=header, format="jpeg", data=jpeg),
        ),
    }


def _microseconds(read: Callable[[], object]) -> float:
    """Microseconds of the processor for a call, over a twentieth of a second."""
    calls, began = 0, time.thread_time()
    while (spent := time.thread_time() - began) < _ROUND_S:
        for _ in range(10):
            read()
        calls += 10
    return spent / calls * 1e6


def measured() -> dict[str, dict[str, float]]:
    """Microseconds a message by row of the table: ours, and those of rosbags."""
    table = {}
    for row, (spec, name, field, message) in _messages().items():
        data = bytes(_STORE.serialize_cdr(message, name))
        reader = StreamReader(spec, MessageType(name), field)
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(_ROUNDS):
            ours.append(_microseconds(partial(reader.read, data)))
            theirs.append(_microseconds(partial(_STORE.deserialize_cdr, data, name)))
        table[row] = {"read_us": round(statistics.median(ours), 2), "rosbags_us": round(statistics.median(theirs), 2)}
    return table


def main() -> None:
    """Measure, print a table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    table = measured()
    sys.stdout.write(f"{'a message':<34}{'read, us':>10}{'rosbags, us':>13}\n")
    for row, spent in table.items():
        sys.stdout.write(f"{row:<34}{spent['read_us']:>10.1f}{spent['rosbags_us']:>13.1f}\n")
    if given.output:
        write_report(given.output, {"messages": table}, "rosbags")


if __name__ == "__main__":
    main()

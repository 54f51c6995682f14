"""A node that publishes a topic as rmw_zenoh does, in a process of its own: keys, tokens and attachments by its design.

    python tests/live/ros/publisher.py --router tcp/127.0.0.1:7447 --topic /imu --type sensor_msgs/msg/Imu --rate 200

It writes its messages with rosbags and uses nothing of taemi_edge, so that both sides cannot be wrong alike. It prints
`ready` when it publishes, and what it sent when it ends.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import time
from typing import Any

import numpy as np
import zenoh
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

TYPES = get_typestore(Stores.ROS2_JAZZY)
TYPES.register(get_types_from_msg("float64 angle\nfloat32[5] forces\n", "gripper_msgs/msg/Grip"))
#: As ROS 2 Jazzy prints them (`ros2 topic info --verbose`).
HASHES = {
    "std_msgs/msg/String": "RIHS01_df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18",
    "sensor_msgs/msg/Image": "RIHS01_d31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb9582527d47",
}


def main() -> None:
    asked = _arguments()
    session = zenoh.open(_config(asked))
    package, _, name = asked.type.partition("/msg/")
    in_key = f"{package}::msg::dds_::{name}_"
    type_hash = asked.hash or HASHES.get(asked.type) or TYPES.hash_rihs01(asked.type)
    key = f"{asked.domain}/{asked.topic.strip('/')}/{in_key}/{type_hash}"
    durability = "1" if asked.keep_last else ""
    tokens = []
    if asked.bridge:
        key, asked.attachments = asked.topic.strip("/"), False
        what = f"{key.replace('/', '§')}/{asked.type.replace('/', '§')}/:::1,10:typehash={type_hash};"
        tokens.append(session.liveliness().declare_token(f"@/{session.zid()}/@ros2_lv/MP/{what}"))
    elif asked.tokens:
        who = f"@ros2_lv/{asked.domain}/{session.zid()}/0"
        tokens.append(session.liveliness().declare_token(f"{who}/0/NN/%/%/{asked.node}"))
        topic = asked.topic.replace("/", "%")
        what = f"{topic}/{in_key}/{type_hash}/:{durability}:,7:,:,:,,"
        tokens.append(session.liveliness().declare_token(f"{who}/10/MP/%/%/{asked.node}/{what}"))
    extension = zenoh.ext
    publisher = extension.declare_advanced_publisher(
        session,
        key,
        congestion_control=zenoh.CongestionControl.DROP,
        reliability=zenoh.Reliability.RELIABLE,
        cache=extension.CacheConfig(max_samples=7) if asked.keep_last else None,
        publisher_detection=asked.keep_last or None,
    )
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    _publish(asked, publisher, hashlib.sha256(str(session.zid()).encode()).digest()[:16])
    sys.stdout.write(json.dumps({"sent": asked.count}) + "\n")
    sys.stdout.flush()
    if asked.stay:
        sys.stdin.read()
    session.close()


def _publish(asked: argparse.Namespace, publisher: Any, gid: bytes) -> None:
    """Send messages at the rate until there are enough, or for ever."""
    i64 = zenoh.ext.Int64
    started_s, number = time.monotonic(), 0
    while not asked.count or number < asked.count:
        due = int((time.monotonic() - started_s) * asked.rate) + 1
        while number < due and (not asked.count or number < asked.count):
            number += 1
            now_ns = time.time_ns()
            past_ns = int((number - 1) * asked.stamp_rate * 1e9 / asked.rate)
            stamp_ns = int(asked.stamp_s * 1e9) + past_ns if asked.stamp_s else now_ns
            data = bytes([0, 1, 0, 0, 255]) if asked.garbage else _message(asked, number, stamp_ns)
            attachment = zenoh.ext.z_serialize((i64(number), i64(now_ns), gid)) if asked.attachments else None
            publisher.put(data, attachment=attachment)
        time.sleep(min(0.5 / asked.rate, 0.002))


def _message(asked: argparse.Namespace, number: int, stamp_ns: int) -> bytes:
    """A message of the type, as rosbags writes it."""
    types = TYPES.types
    header = types["std_msgs/msg/Header"](
        types["builtin_interfaces/msg/Time"](stamp_ns // 10**9, stamp_ns % 10**9), "frame"
    )
    if asked.type == "std_msgs/msg/String":
        message = types[asked.type](f"{asked.text} {number}")
    elif asked.type == "sensor_msgs/msg/Image":
        width, height = 64, 48
        picture = np.full((height, width, 3), number % 256, np.uint8)
        picture[:, : number % width] = 255
        message = types[asked.type](header, height, width, "rgb8", 0, width * 3, picture.reshape(-1))
    elif asked.type == "sensor_msgs/msg/Imu":
        vector, turn = types["geometry_msgs/msg/Vector3"], types["geometry_msgs/msg/Quaternion"]
        phase = number / asked.rate * 2 * math.pi
        rates = vector(math.sin(phase), math.cos(phase), float(number))
        nothing = np.zeros(9)
        still, weight = turn(0.0, 0.0, 0.0, 1.0), vector(0.0, 0.0, 9.8)
        message = types[asked.type](header, still, nothing, rates, nothing, weight, nothing)
    else:
        message = types[asked.type](asked.value, np.arange(5, dtype=np.float32))
    return bytes(TYPES.serialize_cdr(message, asked.type))


def _config(asked: argparse.Namespace) -> zenoh.Config:
    """As rmw_zenoh's nodes have it: a peer that listens on this machine and knows others by the router."""
    return zenoh.Config.from_json5(
        json.dumps(
            {
                "mode": "peer",
                "connect": {"endpoints": [asked.router], "retry": {"period_init_ms": 100, "period_max_ms": 500}},
                "listen": {"endpoints": ["tcp/127.0.0.1:0"]},
                "scouting": {"multicast": {"enabled": False}, "gossip": {"enabled": True}},
                "timestamping": {"enabled": True},
            }
        )
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--router", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--type", required=True)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--domain", type=int, default=0)
    parser.add_argument("--node", default="talker")
    parser.add_argument("--hash", default="", help="in place of that of the type's definition")
    parser.add_argument("--count", type=int, default=0, help="how many messages; 0 for ever")
    parser.add_argument("--stay", action="store_true", help="after the last message, wait until standard input ends")
    parser.add_argument("--text", default="word")
    parser.add_argument("--value", type=float, default=1.0)
    parser.add_argument("--stamp-s", type=float, default=0.0, help="the first stamp, in place of the time")
    parser.add_argument("--stamp-rate", type=float, default=1.0, help="how many seconds stamps pass in a second")
    parser.add_argument("--garbage", action="store_true", help="send what no message is")
    parser.add_argument("--keep-last", action="store_true", help="QoS transient_local")
    parser.add_argument("--bridge", action="store_true", help="speak as zenoh-bridge-ros2dds does")
    parser.add_argument("--no-tokens", dest="tokens", action="store_false")
    parser.add_argument("--no-attachments", dest="attachments", action="store_false")
    return parser.parse_args()


if __name__ == "__main__":
    main()

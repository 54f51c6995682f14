"""Plays messages in a ROS 2 of its own: what `tests/examples/test_ros2.py` starts beside the node.

    python ros_player.py MESSAGES.json LOG.jsonl [--rate 0.5] [--clock]

MESSAGES.json holds [topic, type, seconds, bytes in base64] of each message; their stamps are set to the time of ROS.
What the node publishes is written to LOG.jsonl. With --clock everything is on a simulated clock, which this publishes
and which runs at --rate.
"""

from __future__ import annotations

import argparse
import base64
import json
import time
from importlib import import_module
from pathlib import Path

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from std_msgs.msg import String

#: How long the node may take to see the topics, and to make its last hop.
FOUND_S, LAST_S = 2.0, 1.5


def stamped(kind: str, data: bytes, time_s: float) -> bytes:
    """The message with another stamp, where its type begins with one."""
    if kind == "std_msgs/msg/String":
        return data
    sec, part = divmod(round(time_s * 1e9), 10**9)
    return data[:4] + sec.to_bytes(4, "little") + part.to_bytes(4, "little") + data[12:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("messages", type=Path)
    parser.add_argument("log", type=Path)
    parser.add_argument("--rate", type=float, default=1.0)
    parser.add_argument("--clock", action="store_true")
    options = parser.parse_args()
    sent = json.loads(options.messages.read_text("utf-8"))
    rclpy.init()
    node = rclpy.create_node("player")
    log = options.log.open("w", encoding="utf-8")
    node.create_subscription(String, "/taemi_edge/prediction", lambda got: print(got.data, file=log, flush=True), 10)
    levels: list[list[int]] = []
    node.create_subscription(DiagnosticArray, "/diagnostics", lambda got: levels.append(_levels(got)), 10)
    publishers = {}
    for topic, kind, _, _ in sent:
        if topic not in publishers:
            package, _, name = kind.split("/")
            kind_class = getattr(import_module(f"{package}.msg"), name)
            publishers[topic] = node.create_publisher(kind_class, topic, qos_profile_sensor_data)
    clock = node.create_publisher(Clock, "/clock", 10)
    start_s = 100.0 if options.clock else time.time()

    def wait_until(at_s: float) -> None:
        """Spin until so many seconds of the drive have passed, and publish the simulated clock every 10 ms."""
        while (left_s := begun_s + at_s / options.rate - time.monotonic()) > 0:
            if options.clock:
                now_s = start_s + at_s - left_s * options.rate
                told = Clock()
                told.clock.sec, told.clock.nanosec = int(now_s), round(now_s % 1 * 1e9) % 10**9
                clock.publish(told)
            rclpy.spin_once(node, timeout_sec=min(left_s, 0.01))

    begun_s = time.monotonic()
    wait_until(FOUND_S)
    for topic, kind, time_s, data in sent:
        wait_until(FOUND_S + time_s)
        publishers[topic].publish(stamped(kind, base64.b64decode(data), start_s + FOUND_S + time_s))
    wait_until(FOUND_S + sent[-1][2] + LAST_S)
    print(json.dumps({"levels": levels[-1]}), file=log, flush=True)
    log.close()


def _levels(array: DiagnosticArray) -> list[int]:
    return [status.level[0] for status in array.status]


if __name__ == "__main__":
    main()

"""The node: subscribes to the topics of the streams, predicts once a hop, and publishes predictions and presence.

    ~/prediction      std_msgs/String with the JSON of a prediction
    /diagnostics      diagnostic_msgs/DiagnosticArray, a status for each stream

Messages are taken as bytes and decoded by `taemi_edge`, so every type works that it knows from recordings. The timer
is on the node's clock: with `use_sim_time` hops follow /clock, stand still with it and begin anew where it goes back.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

import rclpy
from ament_index_python.packages import get_package_share_directory
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

import taemi_edge as te
from taemi_edge.errors import TaemiError
from taemi_edge_ros.definitions import ros2msg_of
from taemi_edge_ros.feed import Feed, parse_streams
from taemi_edge_ros.status import statuses


class PredictNode(Node):
    """Feeds a model with topics. Its parameters are those of `config/predict.yaml`."""

    def __init__(self) -> None:
        super().__init__("taemi_edge")
        bundle: str = self.declare_parameter("bundle", "").value
        streams: list[str] = self.declare_parameter("streams", ["eye=/camera/image_raw"]).value
        hop_s: float = self.declare_parameter("hop_s", 0.0).value
        device = self.declare_parameter("device", "").value or None
        depth: int = self.declare_parameter("depth", 200).value
        if not 0 <= hop_s < 3600 or depth < 1:
            raise ValueError(f"expected hop_s from 0.0 to 3600.0 and depth of at least 1, got {hop_s} and {depth}")
        self._feed = Feed(partial(te.load, bundle, device=device), parse_streams(streams))
        self._quality = QoSProfile(
            history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT
        )
        self._waiting = dict(self._feed.streams)
        self._predictions = self.create_publisher(String, "~/prediction", 10)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_timer(hop_s or self._feed.model.manifest.window.hop_s, self._on_timer)
        self.create_timer(0.5, self._subscribe, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def destroy_node(self) -> None:
        """Close the model with the node."""
        self._feed.close()
        super().destroy_node()

    def _subscribe(self) -> None:
        """Subscribe to the topics that somebody publishes by now: only then their types are known."""
        for stream, wanted in list(self._waiting.items()):
            topic = self.resolve_topic_name(wanted.topic)
            types = {found.topic_type for found in self.get_publishers_info_by_topic(topic)}
            if not types:
                continue
            del self._waiting[stream]
            kind = min(types)
            if len(types) > 1:
                self.get_logger().warning(f"{topic}: has messages of several types, of which {kind} are read")
            take = partial(self._on_message, stream)
            try:
                fields = self._connect(stream, kind)
                self.create_subscription(_message_class(kind), topic, take, self._quality, raw=True)
            except (TaemiError, ImportError, AttributeError) as error:
                self.get_logger().error(f"{stream}: {topic}: {error}")
                continue
            self.get_logger().info(f"{stream}: reads {fields or 'the message'} of {topic} ({kind})")

    def _connect(self, stream: str, kind: str) -> str:
        """Get ready for messages of a type; its definition is looked up where `taemi_edge` does not know it."""
        try:
            return self._feed.connect(stream, kind, ros2msg_of(kind, get_package_share_directory))
        except (LookupError, OSError):
            return self._feed.connect(stream, kind)

    def _on_message(self, stream: str, data: bytes) -> None:
        left_out = self._feed.left_out[stream]
        self._feed.take(stream, data, self.get_clock().now().nanoseconds)
        if not left_out and self._feed.left_out[stream]:
            self.get_logger().warning(f"{stream}: a message is left out: {self._feed.problems[stream]}")

    def _on_timer(self) -> None:
        now = self.get_clock().now()
        prediction = self._feed.predict(now.nanoseconds)
        if prediction is None:
            return
        self._predictions.publish(String(data=prediction.to_json()))
        told = DiagnosticArray()
        told.header.stamp = now.to_msg()
        told.status = [
            DiagnosticStatus(
                level=bytes([status.level]),
                name=status.name,
                message=status.message,
                hardware_id="",
                values=[KeyValue(key=key, value=value) for key, value in status.values.items()],
            )
            for status in statuses(self.get_name(), prediction)
        ]
        self._diagnostics.publish(told)


def _message_class(kind: str) -> type[Any]:
    """The class of a type such as "sensor_msgs/msg/Image", from the package that is installed."""
    package, _, name = kind.split("/")
    found: type[Any] = getattr(import_module(f"{package}.msg"), name)
    return found


def main() -> None:
    """Run the node until it is told to end."""
    rclpy.init()
    try:
        node = PredictNode()
    except (TaemiError, ParameterException, ValueError) as error:
        raise SystemExit(f"taemi_edge_ros: {error}") from None
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()

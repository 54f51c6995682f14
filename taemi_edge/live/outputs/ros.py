"""Publishes predictions and presence as topics of ROS 2, over Zenoh as rmw_zenoh does (extra `zenoh`).

NAME/prediction      std_msgs/String: the JSON of a prediction, each hop
/diagnostics         diagnostic_msgs/DiagnosticArray: a status for each stream of each source, each second and when the
                     presence of one changes; OK is live, WARN is recovering, ERROR is missing, STALE is stale

The router may not be there yet, go away and come back: what is made meanwhile is not sent, and counted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

from taemi_edge.live.capture.backoff import Backoff
from taemi_edge.live.config import RosConfig
from taemi_edge.live.events import PresenceEvent
from taemi_edge.live.failures import failure_of
from taemi_edge.live.outputs.context import OutputContext
from taemi_edge.live.outputs.output import BaseOutput, HopResult
from taemi_edge.live.ros.definitions import hash_of
from taemi_edge.live.ros.names import PUBLISHER, Attachment, OwnEntity, TopicKind, bridged_key, topic_key
from taemi_edge.live.ros.place import RosPlace, parse_publishing
from taemi_edge.live.ros.session import (
    UnreachableError,
    ZenohSession,
    check_configuration,
    open_session,
    require_zenoh,
)
from taemi_edge.runtime.presence import State

log = logging.getLogger("taemi_edge.live")

_STRING, _DIAGNOSTICS = "std_msgs/msg/String", "diagnostic_msgs/msg/DiagnosticArray"
_LEVELS: Final[Mapping[State, int]] = {"live": 0, "recovering": 1, "missing": 2, "stale": 3}
_EVERY_S = 1.0
_RETRY_FIRST_S, _RETRY_MOST_S = 0.25, 5.0
#: What a ROS node asks for where it says nothing: reliable, volatile, the last 10 messages.
_QOS = "::,10:,:,:,,"


class RosPublisher:
    """Publishes messages of one type to one topic, with the token and the attachments of rmw_zenoh.

    Args:
        session: an open session, which stays the caller's.
        place: of the output: its domain, and whether a bridge passes on what is published.
        topic, name: where, and the type of the messages.
    """

    def __init__(self, session: ZenohSession, place: RosPlace, topic: str, name: str) -> None:
        import zenoh
        from rosbags.typesys import Stores, get_typestore

        kind = TopicKind(name, hash_of(name))
        who = (place.domain, session.id, session.next_number(), session.node)
        entity = OwnEntity(*who, PUBLISHER, topic, kind, _QOS)
        self._types, self._name, self._gid, self._number = get_typestore(Stores.LATEST), name, entity.gid, 0
        self._publisher: Any = session.zenoh.declare_publisher(
            bridged_key(topic) if place.bridged else topic_key(place.domain, topic, kind),
            congestion_control=zenoh.CongestionControl.DROP,
            reliability=zenoh.Reliability.RELIABLE,
        )
        self._token = None if place.bridged else session.declare(entity)

    def put(self, message: Any) -> None:
        """Send a message of `rosbags`; it does not wait."""
        self._number += 1
        data = bytes(self._types.serialize_cdr(message, self._name))
        self._publisher.put(data, attachment=Attachment(self._number, time.time_ns(), self._gid).to_bytes())

    def close(self) -> None:
        """Withdraw the token, and publish no more."""
        if self._token is not None:
            self._token.undeclare()
        self._publisher.undeclare()


@dataclass(frozen=True)
class _Connection:
    session: ZenohSession
    predictions: RosPublisher
    diagnostics: RosPublisher

    def close(self) -> None:
        """Withdraw both publishers, and give the session up."""
        with ExitStack() as closing:
            closing.callback(self.session.close)
            closing.callback(self.diagnostics.close)
            closing.callback(self.predictions.close)


class RosOutput(BaseOutput):
    """Publishes to one domain of ROS 2. A thread of its own connects; Zenoh connects again by itself.

    Args:
        config: the `[ros]` table.

    Raises:
        MissingExtraError: the extra `zenoh` is not installed.
        UsageError: the configuration of Zenoh that it names cannot be used.

    Attributes:
        unsent: how many predictions were made while nobody could be reached.
    """

    def __init__(self, config: RosConfig) -> None:
        require_zenoh("--ros-publish")
        from rosbags.typesys import Stores, get_typestore

        self._place: RosPlace = parse_publishing(config.publish)
        check_configuration(self._place.zenoh, "--ros-publish")
        self._diagnostics = config.diagnostics
        self._messages: Any = get_typestore(Stores.LATEST).types
        self.unsent = 0
        self._lock = threading.Lock()
        self._status: dict[tuple[str, str], Any] = {}
        self._told_s = -_EVERY_S
        self._connection: _Connection | None = None
        self._is_connected: bool | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._connect, name="ros-publish", daemon=True)
        self._thread.start()

    def on_hop(self, result: HopResult) -> None:
        prediction = result.prediction
        with self._lock:
            for stream, state in prediction.presence.items():
                age_ms = prediction.age_ms.get(stream)
                values = {"state": state, "age_ms": "" if age_ms is None else f"{age_ms:.0f}"}
                values |= {"trained_on": prediction.trained_on} if prediction.synthetic else {}
                self._note(prediction.source, stream, state, prediction.reason.get(stream), values)
            if not self._can_send():
                self.unsent += 1
                return
            if self._connection is not None:
                self._connection.predictions.put(self._messages[_STRING](data=prediction.to_json()))
            if time.monotonic() - self._told_s >= _EVERY_S:
                self._tell()

    def on_event(self, event: PresenceEvent) -> None:
        with self._lock:
            self._note(event.source, event.stream, event.after, event.reason, {"state": event.after})
            if self._can_send():
                self._tell()

    def close(self) -> None:
        self._closing.set()
        self._thread.join(5.0)
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self) -> None:
        """Open the session, however long it takes until somebody answers; in a thread of its own."""
        backoff, logged = Backoff(_RETRY_FIRST_S), ""
        while not self._closing.is_set():
            try:
                session = open_session(self._place.zenoh)
                try:
                    connection = self._declare(session)
                except BaseException:
                    session.close()
                    raise
            except Exception as error:  # noqa: BLE001  it is tried again, whatever the library says
                reason = error.reason if isinstance(error, UnreachableError) else failure_of(error)
                if reason != logged:
                    logged = reason
                    log.warning("--ros-publish: %s; trying again", reason)
                self._closing.wait(backoff.next_s(_RETRY_MOST_S))
                continue
            with self._lock:
                if not self._closing.is_set():
                    self._connection = connection
                    return
            connection.close()
            return

    def _declare(self, session: ZenohSession) -> _Connection:
        predictions = RosPublisher(session, self._place, f"{self._place.topic}/prediction", _STRING)
        return _Connection(session, predictions, RosPublisher(session, self._place, self._diagnostics, _DIAGNOSTICS))

    def _can_send(self) -> bool:
        """Whether anybody is connected, which is logged when it changes."""
        connection = self._connection
        if connection is None or connection.session.zenoh.is_closed():
            return False
        is_connected = connection.session.is_connected()
        if is_connected != self._is_connected:
            if self._is_connected is not None or not is_connected:
                what = "is connected again" if is_connected else "is gone; trying again"
                log.warning("--ros-publish: %s %s", self._place.zenoh.shown, what)
            self._is_connected = is_connected
        return is_connected

    def _note(self, source: str, stream: str, state: State, reason: str | None, values: Mapping[str, str]) -> None:
        pairs = [self._messages["diagnostic_msgs/msg/KeyValue"](key=key, value=text) for key, text in values.items()]
        self._status[source, stream] = self._messages["diagnostic_msgs/msg/DiagnosticStatus"](
            level=_LEVELS[state],
            name=f"taemi_edge: {source}/{stream}",
            message=reason or state,
            hardware_id=source,
            values=pairs,
        )

    def _tell(self) -> None:
        """Send how all streams stand."""
        if self._connection is None:
            return
        self._told_s = time.monotonic()
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        stamp = self._messages["builtin_interfaces/msg/Time"](sec=seconds, nanosec=nanoseconds)
        header = self._messages["std_msgs/msg/Header"](stamp=stamp, frame_id="")
        self._connection.diagnostics.put(
            self._messages[_DIAGNOSTICS](header=header, status=list(self._status.values()))
        )


def open_ros(context: OutputContext) -> None:
    """Publish to ROS 2 where the configuration has a `ros` table.

    Raises:
        MissingExtraError: the extra `zenoh` is not installed.
    """
    if context.config.ros is not None:
        output = RosOutput(context.config.ros)
        context.add(output)
        context.count("predictions not sent to ROS", lambda: output.unsent)

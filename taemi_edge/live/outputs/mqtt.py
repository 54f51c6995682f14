"""Predictions and presence to an MQTT broker (extra `mqtt`), which may come and go.

TOPIC/status                          "online", or "offline" by the broker's own last will; kept
TOPIC/SOURCE/prediction               a prediction's JSON, each hop
TOPIC/SOURCE/presence/MODALITY        an event's JSON when it changes; kept, so that who subscribes later knows
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from taemi_edge.errors import MissingExtraError, UsageError
from taemi_edge.live.config import MqttConfig, host_and_port
from taemi_edge.live.events import PresenceEvent
from taemi_edge.live.loop import Moment
from taemi_edge.live.outputs.base import QuietOutput

log = logging.getLogger("taemi_edge.live")

_MOST_WAITING = 100


class MqttOutput(QuietOutput):
    """Publishes; connects, and connects anew, in a thread of the library's own.

    Raises:
        MissingExtraError: paho-mqtt is not installed.
        UsageError: the password's file cannot be read.
    """

    def __init__(self, config: MqttConfig) -> None:
        try:
            from paho.mqtt import client as paho
            from paho.mqtt.enums import CallbackAPIVersion
        except ModuleNotFoundError as error:
            raise MissingExtraError("paho-mqtt", "mqtt", "--mqtt") from error
        self._topic = config.topic.rstrip("/")
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"taemi-edge-{os.getpid()}")
        if config.username:
            self._client.username_pw_set(config.username, _password(config.password_file))
        if config.tls:
            self._client.tls_set()
        self._client.max_queued_messages_set(_MOST_WAITING)
        self._client.reconnect_delay_set(1, 60)
        self._client.will_set(f"{self._topic}/status", "offline", retain=True)
        self._client.on_connect, self._client.on_disconnect = self._connected, self._disconnected
        self._client.on_connect_fail = lambda *_: self._tell("cannot be reached")
        self._said: str | None = None
        self._presence: dict[str, str] = {}
        host, port = host_and_port(config.broker, names=True)
        self._client.connect_async(host, port, keepalive=30)
        self._client.loop_start()

    def on_moment(self, moment: Moment) -> None:
        self._client.publish(
            f"{self._topic}/{_level(moment.prediction.source)}/prediction", moment.prediction.to_json()
        )

    def on_event(self, event: PresenceEvent) -> None:
        topic = f"{self._topic}/{_level(event.source)}/presence/{event.modality}"
        self._presence[topic] = event.to_json()
        self._client.publish(topic, self._presence[topic], retain=True)

    def close(self) -> None:
        if self._client.is_connected():
            self._client.publish(f"{self._topic}/status", "offline", retain=True).wait_for_publish(2)
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, client: Any, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if code.is_failure:
            self._tell(f"refuses: {code}")
        else:
            self._tell("is connected")
            client.publish(f"{self._topic}/status", "online", retain=True)
            for topic, event in list(self._presence.items()):  # a broker that was started anew may have kept nothing
                client.publish(topic, event, retain=True)

    def _disconnected(self, _client: Any, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if code.is_failure:
            self._tell("is gone")

    def _tell(self, what: str) -> None:
        if what != self._said:
            log.warning("the MQTT broker %s", what)
            self._said = what


def _level(name: str) -> str:
    """A source's name as one level of a topic."""
    return "".join("_" if sign in "/+#" else sign for sign in name)


def _password(file: str) -> str | None:
    if not file:
        return None
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"password_file {file}: cannot be read: {error}") from error

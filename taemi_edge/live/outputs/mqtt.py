"""Publishes predictions and presence events to an MQTT broker (extra `mqtt`).

TOPIC/status                          "online", or "offline" by the last will that the broker holds; retained
TOPIC/SOURCE/prediction               the JSON of a prediction, each hop
TOPIC/model                           the JSON of an event when another model is taken up or refused
TOPIC/SOURCE/presence/STREAM          the JSON of an event when the presence changes; retained for later subscribers
TOPIC/load                            the JSON of an event when the run leaves out more or less; retained

The broker may go away and come back: the library connects again, and what comes meanwhile is queued up to a limit.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from taemi_edge.errors import MissingExtraError, UsageError
from taemi_edge.live.config import MqttConfig
from taemi_edge.live.events import ModelEvent, PresenceEvent
from taemi_edge.live.host_port import host_and_port
from taemi_edge.live.load import LoadEvent
from taemi_edge.live.outputs.context import OutputContext
from taemi_edge.live.outputs.output import BaseOutput, HopResult

log = logging.getLogger("taemi_edge.live")

_MOST_WAITING = 100


class MqttOutput(BaseOutput):
    """Publishes to one broker. The MQTT library connects, and connects again, in a thread of its own.

    Args:
        config: the broker's address, the topic, and how to log in.

    Raises:
        MissingExtraError: paho-mqtt is not installed.
        UsageError: the file of the password cannot be read.
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
        self._client.on_connect_fail = lambda *_: self._log_change("cannot be reached")
        self._logged: str | None = None
        self._presence: dict[str, str] = {}
        host, port = host_and_port(config.broker, names=True)
        self._client.connect_async(host, port, keepalive=30)
        self._client.loop_start()

    def on_hop(self, result: HopResult) -> None:
        self._client.publish(
            f"{self._topic}/{_level(result.prediction.source)}/prediction", result.prediction.to_json()
        )

    def on_event(self, event: PresenceEvent) -> None:
        topic = f"{self._topic}/{_level(event.source)}/presence/{event.stream}"
        self._presence[topic] = event.to_json()
        self._client.publish(topic, self._presence[topic], retain=True)

    def on_load(self, event: LoadEvent) -> None:
        topic = f"{self._topic}/load"
        self._presence[topic] = event.to_json()
        self._client.publish(topic, self._presence[topic], retain=True)

    def on_model(self, event: ModelEvent) -> None:
        self._client.publish(f"{self._topic}/model", event.to_json())

    def close(self) -> None:
        if self._client.is_connected():
            self._client.publish(f"{self._topic}/status", "offline", retain=True).wait_for_publish(2)
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, client: Any, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if code.is_failure:
            self._log_change(f"refuses: {code}")
        else:
            self._log_change("is connected")
            client.publish(f"{self._topic}/status", "online", retain=True)
            for topic, event in list(self._presence.items()):  # a broker that was started anew may have kept nothing
                client.publish(topic, event, retain=True)

    def _disconnected(self, _client: Any, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if code.is_failure:
            self._log_change("is gone")

    def _log_change(self, what: str) -> None:
        """Log what became of the broker, once until it changes."""
        if what != self._logged:
            log.warning("the MQTT broker %s", what)
            self._logged = what


def open_mqtt(context: OutputContext) -> None:
    """Publish to the broker of the configuration's `mqtt` table, where there is one."""
    if context.config.mqtt is not None:
        context.add(MqttOutput(context.config.mqtt))


def _level(name: str) -> str:
    """The name of a source as one level of a topic: the signs that MQTT reserves become `_`."""
    return "".join("_" if sign in "/+#" else sign for sign in name)


def _password(file: str) -> str | None:
    if not file:
        return None
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"password_file {file}: cannot be read: {error}") from error

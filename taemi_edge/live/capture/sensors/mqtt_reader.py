"""Reads the messages of an MQTT topic (extra `mqtt`): each holds one row of numbers, several, or words.

The broker may go away and come back: then the capture connects again. A retained message is left out, since nobody
knows how old it is.
"""

from __future__ import annotations

import os
import re
import secrets
import select
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from taemi_edge.bundle.streams import StreamSpec
from taemi_edge.errors import MissingExtraError, UsageError
from taemi_edge.live.capture.addresses import Address
from taemi_edge.live.capture.readers import SourceGoneError
from taemi_edge.live.capture.sensors.sensor_reader import MOST_AT_ONCE, SensorReader
from taemi_edge.live.capture.settings import WatchSettings

_PLACE = re.compile(
    r"(?P<scheme>mqtts?)://(?:(?P<user>[^/?#@:]*)(?::(?P<password>[^/?#@]*))?@)?"
    r"(?P<host>[A-Za-z0-9][A-Za-z0-9._-]{0,252}|\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\])(?::(?P<port>[0-9]{1,5}))?"
    r"/(?P<topic>.*)",
    re.DOTALL,
)
_FILES = ("ca", "cert", "key")
#: How often the broker is asked whether it lives, in seconds; a TCP connection alone would not show it.
_KEEP_ALIVE_S = 5
_MOST_TOPIC_BYTES = 65_535


@dataclass(frozen=True, repr=False)
class Broker:
    """Where a topic is, and how to log in there.

    Attributes:
        host, port: of the broker.
        tls: whether the connection is encrypted.
        user, password: to log in with; None for none.
        topic: without wildcards.
        qos: how surely the broker hands messages over: 0, 1 or 2.
    """

    host: str
    port: int
    tls: bool
    user: str | None
    password: str | None
    topic: str
    qos: int


def check_mqtt(address: Address) -> None:
    """Find what is wrong with the address of a topic before anything is connected.

    Raises:
        UsageError: it is no mqtt://HOST/TOPIC, has wildcards, an option cannot be used, or a file holds no certificate.
        MissingExtraError: paho-mqtt is not installed.
    """
    if broker_of(address).tls:
        _require_certificates(address)
    try:
        import paho.mqtt.client  # noqa: F401  (whether it is there)
    except ModuleNotFoundError as error:
        raise MissingExtraError("paho-mqtt", "mqtt", "mqtt://") from error


def broker_of(address: Address) -> Broker:
    """The broker and the topic of an address.

    Raises:
        UsageError: it is no mqtt://HOST/TOPIC, has wildcards, or an option cannot be used.
    """
    shown, options = address.shown, address.options
    match = _PLACE.fullmatch(address.target)
    if match is None or not 0 < int(match["port"] or 1) <= 65_535:
        raise UsageError(
            f"{shown}: expected mqtt://HOST:PORT/TOPIC, got another address: write % signs for odd letters"
        )
    topic = unquote(match["topic"])
    if not topic or "\0" in topic or len(topic.encode(errors="replace")) > _MOST_TOPIC_BYTES:
        raise UsageError(f"{shown}: expected a topic behind the host, as in mqtt://HOST/robots/imu")
    if "+" in topic or "#" in topic:
        raise UsageError(
            f"{shown}: expected one topic, got a wildcard, + or #, which would mix those of several sensors"
        )
    if (qos := options.get("qos", "0")) not in ("0", "1", "2"):
        raise UsageError(f"{shown}: ?qos=: expected 0, 1 or 2, got {qos!r:.40}")
    tls = match["scheme"] == "mqtts"
    for name in _FILES:
        if (file := options.get(name)) is not None and not (tls and os.path.isfile(file)):
            wanted = "a file" if tls else "mqtts:// before it"
            raise UsageError(f"{shown}: ?{name}=: expected {wanted}, got {'none' if tls else 'mqtt://'}")
    if "key" in options and "cert" not in options:
        raise UsageError(f"{shown}: ?key=: expected a certificate with it (?cert=), got none")
    user, password = (None if match[name] is None else unquote(match[name]) for name in ("user", "password"))
    host = match["host"].removeprefix("[").removesuffix("]")
    return Broker(host, int(match["port"] or (8883 if tls else 1883)), tls, user or None, password, topic, int(qos))


class _Context(ssl.SSLContext):
    """Keeps the connection that it made, since paho-mqtt 2.1 leaves it open where the broker is not trusted."""

    _made: ssl.SSLSocket | None = None

    def prepare(self, options: Mapping[str, str]) -> None:
        """Load the certificates that options of an address name, or those that this machine trusts."""
        if "ca" in options:
            self.load_verify_locations(options["ca"])
        else:
            self.load_default_certs()
        if "cert" in options:
            self.load_cert_chain(options["cert"], options.get("key"), password="")  # else it is asked for

    def wrap_socket(self, *values: Any, **named: Any) -> ssl.SSLSocket:
        self._made = super().wrap_socket(*values, **named)
        return self._made

    def close(self) -> None:
        """Close the connection."""
        if self._made is not None:
            self._made.close()


class MqttReader(SensorReader):
    """One connection to a broker; see `Reader`. The library's own thread is not used: a flood waits in the broker.

    Args:
        address: mqtt://HOST/TOPIC, or mqtts:// for an encrypted connection.
        settings: how long a connection may take.
        stream: what the stream takes that it feeds.

    Raises:
        SourceGoneError: the broker cannot be reached, or refuses the login or the topic.
    """

    def __init__(self, address: Address, settings: WatchSettings, stream: StreamSpec) -> None:
        super().__init__(address, settings, stream)
        from paho.mqtt import client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        self._broker = broker_of(address)
        self._messages: list[bytes] = []
        self._refused: str | None = None
        self._is_subscribed = False
        self._kept_alive_s = time.monotonic()
        name = f"taemi-edge-{secrets.token_hex(6)}"
        self._client: Any = paho.Client(CallbackAPIVersion.VERSION2, client_id=name)
        self._client.on_connect, self._client.on_subscribe = self._connected, self._subscribed
        self._client.on_message = self._came
        try:
            self._connect()
            self._wait_until_subscribed()
        except BaseException:
            self.close()
            raise

    def receive(self, wait_s: float) -> Sequence[bytes]:
        self._exchange(wait_s)
        messages, self._messages = self._messages, []
        return messages

    def close(self) -> None:
        self._client.disconnect()
        if (connection := self._client.socket()) is not None:
            self._client.loop_write()
            connection.close()

    def _connect(self) -> None:
        broker = self._broker
        context = _Context(ssl.PROTOCOL_TLS_CLIENT) if broker.tls else None
        try:
            if broker.user is not None or broker.password is not None:
                self._client.username_pw_set(broker.user or "", broker.password)
            if context is not None:
                context.prepare(self.address.options)
                self._client.tls_set_context(context)
            self._client.connect_timeout = self.settings.open_timeout_s
            self._client.connect(broker.host, broker.port, keepalive=_KEEP_ALIVE_S)
        except (OSError, ValueError) as error:
            if context is not None:
                context.close()
            lasting = isinstance(error, ssl.SSLError | socket.gaierror | ValueError)
            cap_s = self.settings.retry_dear_s if lasting else self.settings.retry_most_s
            raise SourceGoneError(_why(error), cap_s) from error

    def _wait_until_subscribed(self) -> None:
        until_s = time.monotonic() + self.settings.open_timeout_s
        while not self._is_subscribed:
            if self._refused is not None:
                raise SourceGoneError(f"the broker refuses {self._refused}", self.settings.retry_dear_s)
            if (left_s := until_s - time.monotonic()) <= 0:
                raise SourceGoneError("the broker does not answer", self.settings.retry_most_s)
            self._exchange(min(left_s, 0.1))

    def _exchange(self, wait_s: float) -> None:
        """Read what came from the broker and write what waits for it."""
        connection = self._client.socket()
        if connection is None:
            self._lost()
        waiting = select.poll()
        waiting.register(connection, select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
        pending = getattr(connection, "pending", lambda: 0)  # what TLS has decrypted already
        events = waiting.poll(0 if pending() else wait_s * 1e3)
        if self._client.want_write() and self._client.loop_write():
            self._lost()
        if pending() or any(event & ~select.POLLOUT for _, event in events):
            self._read(pending)
        if time.monotonic() - self._kept_alive_s > 1.0:
            self._kept_alive_s = time.monotonic()
            if self._client.loop_misc():
                self._lost()

    def _read(self, pending: Any) -> None:
        """Read packets while they hold messages; of a flood not all."""
        while len(self._messages) < MOST_AT_ONCE:
            before = len(self._messages)
            if self._client.loop_read():
                if self._refused is None:
                    self._lost()
                return
            if len(self._messages) == before and not pending():
                return

    def _lost(self) -> None:
        raise SourceGoneError("the broker is gone", self.settings.retry_most_s)

    def _connected(self, client: Any, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if code.is_failure:
            self._refused = f"the login: {code}"
        else:
            client.subscribe(self._broker.topic, self._broker.qos)

    def _subscribed(self, _client: Any, _data: Any, _id: Any, codes: Any, _properties: Any) -> None:
        if any(code.is_failure for code in codes):
            self._refused = "the topic"
        else:
            self._is_subscribed = True

    def _came(self, _client: Any, _data: Any, message: Any) -> None:
        if message.retain:
            self.say("a retained message was left out: nobody knows how old it is")
        else:
            self._messages.append(message.payload)


def _require_certificates(address: Address) -> None:
    """Raises a UsageError where the files of an address hold no certificates: another try would not help."""
    for name, parts in (("ca", ("ca",)), ("cert", ("cert", "key"))):
        options = {part: address.options[part] for part in parts if part in address.options}
        try:
            if options:
                _Context(ssl.PROTOCOL_TLS_CLIENT).prepare(options)
        except (OSError, ValueError) as error:  # also ssl.SSLError
            what = "a certificate" if name == "ca" else "a certificate with its key, which has no password,"
            raise UsageError(f"{address.shown}: ?{name}=: expected {what} as PEM, got another file") from error


def _why(error: Exception) -> str:
    """Why a broker cannot be reached."""
    if isinstance(error, socket.gaierror):
        return "the broker's host is unknown"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return "the broker speaks no TLS that fits, or a certificate cannot be read"
    if isinstance(error, TimeoutError):
        return "the broker does not answer"
    return f"the broker cannot be reached: {(getattr(error, 'strerror', None) or str(error)).lower()}"

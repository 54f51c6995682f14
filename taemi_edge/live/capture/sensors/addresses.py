"""Parses the addresses of sensors, which give rows of numbers, words, or the messages of a robot.

ros:/imu/data.linear_acceleration?router=tcp/robot:7447
mqtt://user:password@broker:1883/robots/imu?field=accel
serial:/dev/ttyUSB0?baud=115200
udp://0.0.0.0:9000?format=<3f
"""

from __future__ import annotations

import difflib
import re
from typing import Literal, TypeAlias
from urllib.parse import parse_qsl, unquote

from taemi_edge.errors import UsageError

SensorKind: TypeAlias = Literal["ros", "mqtt", "serial", "datagram"]

#: What sensors' addresses begin with.
SENSOR_SCHEMES = ("ros", "mqtt", "mqtts", "serial", "udp")
_KINDS: dict[str, SensorKind] = {"ros": "ros", "mqtt": "mqtt", "mqtts": "mqtt", "serial": "serial", "udp": "datagram"}
_SLASHES = ("mqtt", "mqtts", "udp")
_PAYLOAD = ("format", "field", "time", "unit")
#: The options that may stand behind the question mark of each kind. What they may be is checked by its reader.
OPTIONS: dict[SensorKind, tuple[str, ...]] = {
    "ros": ("domain", "router", "type", "definition", "config", "mode", "rate", "channels", "format", "via"),
    "mqtt": (*_PAYLOAD, "qos", "ca", "cert", "key"),
    "serial": (*_PAYLOAD, "baud", "mode"),
    "datagram": (*_PAYLOAD, "interface"),
}


def parse_sensor(scheme: str, rest: str, shown: str) -> tuple[SensorKind, str, dict[str, str]]:
    """The kind of a sensor's address, what its reader opens, and its options.

    Args:
        scheme: one of `SENSOR_SCHEMES`.
        rest: what stands behind its colon.
        shown: the whole without its secrets, for messages.

    Raises:
        UsageError: an option is unknown, stands there twice or says nothing, or the two slashes are missing.

    Example:
        >>> parse_sensor("serial", "/dev/ttyUSB0?baud=9600", "serial:/dev/ttyUSB0")
        ('serial', '/dev/ttyUSB0', {'baud': '9600'})
    """
    kind = _KINDS[scheme]
    target, _, query = rest.partition("?")
    if scheme in _SLASHES and not target.startswith("//"):
        raise UsageError(f"{shown}: expected two slashes behind {scheme}:, as in {scheme}://HOST/...")
    if "@" in query:  # it may be that of a password
        raise UsageError(
            f"{shown}: expected options behind the question mark, got an @: write %3F and %40 in passwords"
        )
    options: dict[str, str] = {}
    for name, value in parse_qsl(query.replace("+", "%2B"), keep_blank_values=True):
        if name not in OPTIONS[kind]:
            raise UsageError(f"{shown}: {_unknown(name, OPTIONS[kind])}")
        if name in options or not value:
            raise UsageError(f"{shown}: expected ?{name}=... once and with a value, got {'two' if value else 'none'}")
        options[name] = value
    return kind, f"{scheme}:{target}" if scheme in _SLASHES else unquote(target), options


def _unknown(name: str, known: tuple[str, ...]) -> str:
    """What is said of an option that is unknown; one that may be a secret is not shown."""
    near = difflib.get_close_matches(name, known, 1)
    got = repr(name) if near or re.fullmatch(r"[a-z_]{1,16}", name) else "another"
    hint = f": did you mean {near[0]}?" if near else ""
    return f"expected only the options {', '.join(known)} behind the question mark, got {got}{hint}"

"""Parses what names a topic, or a place to publish to: `/imu/data.linear_acceleration?domain=3&router=tcp/robot:7447`.

Options follow a question mark:

router=LOCATOR     the Zenoh router or the peer to connect to; that of ROS 2, tcp/localhost:7447, where none is named
domain=N           the domain of ROS 2; where it is not given, that of the environment variable ROS_DOMAIN_ID, or 0
type=PACKAGE/TYPE  the type of the messages, where several are published or nobody says which
definition=FILE    the definition of that type (.msg, or .idl), where it is no type of ROS 2 itself
rate=HZ            of sound whose messages do not say how it lies in them, with channels=N and format=S16LE
config=FILE        a configuration file of Zenoh (JSON5) in place of `router`: TLS, users, other transports
mode=client        reach everything by way of the router; `peer` lets nodes of this machine connect directly
via=bridge         the topic comes from zenoh-bridge-ros2dds, which brings nodes that use DDS to Zenoh; it has no domain
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from taemi_edge.errors import MessageError, UsageError
from taemi_edge.live.capture.sensors.addresses import parse_sensor
from taemi_edge.live.ros.names import full_type, is_topic
from taemi_edge.media.messages.sound import parse_sound_format
from taemi_edge.media.messages.topic_field import field_paths

#: Where rmw_zenoh's router listens.
DEFAULT_ROUTER = "tcp/localhost:7447"
MOST_DOMAIN = 232

SessionMode = Literal["peer", "client"]

_LOCATOR = re.compile(
    r"(?:(?P<transport>tcp|udp|tls|quic|ws)/)?(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.%]+\]):(?P<port>\d{1,5})"
)
_HERE = ("localhost", "[::1]")
_OF_SOUND = ("rate", "channels", "format")
_OF_MESSAGES = ("type", "definition", *_OF_SOUND)


@dataclass(frozen=True)
class ZenohPlace:
    """How Zenoh is reached: what sessions are shared by.

    Attributes:
        router: the locator of a router or a peer; "" where `config` says it.
        config: a configuration file of Zenoh, or "".
        mode: whether this process takes part as a peer, which other nodes of this machine connect to directly, or as a
            client of the router.
    """

    router: str = DEFAULT_ROUTER
    config: str = ""
    mode: SessionMode = "peer"

    @property
    def shown(self) -> str:
        """What messages call it."""
        return f"the configuration {self.config}" if self.config else self.router


@dataclass(frozen=True)
class RosPlace:
    """A topic, or what the topics of a publisher begin with.

    Attributes:
        topic: the full name of the topic, without the field behind it.
        field: the field of its messages, as it was written; "" for the usual one. The form of sound follows a question
            mark.
        domain: of ROS.
        zenoh: how it is reached.
        type: of the messages; "" where publishers say it.
        definition: a file with the definition of the type, or "".
        bridged: whether its nodes use DDS, and a bridge brings the topic to Zenoh.
    """

    topic: str
    field: str = ""
    domain: int = 0
    zenoh: ZenohPlace = ZenohPlace()
    type: str = ""
    definition: str = ""
    bridged: bool = False

    @property
    def shown_where(self) -> str:
        """Where the topic is looked for, in words."""
        return "behind a bridge" if self.bridged else f"in domain {self.domain}"


def place_of(target: str, options: Mapping[str, str]) -> RosPlace:
    """The topic that an address names.

    Args:
        target: the topic, and behind a dot the field.
        options: see the head of this module.

    Raises:
        UsageError: the name is no topic, or an option is unknown or cannot be.

    Example:
        >>> place = place_of("/imu/data.linear_acceleration", {"domain": "3", "router": "robot:7447"})
        >>> place.topic, place.field, place.domain, place.zenoh.router, place.zenoh.mode
        ('/imu/data', 'linear_acceleration', 3, 'tcp/robot:7447', 'client')
    """
    topic, _, field = target.partition(".")
    if not is_topic(topic) or target.endswith("."):
        raise UsageError(
            f"ros:...: expected the full name of a topic, such as ros:/camera/image_raw or ros:/imu.angular_velocity"
            f", got {_shown(target)}"
        )
    try:
        field_paths(field)
    except UsageError as error:
        raise UsageError(f"ros:{topic}: {error}") from error
    kind, definition = full_type(options.get("type", "")) or "", options.get("definition", "")
    if "type" in options and not kind:
        got = _shown(options["type"])
        raise UsageError(f"ros:{topic}: expected type=PACKAGE/TYPE such as sensor_msgs/Imu, got {got}")
    if definition and not kind:
        raise UsageError(f"ros:{topic}: expected type=PACKAGE/TYPE beside definition, which says of what")
    _require_file(f"ros:{topic}: definition", definition)
    what, form = f"ros:{topic}", "&".join(f"{name}={options[name]}" for name in _OF_SOUND if name in options)
    try:
        field = f"{field}?{form}" if form and parse_sound_format(form) else field
    except MessageError as error:
        raise UsageError(f"{what}: {error}") from error
    zenoh, bridged = _zenoh(what, options), _is_bridged(what, options)
    return RosPlace(topic, field, _domain(what, options), zenoh, kind, definition, bridged)


def parse_publishing(text: str) -> RosPlace:
    """Where predictions are published: what the names of the topics begin with, and how to connect.

    Raises:
        UsageError: the name cannot begin a topic, or an option is unknown or cannot be.

    Example:
        >>> parse_publishing("/taemi?domain=7").topic
        '/taemi'
    """
    _, name, options = parse_sensor("ros", text, "--ros-publish")
    if not is_topic(name):
        raise UsageError(f"--ros-publish: expected what topics can begin with, such as /taemi, got {_shown(name)}")
    if useless := [option for option in options if option in _OF_MESSAGES]:
        raise UsageError(f"--ros-publish: expected no {useless[0]}, which is for topics that are read")
    what = "--ros-publish"
    domain, zenoh, bridged = _domain(what, options), _zenoh(what, options), _is_bridged(what, options)
    return RosPlace(name, "", domain, zenoh, bridged=bridged)


def _is_bridged(what: str, options: Mapping[str, str]) -> bool:
    via = options.get("via")
    if via not in (None, "bridge"):
        raise UsageError(f"{what}: expected via=bridge, or no via for nodes that use Zenoh, got {_shown(via)}")
    if via and "domain" in options:
        raise UsageError(f"{what}: expected no domain beside via=bridge: the bridge has one, and its topics have none")
    return via is not None


def _domain(what: str, options: Mapping[str, str]) -> int:
    """The domain of the options, else of the environment, else 0."""
    given = options.get("domain")
    text = os.environ.get("ROS_DOMAIN_ID", "") if given is None else given
    if given is None and not text.strip():
        return 0
    if not re.fullmatch(r"\d{1,3}", text.strip()) or int(text) > MOST_DOMAIN:
        named = "ROS_DOMAIN_ID" if given is None else "domain"
        raise UsageError(f"{what}: expected {named} from 0 to {MOST_DOMAIN}, got {_shown(text)}")
    return int(text)


def _zenoh(what: str, options: Mapping[str, str]) -> ZenohPlace:
    config, router, mode = options.get("config", ""), options.get("router", ""), options.get("mode", "")
    if config and (router or mode):
        raise UsageError(f"{what}: expected either config or router and mode, got both: the file says all of it")
    if mode not in ("", "peer", "client"):
        raise UsageError(f"{what}: expected mode=peer or mode=client, got {_shown(mode)}")
    if config:
        _require_file(f"{what}: config", config)
        return ZenohPlace("", config)
    match = _LOCATOR.fullmatch(router or DEFAULT_ROUTER)
    if match is None or int(match["port"]) > 65_535:
        raise UsageError(f"{what}: expected router=tcp/HOST:PORT such as {DEFAULT_ROUTER}, got another form")
    here = match["host"] in _HERE or match["host"].startswith("127.")
    locator = f"{match['transport'] or 'tcp'}/{match['host']}:{match['port']}"
    if mode == "client" or (not mode and not here):
        return ZenohPlace(locator, "", "client")
    return ZenohPlace(locator)


def _require_file(what: str, name: str) -> None:
    if name and not Path(name).is_file():
        raise UsageError(f"{what}: expected a file, found none at {_shown(name)}")


def _shown(text: str) -> str:
    """A text that may be shown: nothing that could be a password in an address."""
    return repr(text) if re.fullmatch(r"[\w ./,-]{0,100}", text) else "something else"

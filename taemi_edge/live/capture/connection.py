"""What a capture connects to, and how its connection stands."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from taemi_edge.bundle.streams import StreamSpec
from taemi_edge.live.capture.addresses import Address
from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.capture.readers import Track

log = logging.getLogger("taemi_edge.live")

LinkState = Literal["connecting", "connected", "waiting", "ended", "stopped"]
_DIGITS = re.compile(r"[\d.]+")


@dataclass(frozen=True)
class CaptureSpec:
    """What one capture takes, and from where.

    Attributes:
        name: the name of its source, for log lines.
        address: what to connect to.
        tracks: by stream of the model, what of the address feeds it: its picture, its sound, its rows or its words.
            What feeds no stream is left alone.
        repeat: whether a file is played again when it ends.
        stream: what the one stream takes that is fed by an address of rows, words or messages, whose reader has to
            know it to decode anything; None for cameras, microphones and files.
    """

    name: str
    address: Address
    tracks: Mapping[str, Track]
    repeat: bool = False
    stream: StreamSpec | None = None

    @property
    def label(self) -> str:
        """The name and the address, without its password, as log lines show them."""
        shown = self.address.shown
        return shown if self.name == shown else f"{self.name}: {shown}"

    def streams_of(self, track: Track) -> tuple[str, ...]:
        """The streams that a track feeds."""
        return tuple(stream for stream, of in self.tracks.items() if of == track)


@dataclass(frozen=True)
class Link:
    """How a connection stands, and since when.

    Attributes:
        state: `waiting` is the time between two tries; `ended` is a file at its end.
        reason: why it is not connected; None where it is.
        since_s: since when, in seconds of the session.
    """

    state: LinkState
    reason: str | None
    since_s: float


class ConnectionStatus:
    """The link of a capture and the counts of its connections. Each change is logged once.

    Args:
        label: what log lines call the connection.
        clock: the clock of the session.

    Attributes:
        link: how the connection stands.
        connections: how often it was made.
        failures: how often it was lost or refused.
        damaged_packets: packets that could not be decoded.

    Example:
        >>> status = ConnectionStatus("door", SessionClock())
        >>> status.set_link("waiting", "connection refused")
        >>> status.link.reason
        'connection refused'
    """

    def __init__(self, label: str, clock: SessionClock) -> None:
        self._label, self._clock = label, clock
        self._lock = threading.Lock()
        #: The reasons that were logged since it was last connected, without their digits.
        self._logged: set[str] = set()
        self.link = Link("connecting", "connecting", clock.now_s())
        self.connections = self.failures = self.damaged_packets = 0

    def set_link(self, state: LinkState, reason: str | None) -> None:
        """Note a change of the link, from now on."""
        with self._lock:
            self.link = Link(state, reason, self._clock.now_s())
        self._log_once(state, reason)

    def _log_once(self, state: LinkState, reason: str | None) -> None:
        """Log each reason once until it is connected again: tries that fail alike say nothing new."""
        if state == "connected":
            if self._logged:
                log.info("%s: connected", self._label)
            self._logged.clear()
        elif state == "waiting" and (gist := _DIGITS.sub("", reason or "")) not in self._logged:
            self._logged.add(gist)
            log.warning("%s: %s; trying again", self._label, reason)

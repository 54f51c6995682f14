"""What every reader of a source does: opens one connection, gives decoded pictures and sound, fails in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from taemi_edge.bundle.spec import Modality
from taemi_edge.live.capture.decoding_relief import Level


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture (PyAV's frame, or what has its `to_ndarray`), stamped by its sender where it is."""

    pts_s: float | None
    picture: Any


@dataclass(frozen=True, eq=False)
class Sound:
    """Decoded sound: PyAV's audio frame; `pts_s` is of its first sample."""

    pts_s: float | None
    sound: Any


class SourceGoneError(Exception):
    """A connection failed or ended.

    Args:
        reason: why, in words that hold no address and no password.
        retry_cap_s: how long to wait at most before the next try.
    """

    def __init__(self, reason: str, retry_cap_s: float) -> None:
        super().__init__(reason)
        self.reason, self.retry_cap_s = reason, retry_cap_s


class Reader(Protocol):
    """One connection to a source, from its opening to its end."""

    #: Why a stream is not in it, by modality; empty where both are.
    absent: dict[Modality, str]
    damaged_packets: int
    #: Seconds spent in waiting for data; what is left of the time went into decoding.
    waited_s: float
    #: How much later than the quickest ones packets are taken in; 0 where that is not known.
    lag_s: float

    def items(self) -> Iterator[Picture | Sound]:
        """What comes, as it comes; ends where a file ends.

        Raises:
            SourceGoneError: the connection was lost, or nothing comes any more.
        """

    def relieve(self, level: Level) -> None:
        """Decode as much as a level of `taemi_edge.live.capture.decoding_relief` allows."""

    def close(self) -> None: ...

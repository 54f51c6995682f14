"""What every reader of a source provides: one connection that gives decoded pictures and sound.

`av_reader` and `gst_reader` are the two readers. A reader that fails raises `SourceGoneError` with a reason that can be
shown to the user.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from taemi_edge.live.capture.decode_level import DecodeLevel

#: What a connection carries: its picture feeds streams of the kind video, its sound those of the kind audio.
Track: TypeAlias = Literal["video", "audio"]


@dataclass(frozen=True, eq=False)
class DecodedPicture:
    """A decoded picture as a reader gives it.

    Attributes:
        pts_s: the sender's timestamp in seconds; None where it has none.
        picture: PyAV's frame, or RGB pixels, uint8 (H, W, 3).
    """

    pts_s: float | None
    picture: Any


@dataclass(frozen=True, eq=False)
class DecodedSound:
    """Decoded sound as a reader gives it.

    Attributes:
        pts_s: the sender's timestamp of the first sample in seconds; None where it has none.
        sound: PyAV's audio frame, in any format, layout and rate.
    """

    pts_s: float | None
    sound: Any


class SourceGoneError(Exception):
    """A connection failed or ended.

    Args:
        reason: why, in a sentence without address and password.
        retry_cap_s: how long to wait at most before the next try, in seconds.
    """

    def __init__(self, reason: str, retry_cap_s: float) -> None:
        super().__init__(reason)
        self.reason, self.retry_cap_s = reason, retry_cap_s


class Reader(Protocol):
    """One connection to a source, from its opening to its end.

    Attributes:
        absent: why the picture or the sound is not in the source; empty where both are.
        damaged_packets: packets that could not be decoded.
        waited_s: seconds spent waiting for data; the rest of the time went into decoding.
        lag_s: how much later than the quickest packets the newest one was read; 0 where that is not known.
    """

    absent: dict[Track, str]
    damaged_packets: int
    waited_s: float
    lag_s: float

    def items(self) -> Iterator[DecodedPicture | DecodedSound]:
        """Decoded pictures and sound, as they come; the iterator ends where a file ends.

        Raises:
            SourceGoneError: the connection was lost, or nothing comes any more.
        """

    def set_decode_level(self, level: DecodeLevel) -> None:
        """Decode as much of the picture as a level of `taemi_edge.live.capture.decode_level` says."""

    def close(self) -> None:
        """End the connection."""

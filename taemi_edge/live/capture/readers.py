"""What every reader of a source provides: one connection that gives pictures, sound, rows of numbers or words.

There is a reader for each kind of address; `opening.py` chooses it. A reader that fails raises `SourceGoneError` with a
reason that can be shown to the user.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from taemi_edge.bundle.values import Array
from taemi_edge.live.capture.decode_level import DecodeLevel

#: What a connection carries, each feeding streams of the kind of the same name.
Track: TypeAlias = Literal["video", "audio", "series", "text"]


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


@dataclass(frozen=True, eq=False)
class DecodedRows:
    """Rows of numbers as a reader gives them. A reader that gets many of them gives them in batches.

    Attributes:
        times_s: the sender's timestamps in seconds, float64 (n,), finite, on any clock of the sender's, in any order;
            None where it has none: then they were measured since those before, the last of them just now.
        rows: float32 (n, channels), in the order in which they came. Those that hold NaN or infinity are left out by
            whoever takes them, and said.
    """

    times_s: Array | None
    rows: Array


@dataclass(frozen=True)
class DecodedWords:
    """Words as a reader gives them.

    Attributes:
        pts_s: the sender's timestamp of their end in seconds; None where it has none.
        text: the words, with white space between them.
        length_s: how long they took, in seconds; None where that is not known.
    """

    pts_s: float | None
    text: str
    length_s: float | None = None


Decoded: TypeAlias = DecodedPicture | DecodedSound | DecodedRows | DecodedWords


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
        absent: why the picture or the sound is not in the source, for as long as the connection lasts; empty where
            both are.
        losses: what is lost at this moment although the connection stands, each with why: its publisher died. The
            reader changes it as it likes, from any thread; the streams are lost and back at once, and no new connection
            is asked for.
        unusable: why what comes at this moment cannot be used. It is no loss by itself: it says why a track is silent.
        damaged_packets: packets and messages that could not be used.
        waited_s: seconds spent waiting for data; the rest of the time went into decoding.
        lag_s: how much later than the quickest packets the newest one was read; 0 where that is not known.
    """

    absent: dict[Track, str]
    losses: dict[Track, str]
    unusable: dict[Track, str]
    waited_s: float
    lag_s: float

    @property
    def damaged_packets(self) -> int: ...

    def items(self) -> Iterator[Decoded | None]:
        """What was decoded, as it comes; the iterator ends where a file ends.

        Where silence is no loss (of words, or of a sensor that speaks now and then), None at least every half second
        that nothing comes which can be used: so the capture knows that the reader does not hang, and can end it.

        Raises:
            SourceGoneError: the connection was lost, or nothing comes any more.
        """

    def set_decode_level(self, level: DecodeLevel) -> None:
        """Decode as much of the picture as a level of `taemi_edge.live.capture.decode_level` says."""

    def close(self) -> None:
        """End the connection."""

"""Takes streams away on purpose, to rehearse what a device will meet: `imu@2-4` is no data of `imu` from 2 s to 4 s."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from taemi_edge.bundle.streams import AudioSpec, StreamSpec
from taemi_edge.errors import OptionError
from taemi_edge.media.hops import Frame, Hop, SoundPiece, Values
from taemi_edge.media.transcripts import Word

_PATTERN = re.compile(r"(?P<stream>[^@]*)@(?P<start>\d+(\.\d+)?)-(?P<end>\d+(\.\d+)?)$")


@dataclass(frozen=True)
class Drop:
    """A stream that is taken away in [start_s, end_s), in seconds."""

    stream: str
    start_s: float
    end_s: float

    def covers(self, time_s: float) -> bool:
        """Whether the stream is away at a moment."""
        return self.start_s - 1e-6 <= time_s < self.end_s - 1e-6

    def __str__(self) -> str:
        return f"{self.stream}@{self.start_s:g}-{self.end_s:g}"


def parse_drop(text: str) -> Drop:
    """Read `STREAM@START-END`, in seconds.

    Raises:
        UsageError: another shape, or an end that is not after the start.

    Example:
        >>> parse_drop("audio@1.5-3")
        Drop(stream='audio', start_s=1.5, end_s=3.0)
    """
    match = _PATTERN.match(text)
    if match is None:
        raise OptionError("loss", "--drop", f"{text}: expected STREAM@START-END in seconds, such as imu@2-4.5")
    start_s, end_s = float(match["start"]), float(match["end"])
    if start_s >= end_s:
        got = f"{start_s:g} s to {end_s:g} s"
        raise OptionError("loss", "--drop", f"{text}: expected an end after the start, got {got}")
    return Drop(match["stream"], start_s, end_s)


def require_known(drops: Iterable[Drop], streams: Iterable[str]) -> None:
    """Refuse losses of streams that a model does not have.

    Raises:
        UsageError: the first of them.
    """
    names = list(streams)
    for drop in drops:
        if drop.stream not in names:
            known = ", ".join(names)
            raise OptionError("loss", "--drop", f"{drop}: expected one of {known}, got {drop.stream!r}")


def dropped_at(drops: Iterable[Drop], stream: str, time_s: float) -> Drop | None:
    """The drop that takes a stream away at a moment, if any does."""
    for drop in drops:
        if drop.stream == stream and drop.covers(time_s):
            return drop
    return None


def apply_drops(hop: Hop, drops: Iterable[Drop], streams: Mapping[str, StreamSpec]) -> Hop:
    """Take out of a hop what lies in a drop.

    Args:
        hop: stays as it is.
        drops: the losses to rehearse.
        streams: what the model says of its streams: the rate of their sound.
    """
    pieces = dict(hop.pieces)
    for drop in drops:
        if drop.stream in pieces and drop.start_s <= hop.end_s:
            spec = streams.get(drop.stream)
            rate_hz = spec.sample_rate_hz if isinstance(spec, AudioSpec) else 0
            pieces[drop.stream] = [kept for piece in pieces[drop.stream] for kept in _left(piece, drop, rate_hz)]
    return Hop(hop.end_s, pieces, hop.faults, hop.losses, hop.frames_share)


def words_after_drops(words: Iterable[Word], drops: Iterable[Drop], stream: str) -> list[Word]:
    """The words that do not end in a drop of their stream."""
    chosen = list(drops)
    return [word for word in words if not dropped_at(chosen, stream, word.end_s)]


def _left(piece: Any, drop: Drop, sample_rate_hz: int) -> list[Any]:
    """What a drop leaves of a piece."""
    if isinstance(piece, SoundPiece):
        return _cut(piece, drop, sample_rate_hz)
    if isinstance(piece, Values):
        away = (piece.times_s >= drop.start_s - 1e-6) & (piece.times_s < drop.end_s - 1e-6)
        return [Values(piece.times_s[~away], piece.rows[~away])] if not away.all() else []
    time_s = piece.time_s if isinstance(piece, Frame) else piece.end_s
    return [] if drop.covers(time_s) else [piece]


def _cut(piece: SoundPiece, drop: Drop, sample_rate_hz: int) -> list[SoundPiece]:
    """What is left of some samples before and after a drop."""
    first, last = (round((time_s - piece.time_s) * sample_rate_hz) for time_s in (drop.start_s, drop.end_s))
    first, last = (int(np.clip(index, 0, len(piece.values))) for index in (first, last))
    if first == last:
        return [piece]
    after = SoundPiece(piece.time_s + last / sample_rate_hz, piece.values[last:])
    return [kept for kept in (SoundPiece(piece.time_s, piece.values[:first]), after) if len(kept.values)]

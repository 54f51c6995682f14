"""Takes streams away on purpose, to rehearse what a device will meet: `vision@2-4` is no picture from 2 s to 4 s."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import numpy as np

from taemi_edge.bundle.spec import MODALITIES, Modality
from taemi_edge.errors import UsageError
from taemi_edge.media.hops import Hop, Samples
from taemi_edge.media.transcripts import Word

_PATTERN = re.compile(r"(?P<modality>[^@]*)@(?P<start>\d+(\.\d+)?)-(?P<end>\d+(\.\d+)?)$")


@dataclass(frozen=True)
class Drop:
    """A stream that is taken away in [start_s, end_s), in seconds."""

    modality: Modality
    start_s: float
    end_s: float

    def covers(self, time_s: float) -> bool:
        """Whether the stream is away at a moment."""
        return self.start_s - 1e-6 <= time_s < self.end_s - 1e-6

    def __str__(self) -> str:
        return f"{self.modality}@{self.start_s:g}-{self.end_s:g}"


def parse_drop(text: str) -> Drop:
    """Read `MODALITY@START-END`, in seconds.

    Raises:
        UsageError: another shape, an unknown modality, an end that is not after the start.

    Example:
        >>> parse_drop("audio@1.5-3")
        Drop(modality='audio', start_s=1.5, end_s=3.0)
    """
    match = _PATTERN.match(text)
    if match is None:
        raise UsageError(f"--drop {text}: expected MODALITY@START-END in seconds, such as vision@2-4.5")
    if match["modality"] not in MODALITIES:
        raise UsageError(f"--drop {text}: expected one of {', '.join(MODALITIES)}, got {match['modality']!r}")
    start_s, end_s = float(match["start"]), float(match["end"])
    if start_s >= end_s:
        raise UsageError(f"--drop {text}: expected an end after the start, got {start_s:g} s to {end_s:g} s")
    return Drop(cast("Modality", match["modality"]), start_s, end_s)


def dropped_at(drops: Iterable[Drop], modality: Modality, time_s: float) -> Drop | None:
    """The drop that takes a modality away at a moment, if any does."""
    return next((drop for drop in drops if drop.modality == modality and drop.covers(time_s)), None)


def apply_drops(hop: Hop, drops: Iterable[Drop], sample_rate_hz: int) -> Hop:
    """Take the frames and samples out of a hop that lie in a drop.

    Args:
        hop: stays as it is.
        drops: the losses to rehearse.
        sample_rate_hz: of the hop's samples.
    """
    chosen = [drop for drop in drops if drop.start_s <= hop.end_s]
    frames = [frame for frame in hop.frames if not dropped_at(chosen, "vision", frame.time_s)]
    samples = hop.samples
    for drop in (drop for drop in chosen if drop.modality == "audio"):
        samples = [kept for piece in samples for kept in _cut(piece, drop, sample_rate_hz)]
    return Hop(hop.end_s, frames, samples, hop.audio_fault, hop.losses, hop.words)


def words_after_drops(words: Iterable[Word], drops: Iterable[Drop]) -> list[Word]:
    """The words that do not end in a drop of the text."""
    chosen = list(drops)
    return [word for word in words if not dropped_at(chosen, "text", word.end_s)]


def _cut(piece: Samples, drop: Drop, sample_rate_hz: int) -> list[Samples]:
    """What is left of some samples before and after a drop."""
    first, last = (round((time_s - piece.time_s) * sample_rate_hz) for time_s in (drop.start_s, drop.end_s))
    first, last = (int(np.clip(index, 0, len(piece.values))) for index in (first, last))
    if first == last:
        return [piece]
    after = Samples(piece.time_s + last / sample_rate_hz, piece.values[last:])
    return [kept for kept in (Samples(piece.time_s, piece.values[:first]), after) if len(kept.values)]

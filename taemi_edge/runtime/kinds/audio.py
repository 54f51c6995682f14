"""Audio: samples become chunks of a fixed grid, and each chunk gets its rows of the feature ring."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from taemi_edge.bundle.streams import AudioSpec, ChunkedSpec
from taemi_edge.bundle.values import Array
from taemi_edge.errors import UsageError
from taemi_edge.media.arrays import Sound, resampled
from taemi_edge.media.chunks import MAX_BATCH, Chunker, Segment, step_times
from taemi_edge.media.hops import SoundPiece
from taemi_edge.runtime.kinds.kind import Opening, RingState, described, earliest, shapes_of, stacked
from taemi_edge.runtime.rings import RingIndex, StepCounts
from taemi_edge.runtime.work import Item, Items, Stopwatch

#: Times of blocks of sound that follow each other may be off by this much: they are put together all the same.
LONGEST_JITTER_S = 0.05
_GAPS = "gaps: less than nine tenths of its chunks came"


class ChunkedState(RingState):
    """A stream of one source that is encoded chunk by chunk.

    Args:
        opening: with the lengths of a chunk and of the context before it, and how many steps the encoder gives.
        chunker: cuts what came.
        input_name: the name of the encoder's input.
    """

    def __init__(self, opening: Opening, chunker: Chunker, input_name: str) -> None:
        super().__init__(opening.presence, RingIndex(opening.capacity), opening.source)
        spec: ChunkedSpec = opening.spec
        self._steps = opening.steps or StepCounts(spec.chunk_samples, spec.context_samples, lambda _: 1)
        self._chunker, self._input = chunker, input_name
        self._told_gaps = 0

    def prepare(self, pieces: Sequence[Any], end_s: float, watch: Stopwatch, lazily: bool) -> list[Segment]:
        """Cut the whole chunks up to `end_s`."""
        return self._chunker.cut(pieces, end_s)

    def batches(self, prepared: Sequence[Segment], lost: bool) -> Iterator[Sequence[Segment]]:
        if self._chunker.left_out > self._told_gaps:
            self._told_gaps = self._chunker.left_out
            self.presence.suspect(_GAPS)
        if lost:
            return
        for segment in prepared:
            self.presence.arrive(segment.end_s)
        for at in range(0, len(prepared), MAX_BATCH):
            yield prepared[at : at + MAX_BATCH]

    def place(self, batch: Sequence[Segment]) -> Items:
        """Give chunks their rows; the steps of a chunk's context have none."""
        new = []
        for segment in batch:
            samples, steps = segment.samples, self._steps
            times_s = step_times(segment, steps.kept(len(samples)))
            new.append((samples, segment.slot, steps.encoded(len(samples)), times_s))
        return self._placed(self._input, new)


class _Block(NamedTuple):
    """Mono sound that waits: when it begins, its samples, and their rate."""

    time_s: float
    values: Array
    rate_hz: int

    @property
    def end_s(self) -> float:
        return self.time_s + len(self.values) / self.rate_hz


class SoundIntake:
    """Collects sound of a program's own.

    Args:
        name: of the stream, for messages.
        spec: has the rate that the sound is brought to.
    """

    def __init__(self, name: str, spec: AudioSpec) -> None:
        self._name, self._rate_hz = name, spec.sample_rate_hz
        self._waiting: list[_Block] = []
        #: Where the samples that were handed out last end.
        self._until_s = -math.inf

    def add(self, data: Any, end_s: float) -> None:
        if isinstance(data, SoundPiece):  # mono, and at the stream's rate already
            self._waiting.append(_Block(data.time_s, data.values, self._rate_hz))
            return
        if isinstance(data, np.ndarray):
            data = Sound(data, self._rate_hz)
        if not isinstance(data, Sound):
            raise UsageError(f"{self._name}: expected Sound or an array float32 (n,), got {described(data)}")
        start_s = end_s - data.duration_s if data.time_s is None else data.time_s
        self._waiting.append(_Block(start_s, data.mono(), data.rate_hz))

    def first_s(self) -> float | None:
        return earliest(block.time_s for block in self._waiting)

    def take(self, end_s: float, inside: Callable[[float], float]) -> list[SoundPiece]:
        """All sound that waits, at the stream's rate.

        Blocks that follow each other are resampled as one: alone, each would lose the fraction of a sample at its end.
        """
        taken = []
        for run in _runs(self._waiting):
            time_s, values = run.time_s, resampled(run.values, run.rate_hz, self._rate_hz)
            if abs(time_s - self._until_s) < LONGEST_JITTER_S:
                time_s = self._until_s
            self._until_s = time_s + len(values) / self._rate_hz
            taken.append(SoundPiece(inside(time_s), values))
        self._waiting = []
        return taken


def _runs(blocks: Sequence[_Block]) -> list[_Block]:
    """Blocks in the order of time, with those that follow each other without a pause put together."""
    runs: list[list[_Block]] = []
    for block in sorted(blocks, key=lambda block: block.time_s):
        last = runs[-1][-1] if runs else None
        follows = last is not None and abs(block.time_s - last.end_s) < LONGEST_JITTER_S
        if last is not None and follows and block.rate_hz == last.rate_hz:
            runs[-1].append(block)
        else:
            runs.append([block])
    return [_Block(run[0].time_s, np.concatenate([b.values for b in run]), run[0].rate_hz) for run in runs]


def open_stream(opening: Opening) -> ChunkedState:
    """Open the state of a sound."""
    return ChunkedState(opening, Chunker(opening.spec, opening.patience_s, slots=opening.slots), "samples")


def open_intake(name: str, spec: AudioSpec, window_s: float) -> SoundIntake:
    """Open the intake of a sound."""
    return SoundIntake(name, spec)


def newest_s(data: Any) -> float | None:
    """Where a `Sound` with a time ends; None of all else."""
    return data.time_s + data.duration_s if isinstance(data, Sound) and data.time_s is not None else None


def input_lengths(spec: AudioSpec) -> tuple[int, int]:
    """The samples of a chunk, and of its context."""
    return spec.chunk_samples, spec.context_samples


def example(spec: AudioSpec, length: int) -> dict[str, Array]:
    """Silence."""
    return {"samples": np.zeros(length, np.float32)}


def capacity(spec: ChunkedSpec, window_s: float, steps: int) -> int:
    """Room for the chunks of a window."""
    return (int(window_s / spec.chunk_s) + 2) * steps


def share_key(item: Item) -> Hashable:
    """Chunks of one length share a call."""
    return shapes_of(item)


def batch_feeds(items: Sequence[Item]) -> dict[str, Array]:
    """The samples (B, samples)."""
    return stacked(items)

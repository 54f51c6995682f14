"""Cuts sound and resampled series into chunks on a fixed grid of time, each with what came before it as context.

An encoder gives several feature vectors (steps) for a chunk; `step_times` says when each of them is. Chunks lie on one
grid, so that a file gives the same features whether it is read hop by hop or at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from taemi_edge.bundle.streams import ChunkedSpec
from taemi_edge.bundle.values import Array
from taemi_edge.media.hops import SoundPiece
from taemi_edge.media.slots import NO_SLOT, SlotPool, new_input


@dataclass(frozen=True, eq=False)
class Segment:
    """A chunk of sound or of a series, with its context where that came.

    Attributes:
        start_s: where the chunk itself begins, in seconds; its context lies before.
        end_s: where the chunk ends.
        samples: the context and the chunk, float32 (samples,) or (samples, channels).
        chunk_samples: how many of the samples, at their end, are the chunk itself.
        slot: the number of the slot that the samples lie in.
    """

    start_s: float
    end_s: float
    samples: Array
    chunk_samples: int
    slot: int = NO_SLOT


class Chunker:
    """Collects samples and gives whole chunks; a gap makes a chunk unusable, not shorter.

    A chunk counts when at least 90 % of its samples came. The rest of it is silence in sound; in a series it holds the
    last value. The context of a chunk is used only if that came completely.

    Args:
        spec: the rate, and the lengths of a chunk and its context.
        patience_s: how long an incomplete chunk is waited for, since live data arrives late.
        channels: of a series; None for sound.
        slots: where chunks are written so that nobody copies them; by default each is an array of its own.

    Attributes:
        left_out: how many chunks were not given because too much was lost in the middle of them.
    """

    min_share = 0.9

    def __init__(
        self,
        spec: ChunkedSpec,
        patience_s: float = 0.0,
        channels: int | None = None,
        slots: SlotPool | None = None,
    ) -> None:
        self._slots = slots
        self._rate_hz = spec.values_per_second
        self._patience = round(patience_s * self._rate_hz)
        self._chunk = spec.chunk_samples
        self._context = spec.context_samples
        self._holds = channels is not None
        self._shape = () if channels is None else (channels,)
        self.left_out = 0
        self._first = 0  # the sample index of values[0]
        self._next_chunk = 0
        self._values = np.zeros((0, *self._shape), np.float32)
        self._came = np.zeros(0, np.bool_)
        self._came_before = False  # the sample before values[0]
        #: What came after a long pause, by the index of its first sample: the pause takes no memory.
        self._ahead: list[tuple[int, Array]] = []

    def push(self, time_s: float, values: Array) -> None:
        """Add samples at their time; see `push_at`.

        Args:
            time_s: the time of the first sample.
            values: float32 (samples,) or (samples, channels).
        """
        self.push_at(round(time_s * self._rate_hz), values)

    def push_at(self, index: int, values: Array) -> None:
        """Add samples at the place of the grid that the first of them has.

        They replace earlier samples of the same time; samples that are too old are dropped.
        """
        start = index - self._first
        if start < 0:
            values, start = values[-start:], 0
        if start > len(self._values) + self._chunk + self._context:
            self._ahead.append((index, values))
            return
        missing = start + len(values) - len(self._values)
        if missing > 0:
            self._values = np.concatenate([self._values, np.zeros((missing, *self._shape), np.float32)])
            self._came = np.concatenate([self._came, np.zeros(missing, np.bool_)])
        self._values[start : start + len(values)] = values
        self._came[start : start + len(values)] = True

    def cut(self, pieces: Iterable[SoundPiece], end_s: float) -> list[Segment]:
        """Add all pieces of sound, then take the whole chunks up to `end_s`."""
        for piece in pieces:
            self.push(piece.time_s, piece.values)
        return self.take(end_s)

    def take(self, end_s: float, pause_s: float = 0.0) -> list[Segment]:
        """The usable chunks that end by `end_s` and were not taken before.

        Args:
            pause_s: how long the next samples may be on their way, as those of a series that is slower than its grid:
                a chunk that would be left out is waited for so long, unless samples behind it came already.
        """
        segments = []
        end, pause = round(end_s * self._rate_hz), round(pause_s * self._rate_hz)
        self._pass_over(end, pause)
        while (chunk_end := (self._next_chunk + 1) * self._chunk) <= end:
            share = self._share(self._next_chunk * self._chunk - self._first, self._chunk)
            grows = not self._ahead and self._first + len(self._values) < chunk_end
            waits = share < 1 and end - chunk_end < self._patience
            if waits or (share < self.min_share and grows and end - chunk_end < pause):
                break
            segment = self._segment(self._next_chunk * self._chunk)
            segments += [segment] if segment else []
            self._next_chunk += 1
            self._pass_over(end, pause)
        self._forget(self._next_chunk * self._chunk - self._context)
        return segments

    def _pass_over(self, end: int, pause: int) -> None:
        """Skip the chunks of a pause: those of which nothing came, and that are not waited for any more."""
        self._take_in_what_came_ahead()
        if self._next_chunk * self._chunk >= self._first + len(self._values):
            awaited = (end - max(self._patience, pause)) // self._chunk
            begun = min([awaited, *(index // self._chunk for index, _ in self._ahead)])
            self._next_chunk = max(self._next_chunk, begun)
            self._forget(self._next_chunk * self._chunk - self._context)
            self._take_in_what_came_ahead()

    def _take_in_what_came_ahead(self) -> None:
        came, self._ahead = self._ahead, []
        for index, values in came:
            self.push_at(index, values)

    def _segment(self, start: int) -> Segment | None:
        at = start - self._first
        if self._share(at, self._chunk) < self.min_share:
            self.left_out += self._has_gap(at)
            return None
        with_context = self._context > 0 and at >= self._context and self._share(at - self._context, self._context) == 1
        begin = at - self._context if with_context else at
        slot, samples = new_input(self._slots, (at + self._chunk - begin, *self._shape), np.float32)
        present = self._values[begin : at + self._chunk]
        samples[: len(present)] = present
        samples[len(present) :] = 0
        if self._holds:
            _hold(samples, self._came[begin : at + self._chunk])
        return Segment(start / self._rate_hz, (start + self._chunk) / self._rate_hz, samples, self._chunk, slot)

    def _has_gap(self, at: int) -> bool:
        """Whether samples came before and after those of a chunk that did not."""
        before = self._came[at - 1] if at > 0 else self._came_before
        came = np.flatnonzero([before, *self._came[max(0, at) : at + self._chunk + 1]])
        return len(came) > 1 and int(came[-1] - came[0]) >= len(came)

    def _share(self, at: int, length: int) -> float:
        return float(self._came[max(0, at) : at + length].sum() / length)

    def _forget(self, before: int) -> None:
        old = before - self._first
        if old > 0:
            self._came_before = old <= len(self._came) and bool(self._came[old - 1])
            self._values, self._came = self._values[old:], self._came[old:]
            self._first = before


def _hold(samples: Array, came: Array) -> None:
    """Give samples that did not come the value before them, or else the first one."""
    known = np.zeros(len(samples), np.bool_)
    known[: len(came)] = came
    if known.all():
        return
    from_row = np.maximum.accumulate(np.where(known, np.arange(len(samples)), int(np.argmax(known))))
    samples[...] = samples[from_row]


#: Frames and chunks are encoded in batches of at most this many, which bounds memory when a whole file is encoded.
MAX_BATCH = 16


def trim_context(segment: Segment, encoded: Array) -> tuple[Array, Array]:
    """The times (T,) and features (T, D) of a chunk, without those of its context.

    Args:
        encoded: what the encoder gave for the chunk and its context, (steps, D).
    """
    steps = kept_steps(segment.chunk_samples, len(segment.samples), len(encoded))
    return np.array(step_times(segment, steps)), encoded[-steps:]


def step_times(segment: Segment, steps: int) -> list[float]:
    """The times in seconds of a chunk's own steps, spread evenly over it.

    >>> step_times(Segment(1.0, 2.0, np.zeros(8, np.float32), 8), 4)
    [1.25, 1.5, 1.75, 2.0]
    """
    start_s, length_s = segment.start_s, segment.end_s - segment.start_s
    return [start_s + length_s * step / steps for step in range(1, steps + 1)]


def kept_steps(chunk_samples: int, samples: int, encoded_steps: int) -> int:
    """How many of an encoder's steps, at their end, belong to the chunk and not to its context.

    >>> kept_steps(chunk_samples=8_000, samples=16_000, encoded_steps=50)
    25
    """
    return max(1, round(encoded_steps * chunk_samples / samples))


def of_equal_length(segments: Iterable[Segment]) -> list[list[Segment]]:
    """Put neighbours of equal length into batches of at most `MAX_BATCH`, in the order of time."""
    batches: list[list[Segment]] = []
    for segment in segments:
        fits = batches and len(batches[-1]) < MAX_BATCH and len(batches[-1][0].samples) == len(segment.samples)
        if fits:
            batches[-1].append(segment)
        else:
            batches.append([segment])
    return batches

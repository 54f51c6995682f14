"""Cutting sound into chunks of a fixed grid, each with the context before it, and timing the steps they encode to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from taemi_edge.bundle.spec import Array, AudioSpec


@dataclass(frozen=True, eq=False)
class Segment:
    """A chunk [start_s, end_s) with what context lies before it: float32 (samples,)."""

    start_s: float
    end_s: float
    samples: Array
    #: How many of the samples, at their end, are the chunk itself.
    chunk_samples: int


class AudioChunker:
    """Samples in, whole chunks of a fixed grid out, each with its context; gaps make a chunk unusable, not shorter.

    A chunk counts when at least 90 % of its samples came; the rest is silence. Its context is used only if that came.

    Args:
        patience_s: how long an incomplete chunk is waited for, since live sound arrives late.
    """

    min_share = 0.9

    def __init__(self, spec: AudioSpec, patience_s: float = 0.0) -> None:
        self._patience = round(patience_s * spec.sample_rate_hz)
        self._rate_hz = spec.sample_rate_hz
        self._chunk = spec.chunk_samples
        self._context = spec.context_samples
        self._first = 0  # the sample index of values[0]
        self._next_chunk = 0
        self._values = np.zeros(0, np.float32)
        self._came = np.zeros(0, np.bool_)

    def push(self, time_s: float, values: Array) -> None:
        """Lay samples where their time says; what overlaps earlier ones replaces them, what is too old is dropped."""
        start = round(time_s * self._rate_hz) - self._first
        if start < 0:
            values, start = values[-start:], 0
        missing = start + len(values) - len(self._values)
        if missing > 0:
            self._values = np.concatenate([self._values, np.zeros(missing, np.float32)])
            self._came = np.concatenate([self._came, np.zeros(missing, np.bool_)])
        self._values[start : start + len(values)] = values
        self._came[start : start + len(values)] = True

    def take(self, end_s: float) -> list[Segment]:
        """The usable chunks that end by `end_s` and were not taken before."""
        segments = []
        while (chunk_end := (self._next_chunk + 1) * self._chunk) <= (end := round(end_s * self._rate_hz)):
            waits = end - chunk_end < self._patience
            if waits and self._share(self._next_chunk * self._chunk - self._first, self._chunk) < 1:
                break
            segment = self._segment(self._next_chunk * self._chunk)
            segments += [segment] if segment else []
            self._next_chunk += 1
        self._forget(self._next_chunk * self._chunk - self._context)
        return segments

    def _segment(self, start: int) -> Segment | None:
        at = start - self._first
        if self._share(at, self._chunk) < self.min_share:
            return None
        with_context = self._context > 0 and at >= self._context and self._share(at - self._context, self._context) == 1
        begin = at - self._context if with_context else at
        samples = np.zeros(at + self._chunk - begin, np.float32)
        present = self._values[begin : at + self._chunk]
        samples[: len(present)] = present
        return Segment(start / self._rate_hz, (start + self._chunk) / self._rate_hz, samples, self._chunk)

    def _share(self, at: int, length: int) -> float:
        return float(self._came[max(0, at) : at + length].sum() / length)

    def _forget(self, before: int) -> None:
        old = before - self._first
        if old > 0:
            self._values, self._came = self._values[old:], self._came[old:]
            self._first = before


#: Frames and chunks are encoded in batches of at most this many, which bounds memory when a whole file is encoded.
MAX_BATCH = 16


def trim_context(segment: Segment, encoded: Array) -> tuple[Array, Array]:
    """The times (T,) and features (T, D) of the chunk itself, without those of the context before it."""
    steps = kept_steps(segment.chunk_samples, len(segment.samples), len(encoded))
    return step_times(segment, steps), encoded[-steps:]


def step_times(segment: Segment, steps: int) -> Array:
    """The times (T,) of a chunk's own steps, evenly over it."""
    times_s: Array = segment.start_s + (segment.end_s - segment.start_s) * (np.arange(steps) + 1) / steps
    return times_s


def kept_steps(chunk_samples: int, samples: int, encoded_steps: int) -> int:
    """How many of the last steps of `samples` that were encoded are the chunk's own."""
    return max(1, round(encoded_steps * chunk_samples / samples))


def of_equal_length(segments: Iterable[Segment]) -> list[list[Segment]]:
    """Neighbours of one length, in batches: a batch has one shape, and times stay in order."""
    batches: list[list[Segment]] = []
    for segment in segments:
        fits = batches and len(batches[-1]) < MAX_BATCH and len(batches[-1][0].samples) == len(segment.samples)
        if fits:
            batches[-1].append(segment)
        else:
            batches.append([segment])
    return batches

"""Series: rows of numbers become chunks of a fixed grid, or are encoded one by one as they come."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from taemi_edge.bundle.streams import SeriesSpec
from taemi_edge.bundle.values import Array
from taemi_edge.errors import UsageError
from taemi_edge.media.arrays import Samples
from taemi_edge.media.chunks import MAX_BATCH, Chunker, Segment
from taemi_edge.media.hops import Values
from taemi_edge.media.resampling import GridInterpolator
from taemi_edge.media.slots import NO_SLOT, new_input
from taemi_edge.runtime.kinds import audio
from taemi_edge.runtime.kinds.audio import LONGEST_JITTER_S, ChunkedState
from taemi_edge.runtime.kinds.kind import Opening, RingState, described, earliest, shapes_of, stacked
from taemi_edge.runtime.rings import RingIndex, Span
from taemi_edge.runtime.work import Item, Items, Stopwatch

log = logging.getLogger("taemi_edge.runtime")

#: An input of the encoder without a rate: its time, its numbers, and the number of the slot that they lie in.
_Row: TypeAlias = tuple[float, Array, int]

_UNUSABLE = "rows with NaN, or that go backwards in time"
_EPSILON_S = 1e-6
#: How much of the time is followed by which a block is early or late.
_FOLLOWED = 0.1


class ResampledState(ChunkedState):
    """A series with a rate: its rows are brought to one grid, and cut in chunks as sound is."""

    def __init__(self, opening: Opening) -> None:
        spec: SeriesSpec = opening.spec
        chunker = Chunker(spec, opening.patience_s, spec.channels, opening.slots)
        super().__init__(opening, chunker, "values")
        self._name = opening.name
        self._grid = GridInterpolator(spec.rate_hz)
        self._told = 0

    def prepare(self, pieces: Sequence[Values], end_s: float, watch: Stopwatch, lazily: bool) -> list[Segment]:
        for index, values in self._grid.convert(pieces):
            self._chunker.push_at(index, values)
        return self._chunker.take(end_s, self._grid.longest_pause_s)

    def batches(self, prepared: Sequence[Segment], lost: bool) -> Iterator[Sequence[Segment]]:
        if self._grid.left_out > self._told:
            if not self._told:
                log.warning("%s: %s, were left out; this is reported once", self._name, _UNUSABLE)
            self._told = self._grid.left_out
            self.presence.suspect(_UNUSABLE)
        return super().batches(prepared, lost)


class RowState(RingState):
    """A series without a rate: each row is an input of its own, at the time at which it came."""

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening.presence, RingIndex(opening.capacity), opening.source)
        spec: SeriesSpec = opening.spec
        self._name, self._most = opening.name, min(spec.max_rows, spec.max_steps)
        self._slots = opening.slots
        self._newest_s = -np.inf
        self._told: set[str] = set()

    def prepare(self, pieces: Sequence[Values], end_s: float, watch: Stopwatch, lazily: bool) -> list[_Row]:
        """The rows one by one, each with its time."""
        rows = ((float(t), row) for piece in pieces for t, row in zip(piece.times_s, piece.rows, strict=True))
        return [(time_s, *self._in_slot(row)) for time_s, row in rows]

    def batches(self, prepared: Sequence[_Row], lost: bool) -> Iterator[Sequence[_Row]]:
        if lost:
            return
        usable: list[_Row] = []
        for time_s, row, slot in prepared:
            if np.isfinite(row).all() and time_s >= self._newest_s:
                self._newest_s = time_s
                self.presence.arrive(time_s)
                usable.append((time_s, row, slot))
            else:
                self._tell(f"{_UNUSABLE}, were left out")
                self.presence.suspect(_UNUSABLE)
        for at in range(0, len(usable), MAX_BATCH):
            yield usable[at : at + MAX_BATCH]

    def place(self, batch: Sequence[_Row]) -> Items:
        return self._placed("values", [(row, slot, 1, (time_s,)) for time_s, row, slot in batch])

    def rows(self, after_s: float, until_s: float) -> Span:
        found = super().rows(after_s, until_s)
        if found.count > self._most or self.ring.overwritten_s > after_s:
            self._tell(f"a window has more rows than max_rows, of which the newest {self._most} are read")
        return found.newest(self._most, self.ring.capacity)

    def _in_slot(self, row: Array) -> tuple[Array, int]:
        """A row in a slot, and the number of it; the row itself where there are no slots."""
        if self._slots is None:
            return row, NO_SLOT
        slot, values = new_input(self._slots, row.shape, np.float32)
        values[...] = row
        return values, slot

    def _tell(self, what: str) -> None:
        """Log what happens to rows when it happens first."""
        if what not in self._told:
            self._told.add(what)
            log.warning("%s: %s; this is reported once", self._name, what)


class SeriesIntake:
    """Collects rows of a program's own.

    Args:
        name: of the stream, for messages.
        spec: has the rate and the channels of the stream.
    """

    def __init__(self, name: str, spec: SeriesSpec) -> None:
        self._name, self._spec = name, spec
        self._waiting: list[Values] = []
        #: Where the block of rows ends that came last, of those that have a rate.
        self._until_s = -np.inf

    def add(self, data: Any, end_s: float) -> None:
        given = self._samples(data)
        if given is None:  # rows without a rate: one row, at this moment
            rows = np.asarray(data, np.float32).reshape(1, -1)
            times_s = np.array([end_s])
        else:
            times_s, rows = given.timed(self._steady_end_s(given, end_s))
        if rows.shape[1] != self._spec.channels:
            raise UsageError(f"{self._name}: expected rows of {self._spec.channels} channels, got {rows.shape[1]}")
        self._waiting.append(Values(np.array(times_s, np.float64), np.array(rows, np.float32)))

    def _steady_end_s(self, given: Samples, end_s: float) -> float:
        """Where a block ends that follows the last one: the times at which a program hands blocks over are uneven."""
        if given.rate_hz is None:
            return end_s
        length_s = len(given.array) / given.rate_hz
        off_s = end_s - length_s - self._until_s
        if abs(off_s) < min(LONGEST_JITTER_S, length_s / 2):  # of two clocks that drift apart, the caller's is followed
            end_s = self._until_s + length_s + max(_FOLLOWED * off_s, -0.5 / given.rate_hz)
        self._until_s = end_s
        return end_s

    def first_s(self) -> float | None:
        return earliest(float(values.times_s[0]) for values in self._waiting)

    def take(self, end_s: float, inside: Callable[[float], float]) -> list[Values]:
        """The rows up to `end_s`, in the order of time; later ones wait."""
        if not self._waiting:
            return []
        times_s = np.concatenate([values.times_s for values in self._waiting])
        rows = np.concatenate([values.rows for values in self._waiting])
        order = np.argsort(times_s, kind="stable")
        times_s, rows = times_s[order], rows[order]
        due = int(np.searchsorted(times_s, end_s + _EPSILON_S, side="right"))
        self._waiting = [Values(times_s[due:], rows[due:])] if due < len(times_s) else []
        return [Values(np.array([inside(float(t)) for t in times_s[:due]]), rows[:due])] if due else []

    def _samples(self, data: Any) -> Samples | None:
        """The data with times of its own or a rate; None for a single row of a stream without a rate."""
        if isinstance(data, Samples):
            return data
        if isinstance(data, Values):
            return Samples(data.rows, times_s=data.times_s)
        array = data if isinstance(data, np.ndarray) else None
        if array is None or array.dtype.kind not in "biuf":
            raise UsageError(
                f"{self._name}: expected Samples or an array of numbers (n, {self._spec.channels}), got "
                f"{described(data)}"
            )
        if self._spec.rate_hz:
            single = array.ndim == 1 and self._spec.channels > 1
            return Samples(array[None] if single else array, rate_hz=self._spec.rate_hz)
        if array.size != self._spec.channels:
            raise UsageError(
                f"{self._name}: expected one row of {self._spec.channels} numbers, or Samples with times_s for "
                f"several, got {described(data)}"
            )
        return None


def open_stream(opening: Opening) -> ResampledState | RowState:
    """Open the state of a series."""
    return ResampledState(opening) if opening.spec.rate_hz else RowState(opening)


def open_intake(name: str, spec: SeriesSpec, window_s: float) -> SeriesIntake:
    """Open the intake of a series."""
    return SeriesIntake(name, spec)


def newest_s(data: Any) -> float | None:
    """The newest time of `Samples` with times; None of all else."""
    if isinstance(data, Samples) and data.times_s is not None:
        return float(np.asarray(data.times_s)[-1])
    return None


def input_lengths(spec: SeriesSpec) -> tuple[int, int]:
    """The rows of a chunk, and of its context; one row where each is encoded by itself."""
    return (spec.chunk_samples, spec.context_samples) if spec.rate_hz else (1, 0)


def example(spec: SeriesSpec, length: int) -> dict[str, Array]:
    """Zeros."""
    shape = (length, spec.channels) if spec.rate_hz else (spec.channels,)
    return {"values": np.zeros(shape, np.float32)}


def capacity(spec: SeriesSpec, window_s: float, steps: int) -> int:
    """Room for the chunks or rows of a window."""
    if spec.rate_hz:
        return audio.capacity(spec, window_s, steps)
    return max(MAX_BATCH, min(spec.max_steps, spec.max_rows))


def share_key(item: Item) -> Hashable:
    """Inputs of one length share a call."""
    return shapes_of(item)


def batch_feeds(items: Sequence[Item]) -> dict[str, Array]:
    """The values (B, [rows,] channels)."""
    return stacked(items)

"""Decides where the features of a stream lie in a ring, which is a buffer that is written round and round.

The index is kept on the host wherever the features are, so that what a window holds is known before anything is
encoded. It is asked with every hop of every source, so that it is one plain array, and answers with a `Span`: two
numbers, whatever the length of a window.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import chain

import msgspec
import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.media.chunks import kept_steps

_EPSILON_S = 1e-6
_NEVER = -float("inf")


class Span(msgspec.Struct, frozen=True):
    """Rows of a ring that follow one another, round its end where they reach it.

    They are in the order of time, for heads to which the order matters.

    Attributes:
        start: the first row.
        count: how many there are, at most as many as the ring has.

    Example:
        >>> span = Span(start=3, count=4)
        >>> span.rows(5).tolist(), span.newest(2, 5)
        ([3, 4, 0, 1], Span(start=0, count=2))
    """

    start: int
    count: int

    def rows(self, capacity: int) -> Array:
        """The rows one by one, int64 (count,), in a ring of so many rows."""
        return (self.start + np.arange(self.count)) % capacity

    def slices(self, capacity: int) -> list[slice]:
        """The rows as one slice of a ring of so many rows, or as two where they go round its end."""
        end = self.start + self.count
        if end <= capacity:
            return [slice(self.start, end)]
        return [slice(self.start, capacity), slice(0, end - capacity)]

    def newest(self, most: int, capacity: int) -> Span:
        """At most so many of the rows, the last ones, in a ring of so many rows."""
        over = self.count - most
        return self if over <= 0 else Span((self.start + over) % capacity, most)


class RingIndex:
    """The times of the features in a ring.

    Args:
        capacity: how many rows the ring has.

    Attributes:
        overwritten_s: the newest time whose feature was overwritten.

    Example:
        >>> ring = RingIndex(3)
        >>> ring.push([0.1, 0.2]), ring.push([0.3, 0.4])
        (Span(start=0, count=2), Span(start=2, count=2))
        >>> ring.window(0.1, 0.4)
        Span(start=1, count=3)
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.overwritten_s = _NEVER
        #: Of the features that the ring holds, ascending.
        self._times_s = array("d")
        #: The row of the oldest of them.
        self._first = 0

    def push(self, times_s: Sequence[float]) -> Span:
        """Choose the rows for new features.

        Args:
            times_s: the time of each feature in seconds. Times ascend; one that goes back counts as that of the feature
                before it, which leaves the window no later.

        Returns:
            The rows of the newest of these features; of so many that they do not fit, the first have none.
        """
        held = self._times_s
        before = len(held)
        newest_s = held[-1] if held else _NEVER
        if isinstance(times_s, list) and times_s and times_s[0] >= newest_s and times_s == sorted(times_s):
            held.fromlist(times_s)
        else:
            for time_s in times_s:
                if time_s > newest_s:
                    newest_s = time_s
                held.append(newest_s)
        count = len(held) - before
        start = self._first + before
        if (lost := len(held) - self.capacity) > 0:
            self.overwritten_s = held[lost - 1]
            del held[:lost]
            self._first = (self._first + lost) % self.capacity
        kept = min(count, self.capacity)
        return Span((start + count - kept) % self.capacity, kept)

    def push_each(self, each: Sequence[Sequence[float]]) -> list[Span]:
        """Choose the rows for the features of several inputs that are encoded together.

        No row is given twice, so that the order in which the inputs are encoded does not matter: of more features than
        the ring has rows, the first ones have none.

        Args:
            each: the times of each input's features, in order; see `push`.

        Returns:
            For each input the rows of its last features, possibly none.

        Example:
            >>> RingIndex(3).push_each([[0.1, 0.2], [0.3, 0.4]])
            [Span(start=1, count=1), Span(start=2, count=2)]
        """
        counts = [len(times_s) for times_s in each]
        pushed = self.push(list(chain.from_iterable(each)))
        without = sum(counts) - pushed.count
        spans, row = [], pushed.start
        for new in counts:
            lost = min(new, without) if without else 0
            without -= lost
            spans.append(Span(row, new - lost))
            row = (row + new - lost) % self.capacity
        return spans

    def window(self, after_s: float, until_s: float) -> Span:
        """The rows of the features in (after_s, until_s]."""
        first = bisect_right(self._times_s, after_s + _EPSILON_S)
        end = bisect_right(self._times_s, until_s + _EPSILON_S, first)
        return Span((self._first + first) % self.capacity, end - first)

    def keep_newest(self, count: int) -> None:
        """Forget all features but so many that were pushed last: those of the others are gone."""
        lost = max(0, len(self._times_s) - count)
        del self._times_s[:lost]
        self._first = (self._first + lost) % self.capacity


class StepCounts:
    """How many feature vectors (steps) an encoder gives for an input, alone and after its context.

    Args:
        chunk: the length of an input, such as the samples of a chunk.
        context: the length of what may come before it.
        count: gives the number of steps for a length; it is called once for each length that there is.

    Example:
        >>> steps = StepCounts(8_000, 4_000, lambda samples: samples // 320)
        >>> steps.lengths, steps.encoded(12_000), steps.kept(12_000)
        ([8000, 12000], 37, 25)
    """

    def __init__(self, chunk: int, context: int, count: Callable[[int], int]) -> None:
        self.lengths = sorted({chunk, chunk + context})
        self._encoded = {length: count(length) for length in self.lengths}
        self._kept = {length: kept_steps(chunk, length, steps) for length, steps in self._encoded.items()}

    @property
    def per_chunk(self) -> int:
        """How many steps one chunk leaves in a ring at most."""
        return max(self.kept(length) for length in self.lengths)

    def encoded(self, length: int) -> int:
        """How many steps the encoder gives for an input of this length."""
        return self._encoded[length]

    def kept(self, length: int) -> int:
        """How many of these steps belong to the chunk itself and not to its context."""
        return self._kept[length]

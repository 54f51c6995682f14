"""Decides where the features of a stream lie in a ring, which is a buffer that is written round and round.

The index is kept on the host wherever the features are, so that what a window holds is known before anything is
encoded. Rows are given in the order of time, for heads to which the order matters.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.media.chunks import kept_steps

_EPSILON_S = 1e-6
_NEVER = -np.inf


class RingIndex:
    """The time of each row of a ring.

    Args:
        capacity: how many rows the ring has.

    Attributes:
        overwritten_s: the newest time whose feature was overwritten.

    Example:
        >>> ring = RingIndex(3)
        >>> ring.push(np.array([0.1, 0.2])).tolist(), ring.push(np.array([0.3, 0.4])).tolist()
        ([0, 1], [2, 0])
        >>> ring.window(0.1, 0.4).tolist()
        [1, 2, 0]
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.overwritten_s = _NEVER
        self._times_s = np.full(capacity, _NEVER)
        self._next = 0
        self._order = np.arange(capacity)

    def push(self, times_s: Array) -> Array:
        """Choose the rows for new features.

        Args:
            times_s: the time of each feature in seconds, (T,), in order.

        Returns:
            The rows, int32 (T,); -1 for features that later ones of the same call would overwrite.
        """
        count = len(times_s)
        rows = (self._next + np.arange(count)) % self.capacity
        rows[: max(0, count - self.capacity)] = -1
        kept = rows >= 0
        self.overwritten_s = max(self.overwritten_s, float(self._times_s[rows[kept]].max(initial=_NEVER)))
        self._times_s[rows[kept]] = times_s[kept]
        self._next = (self._next + count) % self.capacity
        return rows.astype(np.int32)

    def window(self, after_s: float, until_s: float) -> Array:
        """The rows of the features in (after_s, until_s], int64 (T,), in the order in which they were pushed."""
        order = (self._next + self._order) % self.capacity
        times = self._times_s[order]
        chosen: Array = order[(times > after_s + _EPSILON_S) & (times <= until_s + _EPSILON_S)]
        return chosen

    def keep_only(self, rows: Array) -> None:
        """Forget all rows but these: the features of the others are gone."""
        lost = np.ones(self.capacity, np.bool_)
        lost[rows[rows >= 0]] = False
        self._times_s[lost] = _NEVER


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
        self._chunk = chunk
        self.lengths = sorted({chunk, chunk + context})
        self._encoded = {length: count(length) for length in self.lengths}

    @property
    def per_chunk(self) -> int:
        """How many steps one chunk leaves in a ring at most."""
        return max(self.kept(length) for length in self.lengths)

    def encoded(self, length: int) -> int:
        """How many steps the encoder gives for an input of this length."""
        return self._encoded[length]

    def kept(self, length: int) -> int:
        """How many of these steps belong to the chunk itself and not to its context."""
        return kept_steps(self._chunk, length, self._encoded[length])

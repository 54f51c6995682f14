"""Plays a series from a file at its own pace, as if a sensor sent it."""

from __future__ import annotations

import threading

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.media.hops import Values


def round_length_s(times_s: Array) -> float:
    """How long a series lasts that is played again and again: up to its last row, and an ordinary pause behind it.

    >>> round_length_s(np.array([0.0, 0.5, 1.0]))
    1.5
    """
    pause_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 1.0
    return float(times_s[-1]) + max(pause_s, 1e-3)


class SeriesReplay:
    """Gives the rows of a series when they are due.

    Args:
        times_s: when each row is due, float64 (n,), in seconds of the session and in order; n > 0.
        rows: float32 (n, channels).
        repeat_s: after so many seconds the series begins again; None plays it once.

    Attributes:
        loss: why no rows will come; None while some will.

    Example:
        >>> replay = SeriesReplay(np.array([0.0, 0.5, 1.0]), np.zeros((3, 2), np.float32))
        >>> [len(values.times_s) for values in replay.take(0.5)[0]], replay.ended
        ([2], False)
        >>> [values.times_s.tolist() for values in replay.take(2.0)[0]], replay.loss
        ([[1.0]], 'the file is at its end')
    """

    dropped = 0

    def __init__(self, times_s: Array, rows: Array, repeat_s: float | None = None) -> None:
        self._times_s, self._rows = times_s, rows
        self._repeat_s = repeat_s
        self._lock = threading.Lock()
        self._next = self._rounds = 0
        self.loss: str | None = None

    @property
    def ended(self) -> bool:
        """Whether the last row was given and none will follow."""
        return self.loss is not None

    def take(self, end_s: float) -> tuple[list[Values], None]:
        """Take the rows up to `end_s`, a piece for each round of the file."""
        pieces = []
        with self._lock:
            while self.loss is None:
                shift_s = self._rounds * (self._repeat_s or 0.0)
                stop = int(np.searchsorted(self._times_s, end_s - shift_s, side="right"))
                if stop > self._next:
                    pieces.append(Values(self._times_s[self._next : stop] + shift_s, self._rows[self._next : stop]))
                self._next = max(self._next, stop)
                if self._next < len(self._times_s):
                    break
                if self._repeat_s is not None:
                    self._next, self._rounds = 0, self._rounds + 1
                else:
                    self.loss = "the file is at its end"
        return pieces, None

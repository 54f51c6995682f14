"""Brings the rows of a series to one rate, so that they lie on the grid that chunks are cut from."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.media.hops import Values

_EPSILON_S = 1e-6
#: A pause longer than so many periods, of the series or of the grid, is a gap: nothing is interpolated over it.
LONGEST_GAP_PERIODS = 4.0
_LOOKED_BACK_AT = 32


class GridInterpolator:
    """Interpolates linearly between the rows that came, at the points of a grid that starts at 0.

    Args:
        rate_hz: how many points of the grid lie in a second.

    Attributes:
        left_out: how many rows were left out so far: those that hold NaN, and those that go backwards in time.

    Example:
        >>> grid = GridInterpolator(10.0)
        >>> rows = Values(np.array([0.0, 0.2]), np.array([[0.0], [2.0]], np.float32))
        >>> [(index, values[:, 0].tolist()) for index, values in grid.convert([rows])]
        [(0, [0.0]), (1, [1.0, 2.0])]
    """

    def __init__(self, rate_hz: float) -> None:
        self._rate_hz = rate_hz
        self._last: tuple[float, Array] | None = None
        self._next = 0
        self._periods_s: deque[float] = deque(maxlen=_LOOKED_BACK_AT)
        self.left_out = 0

    def convert(self, pieces: Iterable[Values]) -> Iterator[tuple[int, Array]]:
        """The points of the grid up to the newest row: the index of the first, and values float32 (n, channels)."""
        for piece in pieces:
            for time_s, row in zip(piece.times_s, piece.rows, strict=True):
                if not np.isfinite(row).all() or (self._last is not None and time_s < self._last[0]):
                    self.left_out += 1
                    continue
                found = self._between(float(time_s), row)
                if found is not None:
                    yield found

    def _between(self, time_s: float, row: Array) -> tuple[int, Array] | None:
        """The points after the row before and up to this one; only this one's own after a gap."""
        last, self._last = self._last, (time_s, row)
        first = self._next
        until = int(np.floor(time_s * self._rate_hz + _EPSILON_S * self._rate_hz))
        if last is None or self._is_gap(time_s - last[0]):
            first = max(first, int(np.ceil(time_s * self._rate_hz - _EPSILON_S * self._rate_hz)))
            last = (time_s, row)
        if until < first:
            return None
        self._next = until + 1
        at_s = np.arange(first, until + 1) / self._rate_hz
        length_s = time_s - last[0]
        share = np.clip((at_s - last[0]) / length_s, 0.0, 1.0)[:, None] if length_s > 0 else np.ones((len(at_s), 1))
        values: Array = (last[1] * (1 - share) + row * share).astype(np.float32)
        return first, values

    def _is_gap(self, pause_s: float) -> bool:
        usual_s = max(1 / self._rate_hz, float(np.median(self._periods_s)) if self._periods_s else pause_s)
        is_gap = pause_s > LONGEST_GAP_PERIODS * usual_s
        if not is_gap and pause_s > 0:
            self._periods_s.append(pause_s)
        return is_gap

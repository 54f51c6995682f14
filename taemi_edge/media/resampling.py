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
#: A pause of so many seconds is a gap even in a series that is slower, unless the grid itself is: this bounds memory.
LONGEST_PAUSE_S = 60.0
#: So many seconds may lie between the first two rows, when nothing is known yet of how far rows usually lie apart.
LONGEST_FIRST_PAUSE_S = 2.0
#: From this point of the grid on, float64 no longer tells neighbours apart.
_LAST_POINT = 2.0**52
_LOOKED_BACK_AT = 32


class GridInterpolator:
    """Interpolates linearly between the rows that came, at the points of a grid that starts at 0.

    What it gives does not depend on the pieces that the rows come in.

    Args:
        rate_hz: how many points of the grid lie in a second.

    Attributes:
        left_out: how many rows were left out so far: those that hold NaN, and those that go backwards in time.

    Example:
        >>> grid = GridInterpolator(10.0)
        >>> rows = Values(np.array([0.0, 0.2]), np.array([[0.0], [2.0]], np.float32))
        >>> [(index, values[:, 0].tolist()) for index, values in grid.convert([rows])]
        [(0, [0.0, 1.0, 2.0])]
    """

    def __init__(self, rate_hz: float) -> None:
        self._rate_hz = rate_hz
        self._last: tuple[Array, Array] | None = None
        self._next = 0
        self._most_s = max(LONGEST_PAUSE_S, LONGEST_GAP_PERIODS / rate_hz)
        self._periods_s: deque[float] = deque(maxlen=_LOOKED_BACK_AT)
        self.left_out = 0

    @property
    def longest_pause_s(self) -> float:
        """How long after the newest row another may come without a gap between them; longer pauses are gaps."""
        usual_s = max(1 / self._rate_hz, self._usual_s()) if self._periods_s else None
        longest_s = LONGEST_FIRST_PAUSE_S if usual_s is None else LONGEST_GAP_PERIODS * usual_s
        return min(self._most_s, longest_s)

    def _usual_s(self) -> float:
        """How far nine of ten rows lie apart at most: those that come unevenly, as over a radio, have no gaps."""
        pauses_s = sorted(self._periods_s)
        return pauses_s[(9 * len(pauses_s)) // 10]

    def convert(self, pieces: Iterable[Values]) -> Iterator[tuple[int, Array]]:
        """The points of the grid up to the newest row: the index of the first, and values float32 (n, channels)."""
        for piece in pieces:
            times_s, rows = self._usable(piece)
            if not len(times_s):
                continue
            begins_anew = self._last is None
            if self._last is not None:
                times_s, rows = np.concatenate([self._last[0], times_s]), np.concatenate([self._last[1], rows])
            self._last = times_s[-1:].copy(), rows[-1:].copy()
            starts = np.flatnonzero(self._gaps(np.diff(times_s))) + 1
            runs = zip([0, *starts.tolist()], [*starts.tolist(), len(times_s)], strict=True)
            for first, last in runs:
                found = self._run(times_s[first:last], rows[first:last], first > 0 or begins_anew)
                if found is not None:
                    yield found

    def _usable(self, piece: Values) -> tuple[Array, Array]:
        """The rows that hold numbers alone and do not go backwards in time."""
        times_s = np.asarray(piece.times_s, np.float64)
        usable = np.isfinite(piece.rows).all(axis=1) & (np.abs(times_s) < _LAST_POINT / self._rate_hz)
        times_s, rows = times_s[usable], piece.rows[usable]
        if len(times_s):
            newest_s = times_s[0] if self._last is None else float(self._last[0][0])
            in_order = times_s >= np.maximum.accumulate(np.concatenate([[newest_s], times_s[:-1]]))
            times_s, rows = times_s[in_order], rows[in_order]
        self.left_out += len(piece.rows) - len(times_s)
        return times_s, rows

    def _run(self, times_s: Array, rows: Array, anew: bool) -> tuple[int, Array] | None:
        """The points of a run of rows without a gap; where it does not begin anew, its first row was given."""
        until = np.floor(times_s * self._rate_hz + _EPSILON_S * self._rate_hz).astype(np.int64)
        first = self._next
        if anew:
            first = max(first, int(until[0]))  # the point just before the first row has that row's value
        if until[-1] < first:
            return None
        self._next = int(until[-1]) + 1
        points = np.arange(first, self._next)
        after = np.searchsorted(until, points)
        before = np.maximum(after - 1, 0)
        length_s = times_s[after] - times_s[before]
        since_s = points / self._rate_hz - times_s[before]
        share = np.ones(len(points))
        np.divide(since_s, length_s, out=share, where=length_s > 0)
        share = np.clip(share, 0.0, 1.0)[:, None]
        values: Array = (rows[before] * (1 - share) + rows[after] * share).astype(np.float32)
        return first, values

    def _gaps(self, pauses_s: Array) -> Array:
        """Which pauses are gaps, bool (n,): those much longer than the ordinary ones before them."""
        is_gap = np.zeros(len(pauses_s), np.bool_)
        known = 0
        for at in np.flatnonzero(pauses_s > LONGEST_GAP_PERIODS / self._rate_hz).tolist():
            self._remember(pauses_s[known:at])
            known = at + 1
            pause_s, had_any = float(pauses_s[at]), bool(self._periods_s)
            too_long = pause_s > self._most_s
            is_gap[at] = pause_s > self.longest_pause_s
            if not is_gap[at] or not (had_any or too_long):  # the first of a slow series tells how slow it is
                self._periods_s.append(pause_s)
        self._remember(pauses_s[known:])
        return is_gap

    def _remember(self, pauses_s: Array) -> None:
        """Remember ordinary pauses; rows of the same time have none between them."""
        self._periods_s.extend(pauses_s[pauses_s > 0][-_LOOKED_BACK_AT:].tolist())

"""Places the rows of a sensor on the clock of the session, many at once."""

from __future__ import annotations

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.live.capture.clock import JUMP_S, StreamClock

#: Rows without timestamps that came together were measured in so many seconds before at most.
_MOST_SPREAD_S = 1.0
#: Rows that are late for longer than this, and no burst after a link that hung, are placed anew.
_LATE_S = 0.5
#: A row is compared with so many before it.
_REMEMBERED = 256


class RowClock:
    """Places one series of one connection, as `StreamClock` places pictures.

    Rows that the sender's timestamps put in an order keep it, also where a quicker packet shows that those before it
    had been late. A sender whose clock runs at another rate is followed; one whose clock stands still is placed anew
    again and again.

    Args:
        now_s: when the connection was made, in seconds of the session.

    Example:
        >>> clock = RowClock(0.9)
        >>> clock.place(np.array([50.0, 50.1]), 2, now_s=1.0).round(3).tolist()
        [0.9, 1.0]
        >>> clock.place(None, 2, now_s=1.05).round(3).tolist()
        [1.025, 1.05]
    """

    def __init__(self, now_s: float) -> None:
        self._clock = StreamClock(follows_rate=True)
        self._came_s = now_s
        self._newest_s = self._placed_s = -np.inf
        self._late_since_s: float | None = None

    @property
    def rate(self) -> float:
        """How many seconds of timestamps pass in a second; 1.0 as long as it is about that."""
        return self._clock.rate

    @property
    def lag_s(self) -> float:
        """How much later than the quickest row the newest one came."""
        return self._clock.lag_s

    def expect(self, time_s: float, now_s: float) -> None:
        """Note that a row with this timestamp has arrived, before it and those before it are placed."""
        self._clock.expect(time_s, now_s)

    def place(self, times_s: Array | None, count: int, now_s: float) -> Array:
        """The session's times, float64 (count,), of rows that arrived together at `now_s`.

        Args:
            times_s: the sender's timestamps, finite; None where there are none.
            count: how many rows there are; more than 0.
            now_s: when they arrived.
        """
        if times_s is None:
            since_s = max(self._came_s, now_s - _MOST_SPREAD_S)
            self._came_s = now_s
            return since_s + (now_s - since_s) * np.arange(1, count + 1, dtype=np.float64) / count
        newest_s = float(times_s.max())
        end_s = self._clock.place(newest_s, now_s)
        if self._is_late_for_good(newest_s, now_s):
            self._clock, self._late_since_s = StreamClock(follows_rate=True), None
            end_s = self._clock.place(newest_s, now_s)
        placed_s: Array = end_s + (times_s - newest_s) / self._clock.rate
        if newest_s < self._newest_s - JUMP_S:  # its clock was set back: nothing follows what was before
            self._newest_s = -np.inf
        follows = times_s >= self._newest_s
        placed_s[follows] = np.maximum(placed_s[follows], self._placed_s)
        if newest_s >= self._newest_s:
            self._newest_s, self._placed_s = newest_s, max(self._placed_s, float(placed_s[follows].max()))
        self._came_s = now_s
        return placed_s

    def _is_late_for_good(self, newest_s: float, now_s: float) -> bool:
        """Whether timestamps stand still, or have been behind for longer than what a link held up takes to arrive."""
        if self._clock.lag_s <= JUMP_S:
            self._late_since_s = None
            return False
        if self._late_since_s is None:
            self._late_since_s = now_s
        return newest_s <= self._newest_s or now_s - self._late_since_s > _LATE_S


class RecentRows:
    """Recognises rows that come twice, as from two bridges between the same networks: same timestamp, same numbers.

    Example:
        >>> recent = RecentRows()
        >>> recent.are_new(np.array([1.0, 2.0]), np.array([[5.0], [6.0]])).tolist()
        [True, True]
        >>> recent.are_new(np.array([2.0, 2.0, 3.0]), np.array([[6.0], [7.0], [7.0]])).tolist()
        [False, True, True]
    """

    def __init__(self) -> None:
        self._times_s: Array = np.zeros(0)
        self._rows: Array = np.zeros((0, 0))

    def are_new(self, times_s: Array, rows: Array) -> Array:
        """Which of some rows are new, bool (n,).

        Args:
            times_s: their timestamps by the sender, float64 (n,).
            rows: float32 (n, channels).
        """
        known = len(self._times_s)
        self._times_s = np.concatenate([self._times_s, times_s])
        self._rows = np.concatenate([self._rows, rows]) if known else rows
        new: Array = np.ones(len(times_s), bool)
        for at in np.flatnonzero(_came_before(self._times_s)[known:]):
            before = slice(0, known + int(at))
            same = self._rows[before][self._times_s[before] == times_s[at]]
            new[at] = not (same == rows[at]).all(axis=1).any()
        self._times_s, self._rows = self._times_s[-_REMEMBERED:], self._rows[-_REMEMBERED:]
        return new


def _came_before(times_s: Array) -> Array:
    """Which of some times stand among those before them, bool (n,)."""
    order = np.argsort(times_s, kind="stable")
    again = np.zeros(len(times_s), bool)
    again[order[1:]] = np.diff(times_s[order]) == 0
    return again

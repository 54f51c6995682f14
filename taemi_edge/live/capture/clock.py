"""Places the timestamps of a source on the clock of the session.

The timestamps of cameras cannot be trusted: they may be an hour old, lie next year, start from 0 with each connection
or run a little too fast. What can be trusted is when data arrives; timestamps only say how the pieces of one stream
follow each other.
"""

from __future__ import annotations

import math
import time
from collections import deque
from itertools import pairwise

#: The smallest delay seen over this long counts as none: so a clock that drifts is followed, and jitter is not.
MEMORY_S = 10.0
_BUCKET_S = 1.0
#: Timestamps that differ from the time that passed by more than this have jumped: the stream starts anew.
JUMP_S = 1.0
#: A stream that has not run further ahead than it was for so long is live; a frame of a slow camera is no burst.
_CALM_S = 0.06
_GROWS_S = 0.02
#: A time above this is Unix time: no session lasts so long.
_UNIX_TIME = 1e9
#: No clock runs faster or slower than this, and no item comes so much too soon.
_MOST_RATE, _TOO_SOON_S = 30.0, 0.25
#: Of so long and so many points a rate is made, at the soonest after so long.
_RATE_MEMORY_S, _RATE_BUCKET_S, _FEWEST_POINTS, _RATE_AFTER_S = 4.0, 0.2, 4, 0.6


class SessionClock:
    """Seconds since the session began, on the monotonic clock: setting the machine's time does not move it."""

    def __init__(self) -> None:
        self._start_s = time.monotonic()

    def now_s(self) -> float:
        """Seconds since the session began."""
        return time.monotonic() - self._start_s

    def of_unix(self, unix_s: float) -> float:
        """The session's time of a moment of the wall clock, as far as the wall clock is right at this moment."""
        return self.now_s() - (time.time() - unix_s)

    def of_given(self, time_s: float) -> float:
        """The session's time of what a sender says: seconds of the session, or Unix time (anything above 10^9)."""
        return self.of_unix(time_s) if time_s > _UNIX_TIME else time_s


class Backlog:
    """Recognises the burst at the beginning of a connection: its timestamps run ahead of the clock.

    To find out what a stream holds, FFmpeg reads a second or two of it, and then gives all of that at once.

    Args:
        most_s: no burst lasts longer than this; timestamps that run ahead for longer run at another rate.

    Example:
        >>> backlog = Backlog()
        >>> [backlog.holds("video", pts_s, now_s) for pts_s, now_s in ((0.0, 5.0), (1.0, 5.01), (1.04, 5.08))]
        [True, True, False]
    """

    def __init__(self, most_s: float = math.inf) -> None:
        self._most_s = most_s
        self._first: dict[str, tuple[float, float]] = {}
        self._ahead_s: dict[str, float] = {}
        self._begun_s = self._grew_s = math.inf

    def holds(self, stream: str, pts_s: float | None, now_s: float) -> bool:
        """Whether the item that came just now, and those before it, may still belong to the burst.

        Args:
            stream: which stream of the connection.
            pts_s: its timestamp in seconds; None where it has none.
            now_s: when it came, in seconds of the session.
        """
        if self._begun_s > now_s:
            self._begun_s = self._grew_s = now_s
        if pts_s is not None:
            first_pts_s, first_s = self._first.setdefault(stream, (pts_s, now_s))
            ahead_s = (pts_s - first_pts_s) - (now_s - first_s)
            if ahead_s > self._ahead_s.get(stream, 0.0) + _GROWS_S:
                self._ahead_s[stream], self._grew_s = ahead_s, now_s
        return now_s - self._grew_s < _CALM_S and now_s - self._begun_s < self._most_s


class StreamClock:
    """Places one stream of one connection on the session clock.

    A timestamp plus the smallest delay of the last ten seconds is its time: nothing lies in the future, the quickest
    packets lie where they arrived, and late ones earlier.

    The clock of a camera runs as fast as ours, so a delay that grows is a link that is too slow. Messages of robots may
    come from a simulation, or from a recording that is played at another speed. Their timestamps then follow each other
    faster or slower than they arrive, and `follows_rate` says that this is no delay.

    Args:
        follows_rate: whether timestamps may run at another rate than the clock.

    Attributes:
        lag_s: how much later than the quickest packet the newest one came.
        rate: how many seconds of timestamps pass in a second; 1.0 as long as it is about that.

    Example:
        >>> clock = StreamClock()
        >>> [round(clock.place(pts, now), 6) for pts, now in ((90.0, 1.0), (90.2, 1.3), (90.4, 1.4))]
        [1.0, 1.2, 1.4]
    """

    def __init__(self, follows_rate: bool = False) -> None:
        self._smallest: deque[tuple[float, float]] = deque()  # bucket's start, its smallest delay
        self._last: tuple[float, float] | None = None
        self._quickest = QuickestArrivals() if follows_rate else None
        self.lag_s, self.rate = 0.0, 1.0

    def expect(self, pts_s: float, now_s: float) -> None:
        """Note that an item with this timestamp has arrived, before it and those before it are placed."""
        self._remember(now_s - pts_s, now_s)

    def place(self, pts_s: float | None, now_s: float) -> float:
        """The session's time of an item with timestamp `pts_s` that arrived at `now_s`; without one, its arrival."""
        if pts_s is None:
            return now_s
        if self._has_jumped(pts_s, now_s):
            self._smallest.clear()
            if self._quickest is not None:
                self._quickest = QuickestArrivals()
        self._last = (pts_s, now_s)
        time_s = pts_s + self._remember(now_s - pts_s, now_s)
        if self._quickest is not None:
            self._quickest.add(pts_s, now_s)
            time_s = min(now_s, self._quickest.arrival_s(pts_s, otherwise_s=time_s))
            self.rate = self._quickest.rate
        self.lag_s = now_s - time_s
        return time_s

    def _has_jumped(self, pts_s: float, now_s: float) -> bool:
        if self._last is None:
            return False
        if self._quickest is not None and self._quickest.arrival_s(pts_s, otherwise_s=now_s) > now_s + _TOO_SOON_S:
            return True  # nothing comes before it can, unless timestamps run faster now
        follows_s, passed_s = pts_s - self._last[0], now_s - self._last[1]
        return abs(follows_s - passed_s) > JUMP_S and not 0 <= follows_s <= JUMP_S

    def _remember(self, delay_s: float, now_s: float) -> float:
        if not self._smallest or now_s - self._smallest[-1][0] >= _BUCKET_S:
            self._smallest.append((now_s, delay_s))
        elif delay_s < self._smallest[-1][1]:
            self._smallest[-1] = (self._smallest[-1][0], delay_s)
        while now_s - self._smallest[0][0] > MEMORY_S:
            self._smallest.popleft()
        return min(delay for _, delay in self._smallest)


class QuickestArrivals:
    """The line of the quickest packets of the last seconds: when a timestamp arrives that nothing holds up.

    Timestamps and arrivals are points; no packet arrives before it could, so the line lies under all of them, and the
    edge of their lower hull under their middle is the one that fits best (S. Moon, P. Skelly and D. Towsley,
    "Estimation and removal of clock skew from network delay measurements", INFOCOM 1999). Half of the points have to
    lie on the new line before a rate has changed: a link that hangs for a second changes nothing.

    Example:
        >>> arrivals = QuickestArrivals()
        >>> for at in range(8):
        ...     arrivals.add(pts_s=100 + at * 0.2, now_s=7 + at * 0.4)
        >>> round(arrivals.rate, 6), round(arrivals.arrival_s(101.5, otherwise_s=0.0), 6)
        (0.5, 10.0)
    """

    def __init__(self) -> None:
        self._points: deque[tuple[float, float]] = deque()  # of each bucket the timestamp and arrival that came soonest
        self._begun_s = 0.0
        self._line: tuple[float, float, float] | None = None  # its rate, and a timestamp with its arrival

    @property
    def rate(self) -> float:
        """How many seconds of timestamps pass in a second; 1.0 where too little is known."""
        return self._line[0] if self._line is not None else 1.0

    def arrival_s(self, pts_s: float, otherwise_s: float) -> float:
        """When an item with this timestamp arrives that nothing holds up; `otherwise_s` where too little is known."""
        if self._line is None:
            return otherwise_s
        return self._line[2] + (pts_s - self._line[1]) / self._line[0]

    def add(self, pts_s: float, now_s: float) -> None:
        """Note an item."""
        if self._points and now_s - self._begun_s < _RATE_BUCKET_S:
            kept_pts_s, kept_s = self._points[-1]
            if (pts_s - kept_pts_s) / self.rate > now_s - kept_s:
                self._points[-1] = (pts_s, now_s)
                self._line = self._fitted()
            return
        self._begun_s = now_s
        self._points.append((pts_s, now_s))
        while len(self._points) > _FEWEST_POINTS and now_s - self._points[0][1] > _RATE_MEMORY_S:
            self._points.popleft()
        self._line = self._fitted()

    def _fitted(self) -> tuple[float, float, float] | None:
        points = self._points
        if len(points) < _FEWEST_POINTS or points[-1][1] - points[0][1] < _RATE_AFTER_S:
            return None
        middle_s = sum(pts_s for pts_s, _ in points) / len(points)
        hull = list[tuple[float, float]]()
        for point in sorted(points):
            while len(hull) > 1 and _turns_down(hull[-2], hull[-1], point):
                hull.pop()
            hull.append(point)
        for (left_pts_s, left_s), (right_pts_s, right_s) in pairwise(hull):
            if right_pts_s >= middle_s and right_s > left_s and right_pts_s > left_pts_s:
                rate = (right_pts_s - left_pts_s) / (right_s - left_s)
                return (rate, left_pts_s, left_s) if 1 / _MOST_RATE <= rate <= _MOST_RATE else None
        return None


def _turns_down(first: tuple[float, float], second: tuple[float, float], third: tuple[float, float]) -> bool:
    """Whether the second point does not lie below the line from the first to the third."""
    across = (second[0] - first[0]) * (third[1] - first[1]) - (second[1] - first[1]) * (third[0] - first[0])
    return across <= 0

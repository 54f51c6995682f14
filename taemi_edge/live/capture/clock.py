"""Places the timestamps of a source on the clock of the session.

The timestamps of cameras cannot be trusted: they may be an hour old, lie next year, start from 0 with each connection
or run a little too fast. What can be trusted is when data arrives; timestamps only say how the pieces of one stream
follow each other.
"""

from __future__ import annotations

import time
from collections import deque

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

    Example:
        >>> backlog = Backlog()
        >>> [backlog.holds("video", pts_s, now_s) for pts_s, now_s in ((0.0, 5.0), (1.0, 5.01), (1.04, 5.08))]
        [True, True, False]
    """

    def __init__(self) -> None:
        self._first: dict[str, tuple[float, float]] = {}
        self._ahead_s: dict[str, float] = {}
        self._grew_s: float | None = None

    def holds(self, stream: str, pts_s: float | None, now_s: float) -> bool:
        """Whether the item that came just now, and those before it, may still belong to the burst.

        Args:
            stream: which stream of the connection.
            pts_s: its timestamp in seconds; None where it has none.
            now_s: when it came, in seconds of the session.
        """
        if self._grew_s is None:
            self._grew_s = now_s
        if pts_s is not None:
            first_pts_s, first_s = self._first.setdefault(stream, (pts_s, now_s))
            ahead_s = (pts_s - first_pts_s) - (now_s - first_s)
            if ahead_s > self._ahead_s.get(stream, 0.0) + _GROWS_S:
                self._ahead_s[stream], self._grew_s = ahead_s, now_s
        return now_s - self._grew_s < _CALM_S


class StreamClock:
    """Places one stream of one connection on the session clock.

    A timestamp plus the smallest delay of the last ten seconds is its time: nothing lies in the future, the quickest
    packets lie where they arrived, and late ones earlier.

    Example:
        >>> clock = StreamClock()
        >>> [round(clock.place(pts, now), 6) for pts, now in ((90.0, 1.0), (90.2, 1.3), (90.4, 1.4))]
        [1.0, 1.2, 1.4]
    """

    def __init__(self) -> None:
        self._smallest: deque[tuple[float, float]] = deque()  # bucket's start, its smallest delay
        self._last: tuple[float, float] | None = None
        #: How much later than the quickest packet the newest one came.
        self.lag_s = 0.0

    def expect(self, pts_s: float, now_s: float) -> None:
        """Note that an item with this timestamp has arrived, before it and those before it are placed."""
        self._remember(now_s - pts_s, now_s)

    def place(self, pts_s: float | None, now_s: float) -> float:
        """The session's time of an item with timestamp `pts_s` that arrived at `now_s`; without one, its arrival."""
        if pts_s is None:
            return now_s
        if self._last is not None:
            follows_s, passed_s = pts_s - self._last[0], now_s - self._last[1]
            if abs(follows_s - passed_s) > JUMP_S and not 0 <= follows_s <= JUMP_S:
                self._smallest.clear()
        self._last = (pts_s, now_s)
        delay_s = now_s - pts_s
        smallest_s = self._remember(delay_s, now_s)
        self.lag_s = delay_s - smallest_s
        return pts_s + smallest_s

    def _remember(self, delay_s: float, now_s: float) -> float:
        if not self._smallest or now_s - self._smallest[-1][0] >= _BUCKET_S:
            self._smallest.append((now_s, delay_s))
        elif delay_s < self._smallest[-1][1]:
            self._smallest[-1] = (self._smallest[-1][0], delay_s)
        while now_s - self._smallest[0][0] > MEMORY_S:
            self._smallest.popleft()
        return min(delay for _, delay in self._smallest)

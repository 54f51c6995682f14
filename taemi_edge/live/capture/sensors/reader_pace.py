"""Keeps the thread of a reader from taking a processor that the run needs, however much is sent to it."""

from __future__ import annotations

import time

from taemi_edge.live.pace import Pace

#: How much of a processor one reader may take, and how much at once, in seconds.
_PROCESSOR_SHARE, _BURST_S = 0.6, 0.3
#: A rest that is longer than this says that more comes than there is time for.
_FLOOD_S = 0.01


class ReaderPace:
    """Says how long a reader rests before it fetches more. Used by the thread that reads alone.

    Example:
        >>> ReaderPace().rest_s()  # nothing was used yet
        0.0
    """

    def __init__(self) -> None:
        self._pace = Pace(_PROCESSOR_SHARE, _BURST_S, most_debt=1.0)
        self._used_s: float | None = None

    def rest_s(self) -> float:
        """How long to rest after what this thread has used of a processor since it was last asked."""
        used_s = time.thread_time()
        before_s = used_s if self._used_s is None else self._used_s
        self._used_s = used_s
        return self._pace.wait_s(used_s - before_s, time.monotonic())


def is_flood(rest_s: float) -> bool:
    """Whether so long a rest means that more comes than can be read."""
    return rest_s > _FLOOD_S

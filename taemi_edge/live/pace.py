"""Makes whoever asks for more than its share wait."""

from __future__ import annotations

import threading


class Pace:
    """Says how long to wait after something was used: seconds of a processor, or requests. Safe in several threads.

    Args:
        per_second: how much may be used in each second.
        burst: how much may be used at once.
        most_debt: no more than this is held against anybody, however much was asked for and given up.

    Example:
        >>> pace = Pace(per_second=0.25, burst=1.0)
        >>> [pace.wait_s(1.0, now_s=10.0), pace.wait_s(0.5, now_s=10.0), pace.wait_s(0.0, now_s=12.0)]
        [0.0, 2.0, 0.0]
    """

    def __init__(self, per_second: float, burst: float, most_debt: float = 1e9) -> None:
        self._per_second, self._burst, self._most_debt = per_second, burst, most_debt
        self._left, self._at_s = burst, -1e9
        self._lock = threading.Lock()

    def wait_s(self, used: float, now_s: float) -> float:
        """How long to wait after so much was used."""
        with self._lock:
            earned = (now_s - self._at_s) * self._per_second
            self._left = max(min(self._left + earned, self._burst) - used, -self._most_debt)
            self._at_s = now_s
            return max(0.0, -self._left / self._per_second)

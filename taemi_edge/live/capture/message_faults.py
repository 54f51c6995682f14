"""Remembers why the messages of a sensor or a topic cannot be used, for as long as they cannot.

One bad message among good ones is no loss. Where nothing else comes, "nothing came" would send people to look for a
broken cable, while the sensor sends numbers that do not fit.
"""

from __future__ import annotations

from taemi_edge.live.capture.readers import Track


class MessageFaults:
    """What is wrong with the messages that come.

    Args:
        lost_after_s: for how long a bad message explains why nothing usable comes, in seconds.

    Example:
        >>> faults = MessageFaults(lost_after_s=1.25)
        >>> faults.bad("expected 6 numbers, got 3", now_s=0.0)
        >>> faults.reason(now_s=9.0)
        'expected 6 numbers, got 3'
        >>> faults.good()
        >>> faults.reason(now_s=9.0) is None
        True
    """

    def __init__(self, lost_after_s: float) -> None:
        self._lost_after_s = lost_after_s
        self._reason: str | None = None
        self._came_s = 0.0
        self.any_good = False

    def good(self) -> None:
        """A message could be used."""
        self._reason, self.any_good = None, True

    def bad(self, reason: str, now_s: float) -> None:
        """A message that came at `now_s` could not be used."""
        self._reason, self._came_s = reason, now_s

    def reason(self, now_s: float) -> str | None:
        """Why what comes cannot be used; None where it can, or where nothing comes any more that once could."""
        if self.any_good and now_s - self._came_s > self._lost_after_s:
            return None
        return self._reason

    def tell(self, now_s: float, unusable: dict[Track, str], track: Track) -> None:
        """Write the reason of this moment down for a track, or take it away."""
        if (reason := self.reason(now_s)) is None:
            unusable.pop(track, None)
        else:
            unusable[track] = reason

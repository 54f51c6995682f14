"""Knows when messages come of which none can be used: another loss than silence, with another reason."""

from __future__ import annotations

from taemi_edge.live.capture.readers import Track


class UnusableMessages:
    """Tells whether a stream is lost because what comes of it cannot be used.

    Args:
        lost_after_s: for how long nothing usable must have come, in seconds.
        may_pause: whether silence is no loss, as of words: then a bad message is one only as long as none was good.

    Example:
        >>> unusable = UnusableMessages(lost_after_s=1.0, may_pause=False)
        >>> unusable.note_bad("expected 3 numbers, got 2", now_s=5.0)
        >>> unusable.problem(now_s=5.1), unusable.problem(now_s=6.5)
        ('expected 3 numbers, got 2', None)
        >>> unusable.note_good(now_s=7.0)
        >>> unusable.note_bad("expected 3 numbers, got 2", now_s=7.1)
        >>> unusable.problem(now_s=7.2) is None
        True
    """

    def __init__(self, lost_after_s: float, may_pause: bool) -> None:
        self._lost_after_s, self._may_pause = lost_after_s, may_pause
        self._good_s: float | None = None
        self._bad: tuple[float, str] | None = None

    @property
    def any_good(self) -> bool:
        """Whether anything usable ever came."""
        return self._good_s is not None

    def tell(self, now_s: float, losses: dict[Track, str], unusable: dict[Track, str], track: Track) -> None:
        """Write the problem of this moment down, or take it away.

        Before anything usable came it is a loss. Afterwards it explains a silence: how long a sensor may pause between
        two good messages is known elsewhere.
        """
        problem = self.problem(now_s)
        for told, holds in ((losses, not self.any_good), (unusable, self.any_good)):
            if problem is None or not holds:
                told.pop(track, None)
            else:
                told[track] = problem

    @property
    def nothing_came(self) -> bool:
        """Whether neither good nor bad messages have come."""
        return self._good_s is None and self._bad is None

    def note_good(self, now_s: float) -> None:
        """Note that something usable came."""
        self._good_s = now_s

    def note_bad(self, why: str, now_s: float) -> None:
        """Note that something came which cannot be used."""
        self._bad = now_s, self.problem(now_s) or why  # one reason, however many differ in their numbers

    def problem(self, now_s: float) -> str | None:
        """Why what comes cannot be used; None where some of it can, or nothing comes any more."""
        if self._bad is None or (self._good_s is not None and now_s - self._good_s <= self._lost_after_s):
            return None
        noted_s, why = self._bad
        goes_on = self._good_s is None if self._may_pause else now_s - noted_s <= self._lost_after_s
        return why if goes_on else None

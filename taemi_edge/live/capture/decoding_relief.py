"""How far a reader falls behind in, how much of the picture it decodes out: less in time beats all of it too late.

0  everything
1  no frames that no other needs
2  nor those; and what comes in while it is behind all the same is left out, up to the next key frame
"""

from __future__ import annotations

from typing import Literal

Level = Literal[0, 1, 2]

#: Who waits for data less than the rest of this share of the time cannot keep up.
BUSY = 0.9
#: Further behind than this is behind.
BEHIND_S = 0.3
_MOST: Level = 2
_PATIENCE_S = 30.0
_MOST_PATIENCE_S = 3600.0


class Relief:
    """Judges one connection, once a second or so.

    A machine that was busy with something else decodes all again after half a minute of calm, after twice as long each
    time that this was too much.

    Example:
        >>> relief = Relief()
        >>> [relief.judge(busy=1.0, lag_s=lag_s, now_s=now_s) for now_s, lag_s in enumerate((0.1, 0.5, 0.9, 0.4))]
        [0, 1, 2, 2]
    """

    def __init__(self) -> None:
        self.level: Level = 0
        self._lag_s = 0.0
        self._calm_since_s: float | None = None
        self._patience_s = _PATIENCE_S
        self._lowered_s: float | None = None

    def judge(self, busy: float, lag_s: float, now_s: float) -> Level:
        """The level from now on.

        Args:
            busy: the share of the time since the last call in which the reader did not wait for data.
            lag_s: how much later than the quickest ones packets are taken in.
        """
        catches_up, self._lag_s = lag_s < self._lag_s - 0.1, lag_s
        if busy > BUSY and lag_s > BEHIND_S:
            self._calm_since_s = None
            if not catches_up and self.level < _MOST:
                self._raise(now_s)
        elif self.level:
            self._calm_since_s = now_s if self._calm_since_s is None or lag_s > BEHIND_S else self._calm_since_s
            if now_s - self._calm_since_s >= self._patience_s:
                self.level = 0
                self._lowered_s, self._calm_since_s = now_s, None
        return self.level

    def _raise(self, now_s: float) -> None:
        if self._lowered_s is not None and now_s - self._lowered_s < self._patience_s:
            self._patience_s = min(self._patience_s * 2, _MOST_PATIENCE_S)
            self._lowered_s = None
        self.level = 1 if self.level == 0 else 2

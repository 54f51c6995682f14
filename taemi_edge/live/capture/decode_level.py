"""Decodes less of a picture where a machine is too slow to decode all of it in time.

A part of the picture in time is worth more than all of it too late. The levels:

0  everything is decoded
1  frames that no other frame needs are left out
2  those too; and what comes while the reader is behind all the same is left out, up to the next key frame
"""

from __future__ import annotations

from typing import Literal

DecodeLevel = Literal[0, 1, 2]

#: A reader that decodes for more than this share of the time cannot keep up.
BUSY = 0.9
#: A reader whose packets lag by more than this is behind.
BEHIND_S = 0.3
_MOST: DecodeLevel = 2
_PATIENCE_S = 30.0
_MOST_PATIENCE_S = 3600.0


class DecodeLevelControl:
    """Chooses the level of decoding for one address; to be asked about once a second.

    A machine that was busy with something else decodes all again after half a minute of calm. Each time that this was
    too much, it waits twice as long before the next attempt.

    Example:
        >>> control = DecodeLevelControl()
        >>> [control.judge(busy=1.0, lag_s=lag_s, now_s=now_s) for now_s, lag_s in enumerate((0.1, 0.5, 0.9, 0.4))]
        [0, 1, 2, 2]
    """

    def __init__(self) -> None:
        self.level: DecodeLevel = 0
        self._lag_s = 0.0
        self._calm_since_s: float | None = None
        self._patience_s = _PATIENCE_S
        self._lowered_s: float | None = None

    def judge(self, busy: float, lag_s: float, now_s: float) -> DecodeLevel:
        """The level from now on.

        Args:
            busy: the share of the time since the last call in which the reader did not wait for data.
            lag_s: how much later than the quickest packets the newest one was read, in seconds.
            now_s: the time of the session, in seconds.
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

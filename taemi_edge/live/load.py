"""Decides what is left out when a machine cannot carry its sources, and when all of it is tried again.

First the encoders of pictures run on fewer frames, never on less than one a hop; then hops become longer, up to four
times as long. A ladder of levels goes from all to least. `LoadControl` climbs it while hops take longer than there is
time, and comes down one step after some seconds of calm; where a step down was too much, it waits twice as long before
the next attempt. Nothing here reads a clock: callers pass the time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from taemi_edge.bundle.streams import VideoSpec

#: A hop that takes more than this share of its time is too much.
FULL = 0.9
#: There is room for a step down where hops take less than this.
ROOM = 0.6
#: One slow hop is no load: so many in a row are, over at least so many seconds.
_HOPS_AT_FIRST, _SECONDS_AT_FIRST = 3, 3.0
_HOPS_LATER = 2
#: Hops that take this many times too long need not be waited for as often.
_FAR_TOO_MUCH = 4.0
CALM_S = 10.0
MOST_CALM_S = 600.0
#: A hop is stretched four times at most, and to no more than this many seconds.
MOST_STRETCH, LONGEST_HOP_S = 4, 5.0
#: Frames do not lie further apart than this share of the silence after which their stream is missing.
_OF_SILENCE = 0.7


@dataclass(frozen=True)
class Level:
    """How much is done.

    Attributes:
        frames_share: the share of the frames that encoders run on.
        stretch: how many of the configured hops make one.
    """

    frames_share: float = 1.0
    stretch: int = 1


ALL = Level()


class LoadEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="load"):
    """A run began to leave something out, leaves out more or less, or does all again.

    Attributes:
        time_s: when, in seconds of the session.
        degraded: whether anything is left out or late from now on.
        frames_share: the share of the frames that encoders run on.
        hop_s: the time between two predictions.
        reason: why; None where all is done again.

    Example:
        >>> event = LoadEvent(time_s=9.5, degraded=True, frames_share=0.5, hop_s=0.5, reason="hops of 0.5 s took 1.2 s")
        >>> print(event)
        load: hops of 0.5 s took 1.2 s: encoding 50 % of the frames, a prediction every 0.5 s
    """

    time_s: float
    degraded: bool
    frames_share: float
    hop_s: float
    reason: str | None

    def to_json(self) -> str:
        """One line, without the line end."""
        return msgspec.json.encode(self).decode()

    def __str__(self) -> str:
        what = f"encoding {self.frames_share:.0%} of the frames, a prediction every {self.hop_s:g} s"
        return f"load: {self.reason or 'there is room again'}: {what}".replace("%", " %")


def ladder(hop_s: float, window_s: float, videos: Sequence[VideoSpec]) -> tuple[Level, ...]:
    """The levels from all to least.

    Args:
        hop_s: the configured time between two predictions.
        window_s: how far a prediction looks back; no hop is longer, or data would be lost.
        videos: the video streams of the model.

    Example:
        >>> [level.stretch for level in ladder(0.5, 4.0, [])]
        [1, 2, 4]
    """
    levels = [ALL]
    stretches = [n for n in (2, MOST_STRETCH) if n * hop_s <= min(window_s, max(LONGEST_HOP_S, hop_s)) + 1e-9]
    if videos:
        rate = max(video.frames_per_second for video in videos)
        least = max(1 / (v.frames_per_second * v.presence.missing_after_s * _OF_SILENCE) for v in videos)
        share = 0.5
        while share * rate * hop_s > 1 and share > least:
            levels.append(Level(share))
            share /= 2
        for stretch in (1, *stretches):
            share = min(levels[-1].frames_share, max(least, 1 / (rate * hop_s * stretch)))
            if Level(share, stretch) != levels[-1]:
                levels.append(Level(share, stretch))
    else:
        levels += [Level(1.0, stretch) for stretch in stretches]
    return tuple(levels)


class LoadControl:
    """Chooses the level by how long hops take.

    Args:
        hop_s: the configured time between two predictions.
        levels: from all to least; one alone leaves nothing out, and only says what is wrong.

    Attributes:
        reason: why not all is done in time; None while it is.
        last_reason: the same, kept when there is room again.
        changes: how often the level changed.
        degraded_s: for how long not all was done in time.

    Example:
        >>> control = LoadControl(0.5, ladder(0.5, 4.0, []))
        >>> [control.judge(1.2, now_s) for now_s in (1.2, 2.4, 3.6)]
        [False, False, True]
        >>> control.level.stretch, control.reason
        (4, 'hops of 0.5 s took 1.2 s')
    """

    def __init__(self, hop_s: float, levels: Sequence[Level] = (ALL,)) -> None:
        self._hop_s, self._levels = hop_s, tuple(levels)
        self._at = 0
        self.reason: str | None = None
        self.last_reason: str | None = None
        self.changes = 0
        self.degraded_s = 0.0
        self._over: list[float] = []
        self._over_since_s = 0.0
        self._calm_since_s: float | None = None
        self._calm_s = CALM_S
        self._lowered_s: float | None = None
        self._well_since_s = 0.0
        self._judged_s: float | None = None
        #: The first hop after a step holds what waited before it.
        self._skip = False

    @property
    def level(self) -> Level:
        """How much is done at the moment."""
        return self._levels[self._at]

    @property
    def hop_s(self) -> float:
        """The time between two predictions at the moment."""
        return self._hop_s * self.level.stretch

    def judge(self, busy_s: float, now_s: float) -> bool:
        """Take in a hop; returns whether the level or the reason changed.

        Args:
            busy_s: how long it took, or how late it was ready, whichever is more.
            now_s: the time of the session.
        """
        if self.reason is not None and self._judged_s is not None:
            self.degraded_s += now_s - self._judged_s
        self._judged_s = now_s
        before = self._at, self.reason is None
        skip, self._skip = self._skip, False
        if busy_s > FULL * self.hop_s:
            self._calm_since_s = None
            if not skip:
                self._note_over(busy_s, now_s)
        else:
            self._over.clear()
            self._note_room(busy_s, now_s)
        self.changes += self._at != before[0]
        return before != (self._at, self.reason is None)

    def _note_over(self, busy_s: float, now_s: float) -> None:
        if not self._over:
            self._over_since_s = now_s - busy_s
        self._over.append(busy_s / self.hop_s)
        least = min(self._over)
        at_first = self.reason is None and least < _FAR_TOO_MUCH
        if len(self._over) < (_HOPS_AT_FIRST if at_first else _HOPS_LATER):
            return
        if at_first and now_s - self._over_since_s < _SECONDS_AT_FIRST:
            return
        self._step_up(least, busy_s, now_s)

    def _step_up(self, times: float, busy_s: float, now_s: float) -> None:
        if self._lowered_s is not None and now_s - self._lowered_s < self._calm_s:
            self._calm_s = min(self._calm_s * 2, MOST_CALM_S)
        elif self.reason is None and now_s - self._well_since_s > MOST_CALM_S:
            self._calm_s = CALM_S
        self._lowered_s = None
        self.reason = self.last_reason = f"hops of {self.hop_s:g} s took {busy_s:.1f} s"
        steps = 1 + int(math.log2(max(1.0, times)))  # a step halves the work at best
        self._at = min(self._at + steps, len(self._levels) - 1)
        self._over.clear()
        self._skip = True

    def _note_room(self, busy_s: float, now_s: float) -> None:
        if self.reason is None:
            return
        if busy_s > (ROOM if self._at else FULL) * self.hop_s:
            self._calm_since_s = None
            return
        if self._calm_since_s is None:
            self._calm_since_s = now_s
        if now_s - self._calm_since_s >= self._calm_s:
            self._step_down(now_s)

    def _step_down(self, now_s: float) -> None:
        self._at = max(0, self._at - 1)
        self._lowered_s, self._calm_since_s = now_s, None
        if self._at == 0:
            self.reason, self._well_since_s = None, now_s

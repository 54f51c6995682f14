"""Finds pictures and sound that arrive and are useless: a frozen or black picture, and digital silence.

A sensor always adds noise. A picture that equals the last one bit for bit, or sound that is zero throughout, comes from
a camera or a microphone that has failed while its stream goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.live.capture.settings import WatchSettings
from taemi_edge.media.hops import Frame, SoundPiece

log = logging.getLogger("taemi_edge.live")

#: From 0 to 255: a picture that is nowhere brighter is black. The black of limited-range video is 0 once converted.
_BLACK = 20
#: Two steps of 16-bit sound; a codec's own noise stays below.
_SILENCE = 2 / 32_768
_STRIDE = 4


class PictureCheck:
    """Finds frozen, black and unreadable pictures of one source.

    Args:
        settings: how long a frozen or black picture counts as good.
    """

    def __init__(self, settings: WatchSettings) -> None:
        self._settings = settings
        self._last: Array | None = None
        self._same_since_s: float | None = None
        self._black_since_s: float | None = None

    def usable(self, frames: Sequence[Frame]) -> tuple[list[Frame], str | None]:
        """The frames that can be used, and what is wrong with the newest one; None where it is good.

        Args:
            frames: what came since the last call, in the order of time.
        """
        usable, reason = [], None
        for frame in frames:
            reason = self._problem(frame)
            if reason is None:
                usable.append(frame)
        return usable, reason

    def _problem(self, frame: Frame) -> str | None:
        try:
            thumbnail = frame.image[::_STRIDE, ::_STRIDE]
        except Exception:  # whatever a strange pixel format sets off
            log.debug("a picture cannot be converted", exc_info=True)
            return "its picture cannot be converted"
        same = self._last is not None and np.array_equal(thumbnail, self._last)
        black = int(thumbnail.max(initial=0)) <= _BLACK
        self._last = thumbnail.copy()
        self._same_since_s = _since(self._same_since_s, same, frame.time_s)
        self._black_since_s = _since(self._black_since_s, black, frame.time_s)
        if self._black_since_s is not None and frame.time_s - self._black_since_s >= self._settings.black_after_s:
            return "black picture"
        if self._same_since_s is not None and frame.time_s - self._same_since_s >= self._settings.frozen_after_s:
            return "frozen picture"
        return None


class SoundCheck:
    """Finds digital silence in the sound of one source.

    Args:
        settings: how long silence counts as good.
    """

    def __init__(self, settings: WatchSettings) -> None:
        self._settings = settings
        self._silent_since_s: float | None = None

    def usable(self, samples: Sequence[SoundPiece]) -> tuple[list[SoundPiece], str | None]:
        """The pieces that can be used, and what is wrong with the newest one; None where it is good.

        Args:
            samples: what came since the last call, in the order of time.
        """
        usable, reason = [], None
        for piece in samples:
            silent = not len(piece.values) or float(np.abs(piece.values).max()) <= _SILENCE
            self._silent_since_s = _since(self._silent_since_s, silent, piece.time_s)
            lasting = (
                self._silent_since_s is not None
                and piece.time_s - self._silent_since_s >= self._settings.silent_after_s
            )
            reason = "digital silence" if lasting else None
            if not lasting:
                usable.append(piece)
        return usable, reason


def _since(since_s: float | None, holds: bool, time_s: float) -> float | None:
    """Since when something holds, in seconds; None where it does not."""
    if not holds:
        return None
    return time_s if since_s is None else since_s

"""Finds pictures and sound that arrive and are useless: a frozen or black picture, and digital silence.

A sensor always adds noise. A picture that equals the last one bit for bit, or sound that is zero throughout, comes from
a camera or a microphone that has failed while its stream goes on. The rule is one for live sources and for files: a
recording of a failed microphone is as silent as the microphone was.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.media.hops import Frame, Hop, SoundPiece

log = logging.getLogger("taemi_edge.media")

#: From 0 to 255: a picture that is nowhere brighter is black. The black of limited-range video is 0 once converted.
_BLACK = 20
#: Two steps of 16-bit sound; a codec's own noise stays below.
_SILENCE = 2 / 32_768
#: Of a large picture, every fourth pixel of every fourth row is compared; of one with a side below this, all are.
_STRIDE, _LARGE = 4, 128


class Limits(Protocol):
    """How long the same picture, a black one, or digital silence counts as good data, in seconds."""

    @property
    def frozen_after_s(self) -> float: ...

    @property
    def black_after_s(self) -> float: ...

    @property
    def silent_after_s(self) -> float: ...


@dataclass(frozen=True)
class ContentLimits:
    """The limits of files; those of live sources are the same, and a configuration may change them.

    Attributes:
        frozen_after_s, black_after_s, silent_after_s: see `Limits`.
    """

    frozen_after_s: float = 1.5
    black_after_s: float = 1.5
    silent_after_s: float = 1.5


class PictureCheck:
    """Finds frozen, black and unreadable pictures of one source.

    Args:
        settings: how long a frozen or black picture counts as good.
    """

    def __init__(self, settings: Limits) -> None:
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
            thumbnail = _thumbnail(frame.image)
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

    def __init__(self, settings: Limits) -> None:
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


class ContentWatch:
    """Takes what is useless out of the hops of a source, and says which streams are lost for it.

    Args:
        limits: how long frozen and black pictures and silence count as good.

    Example:
        >>> watch = ContentWatch(ContentLimits())
        >>> silence = [SoundPiece(second / 10, np.zeros(1600, np.float32)) for second in range(20)]
        >>> watch.checked(Hop(2.0, {"ear": silence})).losses
        {'ear': 'digital silence'}
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._checks: dict[str, PictureCheck | SoundCheck] = {}
        self._useless: dict[str, str] = {}

    def checked(self, hop: Hop) -> Hop:
        """The hop without what is useless; a stream stays lost until something good comes of it."""
        pieces = {stream: self._usable(stream, given) for stream, given in hop.pieces.items()}
        return Hop(hop.end_s, pieces, hop.faults, {**self._useless, **hop.losses}, hop.frames_share)

    def _usable(self, stream: str, pieces: list[Any]) -> list[Any]:
        if not pieces or not isinstance(pieces[0], Frame | SoundPiece):
            return pieces
        if stream not in self._checks:
            kind = PictureCheck if isinstance(pieces[0], Frame) else SoundCheck
            self._checks[stream] = kind(self._limits)
        usable, problem = self._checks[stream].usable(pieces)
        if problem is None:
            self._useless.pop(stream, None)
        else:
            self._useless[stream] = problem
        return list(usable)


def _thumbnail(image: Array) -> Array:
    """The pixels of a picture that are compared; a thermal camera of 8 x 8 pixels would have four left of them."""
    return image[::_STRIDE, ::_STRIDE] if min(image.shape[:2]) >= _LARGE else image


def _since(since_s: float | None, holds: bool, time_s: float) -> float | None:
    """Since when something holds, in seconds; None where it does not."""
    if not holds:
        return None
    return time_s if since_s is None else since_s

"""What waits of each stream of a recording until its hop is complete: pictures, sound, rows and words, put in order.

Messages may come out of order and twice. Each feed sorts what waits, keeps one of two that are alike, and leaves out
what comes after its hop was given; only words may be late.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

import av
import numpy as np

from taemi_edge.bundle.streams import AudioSpec, SeriesSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.media.hops import AudioPlacer, Frame, FrameGrid, SoundPiece, Values, take_sound
from taemi_edge.media.messages.readings import PictureReading, Reading, RowReading, SoundReading, TextReading
from taemi_edge.media.transcripts import Word, spread_words

_EPSILON_S = 1e-6
#: How long a word takes to say, where only the end of a text is known: about 170 words a minute.
_WORD_S = 0.35
#: Sound without stamps follows what came before it, unless it was logged so much later or earlier.
_MOST_JITTER_S = 0.5
#: Sound is resampled a little ahead of what is given, since a resampler holds some of it back.
_AHEAD_S = 0.25
#: Of so many pauses between rows or pictures the middle one is the usual one.
_PAUSES = 32
_LONGEST_GAP_S = 1.0


class Feed(Protocol):
    """The data of one stream that waits.

    Attributes:
        newest_s: the time of the newest that came; minus infinity before the first.
        late: how many readings came after their hop.
        lasts: whether the stream has a length, so that a run goes on up to its end.
    """

    newest_s: float
    late: int
    lasts: bool

    def wants(self, time_s: float) -> bool:
        """Whether a reading of this time is needed at all."""

    def add(self, reading: Any, time_s: float, has_stamp: bool) -> None:
        """Add a reading."""

    def take(self, end_s: float) -> list[Any]:
        """The pieces up to a moment, in the order of time."""

    @property
    def end_s(self) -> float:
        """Where the newest ends."""


class PictureFeed:
    """The pictures of a stream; those that no prediction looks at are not kept."""

    lasts = True

    def __init__(self, spec: VideoSpec, every_frame: bool) -> None:
        self._grid = None if every_frame else FrameGrid(spec.frames_per_second)
        self._waiting: dict[float, Frame] = {}
        #: The earliest picture of each slot of the grid that waits.
        self._first_s: dict[int, float] = {}
        self._taken_s, self._gap_s = -math.inf, 0.0
        self.newest_s, self.late = -math.inf, 0

    def wants(self, time_s: float) -> bool:
        if time_s > self.newest_s:
            self._gap_s = min(time_s - self.newest_s, _LONGEST_GAP_S) if self.newest_s > -math.inf else 0.0
            self.newest_s = time_s
        if time_s <= self._taken_s:
            self.late += 1
            return False
        if time_s < 0 or time_s in self._waiting:
            return False
        return self._grid is None or time_s < self._first_s.get(self._grid.slot(time_s), math.inf)

    def add(self, reading: PictureReading, time_s: float, has_stamp: bool) -> None:
        if self.wants(time_s):
            self._waiting[time_s] = Frame(time_s, reading.picture)
            if self._grid is not None:
                slot = self._grid.slot(time_s)
                self._waiting.pop(self._first_s.get(slot, math.inf), None)
                self._first_s[slot] = time_s

    def take(self, end_s: float) -> list[Frame]:
        times = sorted(time_s for time_s in self._waiting if time_s <= end_s + _EPSILON_S)
        self._taken_s = max(self._taken_s, min(end_s, times[-1] if times else self._taken_s))
        frames = [self._waiting.pop(time_s) for time_s in times]
        if self._grid is not None:
            last = self._grid.slot(end_s) if math.isfinite(end_s) else math.inf
            self._first_s = {slot: time_s for slot, time_s in self._first_s.items() if slot >= last}
        return frames

    @property
    def end_s(self) -> float:
        return self.newest_s + self._gap_s


class SoundFeed:
    """The sound of a stream, at the stream's rate."""

    lasts = True

    def __init__(self, spec: AudioSpec) -> None:
        self._rate_hz = spec.sample_rate_hz
        self._placer = AudioPlacer(spec.sample_rate_hz)
        self._held: list[tuple[float, SoundReading]] = []
        self._waiting: deque[SoundPiece] = deque()
        self._placed_s, self._follows_s, self._taken_s = -math.inf, -math.inf, 0.0
        self.newest_s, self.late = -math.inf, 0

    def wants(self, time_s: float) -> bool:
        return True

    def add(self, reading: SoundReading, time_s: float, has_stamp: bool) -> None:
        length_s = len(reading.samples) / reading.rate_hz
        start_s = time_s
        if not has_stamp:  # it was logged when it was complete
            start_s = time_s - length_s
            if abs(start_s - self._follows_s) < _MOST_JITTER_S:
                start_s = self._follows_s
            self._follows_s = start_s + length_s
        if start_s + length_s <= self._placed_s + _EPSILON_S or start_s < self._placed_s - length_s / 2:
            self.late += 1
            return
        if any(abs(held_s - start_s) < _EPSILON_S for held_s, _ in self._held):
            return
        self._held.append((start_s, reading))
        self.newest_s = max(self.newest_s, start_s + length_s)

    def take(self, end_s: float) -> list[SoundPiece]:
        self._held.sort(key=lambda held: held[0])
        while self._held and self._held[0][0] <= end_s + _AHEAD_S:
            self._place(*self._held.pop(0))
        if math.isinf(end_s):
            self._waiting.extend(self._placer.finish())
            end_s = self._placer.until_s + 1.0
        return [kept for piece in take_sound(self._waiting, end_s, self._rate_hz) for kept in self._from_zero(piece)]

    @property
    def end_s(self) -> float:
        return self.newest_s

    def _from_zero(self, piece: SoundPiece) -> list[SoundPiece]:
        """What lies behind the beginning of the source."""
        before = round(-piece.time_s * self._rate_hz)
        if before <= 0:
            return [piece]
        return [SoundPiece(0.0, piece.values[before:])] if before < len(piece.values) else []

    def _place(self, start_s: float, reading: SoundReading) -> None:
        samples = np.ascontiguousarray(reading.samples, np.float32)[None]
        sound = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        sound.sample_rate = reading.rate_hz
        self._placed_s = start_s + samples.shape[1] / reading.rate_hz
        self._waiting.extend(self._placer.place(sound, start_s))


class RowFeed:
    """The rows of a series."""

    def __init__(self, spec: SeriesSpec) -> None:
        self.lasts = spec.rate_hz > 0
        self._times_s: list[float] = []
        self._rows: list[tuple[float, ...]] = []
        self._in_order = True
        self._pauses_s: deque[float] = deque(maxlen=_PAUSES)
        self._taken_s = -math.inf
        self.newest_s, self.late = -math.inf, 0

    def wants(self, time_s: float) -> bool:
        return True

    def add(self, reading: RowReading, time_s: float, has_stamp: bool) -> None:
        if time_s > self.newest_s:
            if self.newest_s > -math.inf:
                self._pauses_s.append(time_s - self.newest_s)
            self.newest_s = time_s
        elif time_s <= self._taken_s:
            self.late += 1
            return
        else:
            self._in_order = False
        if time_s >= 0:
            self._times_s.append(time_s)
            self._rows.append(reading.values)

    def take(self, end_s: float) -> list[Values]:
        if not self._in_order:
            self._sort()
        times_s = np.array(self._times_s, np.float64)
        due = int(np.searchsorted(times_s, end_s + _EPSILON_S, side="right"))
        if not due:
            return []
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is left out where it is read
            rows = np.array(self._rows[:due], np.float32)
        del self._times_s[:due], self._rows[:due]
        self._taken_s = float(times_s[due - 1])
        return [Values(times_s[:due], rows)]

    @property
    def end_s(self) -> float:
        pauses_s = sorted(self._pauses_s)
        return self.newest_s + (pauses_s[len(pauses_s) // 2] if self.lasts and pauses_s else 0.0)

    def _sort(self) -> None:
        """Put what waits in order, and keep one of the rows that came twice."""
        pairs = sorted(zip(self._times_s, self._rows, strict=True), key=lambda pair: pair[0])
        kept: list[tuple[float, tuple[float, ...]]] = []
        for pair in pairs:
            if not kept or pair != kept[-1]:
                kept.append(pair)
        self._times_s, self._rows = [time_s for time_s, _ in kept], [row for _, row in kept]
        self._in_order = True


class WordFeed:
    """The words of a text; those that are late are given with the next hop, and belong where they were said."""

    lasts = False

    def __init__(self, spec: TextSpec) -> None:
        self._waiting: list[Word] = []
        self._known: deque[tuple[float, str]] = deque(maxlen=_PAUSES)
        self.newest_s, self.late = -math.inf, 0

    def wants(self, time_s: float) -> bool:
        return True

    def add(self, reading: TextReading, time_s: float, has_stamp: bool) -> None:
        texts = reading.text.split()
        if not texts or time_s < 0 or (time_s, reading.text) in self._known:
            return
        self._known.append((time_s, reading.text))
        self.newest_s = max(self.newest_s, time_s)
        length_s = _WORD_S * len(texts) if reading.length_s is None else reading.length_s
        self._waiting += spread_words(time_s - max(length_s, 0.01), time_s, texts)

    def take(self, end_s: float) -> list[Word]:
        words = sorted(self._waiting, key=lambda word: word.end_s)
        due = [word for word in words if word.end_s <= end_s + _EPSILON_S]
        self._waiting = words[len(due) :]
        return due

    @property
    def end_s(self) -> float:
        return self.newest_s


def open_feed(spec: StreamSpec, every_frame: bool) -> Feed:
    """The feed for a stream of the model."""
    if isinstance(spec, VideoSpec):
        return PictureFeed(spec, every_frame)
    if isinstance(spec, AudioSpec):
        return SoundFeed(spec)
    return WordFeed(spec) if isinstance(spec, TextSpec) else RowFeed(spec)


def reached_s(feeds: Sequence[Feed]) -> tuple[float, float]:
    """Up to when all streams that do not only come now and then have come, and up to when any has."""
    steady = [feed.newest_s for feed in feeds if not isinstance(feed, WordFeed)] or [feed.newest_s for feed in feeds]
    return min(steady, default=-math.inf), max(steady, default=-math.inf)


def has_stamp(reading: Reading) -> bool:
    """Whether the sender said when it was."""
    return reading.stamp_ns is not None

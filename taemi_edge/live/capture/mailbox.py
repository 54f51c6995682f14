"""Frames and sound of a source, from its capture threads to the runtime: the newest stay, nothing piles up."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

from taemi_edge.media.hops import Frame, FrameGrid, Samples

_EPSILON_S = 1e-6


@dataclass(eq=False)
class Letters:
    """What came up to a moment."""

    frames: list[Frame] = field(default_factory=list)
    samples: list[Samples] = field(default_factory=list)
    audio_fault: str | None = None


class Mailbox:
    """Bounded in time: what is older than `keep_s` when something new comes is thrown away, and counted.

    Args:
        frames_per_second: the grid of frames that are kept; None keeps all.
        keep_s: how long what nobody fetches is kept.
    """

    def __init__(self, sample_rate_hz: int, frames_per_second: float | None, keep_s: float) -> None:
        self._rate_hz, self._keep_s = sample_rate_hz, keep_s
        self._grid = FrameGrid(frames_per_second) if frames_per_second else None
        self._lock = threading.Lock()
        self._frames: deque[Frame] = deque()
        self._samples: deque[Samples] = deque()
        self._fault: str | None = None
        #: The newest frame, for who shows it; it stays until there is a newer one.
        self.newest: Frame | None = None
        self.dropped_frames = 0
        self.dropped_sounds = 0

    def put_frame(self, frame: Frame) -> None:
        with self._lock:
            self.newest = frame
            if self._grid is not None and not self._grid.wants(frame.time_s):
                return
            self._frames.append(frame)
            while self._frames[0].time_s < frame.time_s - self._keep_s:
                self._frames.popleft()
                self.dropped_frames += 1

    def put_sound(self, samples: Samples) -> None:
        with self._lock:
            self._samples.append(samples)
            while self._samples[0].time_s < samples.time_s - self._keep_s:
                self._samples.popleft()
                self.dropped_sounds += 1

    def put_fault(self, reason: str) -> None:
        """Sound came that cannot be used."""
        with self._lock:
            self._fault = reason

    def take(self, end_s: float) -> Letters:
        """What lies at or before `end_s`; a piece of sound that goes beyond is cut."""
        letters = Letters()
        with self._lock:
            while self._frames and self._frames[0].time_s <= end_s + _EPSILON_S:
                letters.frames.append(self._frames.popleft())
            while self._samples:
                first = self._samples[0]
                inside = round((end_s - first.time_s) * self._rate_hz)
                if inside <= 0:
                    break
                self._samples.popleft()
                letters.samples.append(Samples(first.time_s, first.values[:inside]))
                if inside < len(first.values):
                    self._samples.appendleft(Samples(first.time_s + inside / self._rate_hz, first.values[inside:]))
            letters.audio_fault, self._fault = self._fault, None
        return letters

    def forget_newest(self) -> None:
        """The picture is lost: nobody is to be shown an old one."""
        self.newest = None

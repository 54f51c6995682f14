"""The place where a capture's thread leaves frames and sound, and the loop fetches them each hop.

It never grows: where the loop is slow, the newest data stays and the oldest is thrown away and counted.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

from taemi_edge.media.hops import Frame, FrameGrid, Samples

_EPSILON_S = 1e-6


@dataclass(eq=False)
class Arrivals:
    """What `Mailbox.take` gives: everything that came up to a moment.

    Attributes:
        frames: in the order of time.
        samples: in the order of time; the last piece ends at that moment at the latest.
        audio_fault: why sound that came could not be used; None where there was none of that kind.
    """

    frames: list[Frame] = field(default_factory=list)
    samples: list[Samples] = field(default_factory=list)
    audio_fault: str | None = None


class Mailbox:
    """Keeps the newest seconds of frames and sound until they are taken; safe to use from several threads.

    What is older than `keep_s` when something new comes is thrown away and counted.

    Args:
        sample_rate_hz: the rate of the sound that is put in.
        frames_per_second: how many frames are kept of each second; None keeps all.
        keep_s: how long something is kept that is not taken.

    Example:
        >>> import numpy as np
        >>> mailbox = Mailbox(16_000, None, keep_s=5.0)
        >>> mailbox.put_sound(Samples(0.0, np.zeros(16_000, np.float32)))
        >>> [len(piece.values) for piece in mailbox.take(0.75).samples]
        [12000]
    """

    def __init__(self, sample_rate_hz: int, frames_per_second: float | None, keep_s: float) -> None:
        self.sample_rate_hz, self._keep_s = sample_rate_hz, keep_s
        self._grid = FrameGrid(frames_per_second) if frames_per_second else None
        self._lock = threading.Lock()
        self._frames: deque[Frame] = deque()
        self._samples: deque[Samples] = deque()
        self._fault: str | None = None
        #: The newest frame, for the page; it stays until there is a newer one.
        self.newest: Frame | None = None
        self.dropped_frames = 0
        self.dropped_sounds = 0

    def put_frame(self, frame: Frame) -> None:
        """Add a frame, which is newer than those before."""
        with self._lock:
            self.newest = frame
            if self._grid is not None and not self._grid.wants(frame.time_s):
                return
            self._frames.append(frame)
            while self._frames[0].time_s < frame.time_s - self._keep_s:
                self._frames.popleft()
                self.dropped_frames += 1

    def put_sound(self, samples: Samples) -> None:
        """Add a piece of sound, which follows those before."""
        with self._lock:
            self._samples.append(samples)
            while self._samples[0].time_s < samples.time_s - self._keep_s:
                self._samples.popleft()
                self.dropped_sounds += 1

    def put_fault(self, reason: str) -> None:
        """Note why sound that came cannot be used."""
        with self._lock:
            self._fault = reason

    def take(self, end_s: float) -> Arrivals:
        """Take what lies at or before `end_s`; a piece of sound that goes beyond is cut, and its rest stays."""
        arrivals = Arrivals()
        with self._lock:
            while self._frames and self._frames[0].time_s <= end_s + _EPSILON_S:
                arrivals.frames.append(self._frames.popleft())
            while self._samples:
                first = self._samples[0]
                inside = round((end_s - first.time_s) * self.sample_rate_hz)
                if inside <= 0:
                    break
                self._samples.popleft()
                arrivals.samples.append(Samples(first.time_s, first.values[:inside]))
                if inside < len(first.values):
                    self._samples.appendleft(
                        Samples(first.time_s + inside / self.sample_rate_hz, first.values[inside:])
                    )
            arrivals.audio_fault, self._fault = self._fault, None
        return arrivals

    def forget_newest(self) -> None:
        """Forget the newest frame: the picture is lost, and the page must not show an old one."""
        self.newest = None

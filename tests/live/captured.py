"""A capture that runs in a test, and what came of an address that cannot be opened."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from taemi_edge.live.capture.addresses import parse_address
from taemi_edge.live.capture.capture import Capture
from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.capture.connection import CaptureSpec
from taemi_edge.live.capture.gst_reader import find_gst_python
from taemi_edge.live.capture.mailbox import FrameBox, SoundBox
from taemi_edge.live.capture.opening import open_reader
from taemi_edge.live.capture.readers import SourceGoneError, Track
from taemi_edge.live.capture.settings import WatchSettings
from taemi_edge.media.hops import Frame, SoundPiece

SETTINGS = WatchSettings(open_timeout_s=1.0, read_timeout_s=1.0, retry_most_s=0.2)

BOTH: Mapping[str, Track] = {"camera": "video", "microphone": "audio"}

needs_gst = pytest.mark.skipif(find_gst_python() is None, reason="GStreamer's bindings are not installed")


@dataclass
class Arrivals:
    """What came up to a moment, and why some of the sound could not be used."""

    frames: list[Frame]
    sound: list[SoundPiece]
    fault: str | None


class Captured:
    """A capture that runs for a while, and what it gave."""

    def __init__(self, text: str, settings: WatchSettings = SETTINGS, tracks: Mapping[str, Track] = BOTH) -> None:
        self.clock = SessionClock()
        self.frames, self.sound = FrameBox(5.0, keep_s=60.0), SoundBox(16_000, keep_s=60.0)
        boxes = {stream: self.frames if track == "video" else self.sound for stream, track in tracks.items()}
        self.capture = Capture(CaptureSpec("x", parse_address(text), tracks), boxes, self.clock, settings)

    def __enter__(self) -> Captured:
        self.capture.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.capture.stop()

    def until(self, holds, timeout_s: float = 15.0) -> None:
        until = time.monotonic() + timeout_s
        while not holds(self):
            assert time.monotonic() < until, (self.capture.link, self.capture.failures)
            self.capture.watch(self.clock.now_s())
            time.sleep(0.02)

    def losses(self) -> dict[str, str]:
        return dict(self.capture.losses(self.clock.now_s()))

    def take(self, seconds: float) -> Arrivals:
        """What came of the seconds that follow, without what was of earlier ones and took until now."""
        start_s = self.clock.now_s()
        self.take_all(start_s)
        self.until(lambda c: c.clock.now_s() > start_s + seconds + 0.5)
        arrivals = self.take_all(start_s + seconds)
        arrivals.frames = [frame for frame in arrivals.frames if frame.time_s > start_s]
        arrivals.sound = [piece for piece in arrivals.sound if piece.time_s > start_s - 0.1]
        return arrivals

    def take_all(self, end_s: float) -> Arrivals:
        """All that came up to a moment and was not taken before."""
        sound, fault = self.sound.take(end_s)
        return Arrivals(self.frames.take(end_s)[0], sound, fault)


def heard_s(arrivals: Arrivals) -> float:
    return sum(len(piece.values) for piece in arrivals.sound) / 16_000


def reason_of(text: str) -> str:
    with pytest.raises(SourceGoneError) as gone:
        reader = open_reader(parse_address(text), SETTINGS)
        try:
            for _ in reader.items():
                pass
        finally:
            reader.close()
    return gone.value.reason

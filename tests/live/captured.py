"""A capture that runs in a test, and what came of an address that cannot be opened."""

from __future__ import annotations

import time

import pytest

from taemi_edge.live.capture.addresses import parse_address
from taemi_edge.live.capture.capture import Capture
from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.capture.connection import CaptureSpec
from taemi_edge.live.capture.gst_reader import find_gst_python
from taemi_edge.live.capture.mailbox import Arrivals, Mailbox
from taemi_edge.live.capture.opening import open_reader
from taemi_edge.live.capture.readers import SourceGoneError
from taemi_edge.live.capture.settings import WatchSettings

SETTINGS = WatchSettings(open_timeout_s=1.0, read_timeout_s=1.0, retry_most_s=0.2)

BOTH = frozenset({"vision", "audio"})

needs_gst = pytest.mark.skipif(find_gst_python() is None, reason="GStreamer's bindings are not installed")


class Captured:
    """A capture that runs for a while, and what it gave."""

    def __init__(self, text: str, settings: WatchSettings = SETTINGS, modalities: frozenset = BOTH) -> None:
        self.clock = SessionClock()
        self.mailbox = Mailbox(16_000, 5.0, keep_s=60.0)
        self.capture = Capture(CaptureSpec("x", parse_address(text), modalities), self.mailbox, self.clock, settings)

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
        self.mailbox.take(start_s)
        self.until(lambda c: c.clock.now_s() > start_s + seconds + 0.5)
        arrivals = self.mailbox.take(start_s + seconds)
        arrivals.frames = [frame for frame in arrivals.frames if frame.time_s > start_s]
        arrivals.samples = [piece for piece in arrivals.samples if piece.time_s > start_s - 0.1]
        return arrivals


def heard_s(arrivals: Arrivals) -> float:
    return sum(len(piece.values) for piece in arrivals.samples) / 16_000


def reason_of(text: str) -> str:
    with pytest.raises(SourceGoneError) as gone:
        reader = open_reader(parse_address(text), SETTINGS)
        try:
            for _ in reader.items():
                pass
        finally:
            reader.close()
    return gone.value.reason

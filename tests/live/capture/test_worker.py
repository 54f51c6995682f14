"""What a capture's thread does with what a reader gives."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from taemi_edge.live.capture.addresses import parse_address
from taemi_edge.live.capture.capture import Capture
from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.capture.connection import CaptureSpec
from taemi_edge.live.capture.mailbox import FrameBox
from taemi_edge.live.capture.readers import DecodedPicture
from taemi_edge.live.capture.settings import WatchSettings
from tests.live.frames import frame
from tests.media.test_hostile_media import png_file


class LatePicture:
    """A reader whose server hangs: what its parser still held comes late, and later, if at all, the rest."""

    def __init__(self, comes_back: threading.Event) -> None:
        self.absent: dict[str, str] = {}
        self.losses: dict[str, str] = {}
        self.unusable: dict[str, str] = {}
        self.damaged_packets = 0
        self.waited_s = self.lag_s = 0.0
        self._comes_back = comes_back
        self.has_woken = threading.Event()

    def items(self) -> Iterator[DecodedPicture]:
        for index in range(12):
            yield DecodedPicture(index * 0.04, frame(0.0).picture)
            time.sleep(0.04)
        time.sleep(0.5)
        yield DecodedPicture(0.48, frame(0.0).picture)
        self.has_woken.set()
        self._comes_back.wait(10)
        for index in range(13, 200):
            yield DecodedPicture(index * 0.04, frame(0.0).picture)
            time.sleep(0.04)

    def set_decode_level(self, level: int) -> None: ...
    def close(self) -> None: ...


def test_one_late_picture_does_not_hide_a_loss():
    comes_back, settings = threading.Event(), WatchSettings(lost_after_s=0.3)
    reader, clock = LatePicture(comes_back), SessionClock()
    capture = Capture(
        CaptureSpec("x", parse_address("rtsp://cam/1"), {"camera": "video"}),
        {"camera": FrameBox(None, keep_s=60.0)},
        clock,
        settings,
        opener=lambda *_: reader,
    )
    capture.start()
    try:
        assert reader.has_woken.wait(10)
        time.sleep(0.05)
        assert capture.losses(clock.now_s()) == {"camera": "nothing came for more than 0.3 s"}
        comes_back.set()
        time.sleep(0.2)
        assert capture.losses(clock.now_s()) == {}
    finally:
        capture.stop()


def test_a_file_of_which_nothing_comes_is_tried_a_few_times_with_growing_pauses_and_given_up(tmp_path, caplog):
    file = tmp_path / "nothing.png"
    file.write_bytes(png_file(64, 64, claimed=(16_000, 16_000)))
    settings = WatchSettings(retry_first_s=0.02, retry_most_s=0.02)
    for repeat, times in ((True, 6), (False, 1)):
        clock = SessionClock()
        spec = CaptureSpec("x", parse_address(str(file)), {"camera": "video"}, repeat)
        capture = Capture(spec, {"camera": FrameBox(None, keep_s=60.0)}, clock, settings)
        capture.start()
        try:
            until_s = time.monotonic() + 10
            while not capture.ended and time.monotonic() < until_s:
                time.sleep(0.01)
            assert capture.ended
            assert (capture.connections, capture.failures) == (times, times)
            assert capture.losses(clock.now_s()) == {"camera": "nothing in the file can be decoded"}
        finally:
            capture.stop()
    assert "x: nothing in the file can be decoded, 6 times: it is given up" in caplog.text


def test_a_file_of_one_picture_is_not_opened_many_times_a_second(tmp_path):
    file = tmp_path / "one.png"
    file.write_bytes(png_file(64, 64))
    spec = CaptureSpec("x", parse_address(str(file)), {"camera": "video"}, repeat=True)
    capture = Capture(spec, {"camera": FrameBox(None, keep_s=60.0)}, SessionClock(), WatchSettings())
    capture.start()
    time.sleep(0.6)
    capture.stop()
    assert 2 <= capture.connections <= 7

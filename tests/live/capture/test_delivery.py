"""Rows and words on their way from a reader to the loop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Event

import numpy as np
import pytest

from taemi_edge.live.capture.addresses import Address
from taemi_edge.live.capture.capture import Capture
from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.capture.connection import CaptureSpec
from taemi_edge.live.capture.delivery import Delivery
from taemi_edge.live.capture.mailbox import RowBox
from taemi_edge.live.capture.readers import Decoded, DecodedRows, DecodedWords, Track
from taemi_edge.live.capture.settings import WatchSettings
from taemi_edge.live.words import WordInbox


class Said:
    """A reader that gives what it was told, and then nothing for as long as the connection lasts."""

    def __init__(self, *items: Decoded, pause_s: float = 0.0) -> None:
        self.absent: dict[Track, str] = {}
        self.losses: dict[Track, str] = {}
        self.unusable: dict[Track, str] = {}
        self.damaged_packets = 0
        self.waited_s = self.lag_s = 0.0
        self._items, self._pause_s = items, pause_s
        self.closed = Event()

    def items(self) -> Iterator[Decoded | None]:
        for item in self._items:
            yield item
            time.sleep(self._pause_s)
        while not self.closed.wait(0.02):
            yield None

    def set_decode_level(self, level: int) -> None: ...
    def close(self) -> None:
        self.closed.set()


def capture_of(reader: Said, track: Track, box: RowBox | WordInbox, **times: float) -> tuple[Capture, SessionClock]:
    clock = SessionClock()
    spec = CaptureSpec("rig", Address("mqtt", "mqtt://broker/x", "mqtt://broker/x"), {"x": track})
    return Capture(spec, {"x": box}, clock, WatchSettings(**times), opener=lambda *_: reader), clock


def until(condition: object) -> None:
    until_s = time.monotonic() + 20
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until_s
        time.sleep(0.01)


def test_rows_keep_their_distances_and_none_lies_in_the_future():
    times_s = 1.7e9 + np.arange(50) * 0.01
    rows = np.arange(100, dtype=np.float32).reshape(50, 2)
    box = RowBox(2, 60.0, None)
    reader = Said(*(DecodedRows(times_s[at : at + 10], rows[at : at + 10]) for at in range(0, 50, 10)))
    capture, clock = capture_of(reader, "series", box)
    capture.start()
    try:
        until(lambda: len(box) == 50)
        [values], fault = box.take(clock.now_s())
    finally:
        capture.stop()
    assert fault is None
    np.testing.assert_array_equal(values.rows, rows)
    np.testing.assert_allclose(np.diff(values.times_s), 0.01, atol=1e-6)


def test_words_come_with_their_time_and_silence_is_no_loss_of_theirs():
    inbox = WordInbox(None)
    reader = Said(DecodedWords(100.0, "so it", 0.4), DecodedWords(100.5, "is", None))
    capture, clock = capture_of(reader, "text", inbox, lost_after_s=0.05)
    capture.start()
    try:
        time.sleep(0.3)
        assert capture.losses(clock.now_s()) == {}
        words, _ = inbox.take(clock.now_s())
    finally:
        capture.stop()
    assert [word.text for word in words] == ["so", "it", "is"]
    assert words[2].end_s - words[1].end_s == pytest.approx(0.5)
    assert words[1].end_s - words[0].start_s == pytest.approx(0.4)


def test_a_silent_sensor_is_lost_and_its_connection_made_anew():
    opened = []

    def opener(*_: object) -> Said:
        opened.append(Said(DecodedRows(None, np.zeros((1, 1), np.float32))))
        return opened[-1]

    clock = SessionClock()
    spec = CaptureSpec("rig", Address("mqtt", "mqtt://broker/x", "mqtt://broker/x"), {"x": "series"})
    settings = WatchSettings(lost_after_s=0.1, rebuild_after_s=0.3, retry_first_s=0.02, retry_most_s=0.02)
    capture = Capture(spec, {"x": RowBox(1, 60.0, None)}, clock, settings, opener=opener)
    capture.start()
    try:
        until(lambda: capture.losses(clock.now_s()) == {"x": "nothing came for more than 0.1 s"})

        def watched() -> bool:
            capture.watch(clock.now_s())
            return capture.connections >= 2

        until(watched)
    finally:
        capture.stop()


def test_a_reader_says_at_once_that_its_publisher_died_and_is_not_connected_anew_for_that():
    reader = Said(DecodedRows(None, np.zeros((1, 1), np.float32)))
    capture, clock = capture_of(reader, "series", RowBox(1, 60.0, None), lost_after_s=30.0, rebuild_after_s=0.05)
    capture.start()
    try:
        until(lambda: capture.link.state == "connected")
        assert capture.losses(clock.now_s()) == {}
        reader.losses["series"] = "its publisher is gone"
        assert capture.losses(clock.now_s()) == {"x": "its publisher is gone"}
        for _ in range(20):
            capture.watch(clock.now_s() + 10.0)
            time.sleep(0.01)
        assert capture.connections == 1
        reader.losses.clear()
        assert capture.losses(clock.now_s()) == {}
    finally:
        capture.stop()


def test_a_sensor_that_speaks_once_in_a_while_is_not_lost_between_two_rows():
    class Clock(SessionClock):
        now = 0.0

        def now_s(self) -> float:
            return self.now

    clock = Clock()
    delivery = Delivery({"battery": RowBox(1, 60.0, None)}, clock, lost_after_s=1.25)
    delivery.begin(("series",), 0.0)
    for second in range(10, 60, 10):
        clock.now = float(second)
        delivery.take(DecodedRows(None, np.zeros((1, 1), np.float32)), is_live=True)
    assert delivery.silent_s("series", 59.0) == 0.0
    assert delivery.silent_s("series", 85.0) == pytest.approx(35.0)
    for tick in range(100):  # a quick one is known as such within a few rows
        clock.now = 60.0 + tick * 0.01
        delivery.take(DecodedRows(None, np.zeros((1, 1), np.float32)), is_live=True)
    assert delivery.silent_s("series", clock.now + 1.3) == pytest.approx(1.3)

"""Sensors for tests: a capture of one, a broker, a serial port that can be unplugged."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import time
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from taemi_edge.bundle.streams import SeriesSpec, StreamSpec
from taemi_edge.live.capture.addresses import parse_address
from taemi_edge.live.capture.capture import Capture
from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.capture.connection import CaptureSpec
from taemi_edge.live.capture.mailbox import RowBox
from taemi_edge.live.capture.opening import check_address
from taemi_edge.live.capture.settings import WatchSettings
from taemi_edge.live.words import WordInbox
from tests.live.servers import free_port
from tests.live.specs import PRESENCE

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH')}:/usr/sbin")
SETTINGS = WatchSettings(lost_after_s=0.5, retry_first_s=0.05, retry_most_s=0.1, retry_dear_s=0.3)
TRIPLE = SeriesSpec(feature_dim=4, channels=3, presence=PRESENCE)


class Sensed:
    """A capture of one sensor that runs in a test; a context manager.

    Args:
        text: its address.
        stream: what the stream takes: rows of three numbers, or words.
        settings: when it counts as lost.
    """

    def __init__(self, text: str, stream: StreamSpec = TRIPLE, settings: WatchSettings = SETTINGS) -> None:
        address = parse_address(text, rows=True)
        check_address(address, stream)
        self.clock = SessionClock()
        rows = isinstance(stream, SeriesSpec)
        self.box: Any = RowBox(stream.channels, 60.0, None) if isinstance(stream, SeriesSpec) else WordInbox(None)
        spec = CaptureSpec("rig", address, {"x": "series" if rows else "text"}, stream=stream)
        self.capture = Capture(spec, {"x": self.box}, self.clock, settings)
        self._rows: list[list[float]] = []
        self._words: list[str] = []
        self.faults: set[str] = set()

    def __enter__(self) -> Sensed:
        self.capture.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.capture.stop()

    def rows(self) -> list[list[float]]:
        """All rows that came so far."""
        pieces, fault = self.box.take(self.clock.now_s())
        self.faults |= {fault} - {None}
        for values in pieces:
            assert (np.diff(values.times_s) >= 0).all()
            self._rows += values.rows.tolist()
        return self._rows

    def words(self) -> list[str]:
        """All words that came so far."""
        self._words += [word.text for word in self.box.take(self.clock.now_s())[0]]
        return self._words

    def loss(self) -> str | None:
        """Why the stream is lost; None where it is not."""
        return self.capture.losses(self.clock.now_s()).get("x")

    def until(
        self, holds: Callable[[], object], also: Callable[[], object] = lambda: None, most_s: float = 30.0
    ) -> None:
        """Wait until something holds, and do something else again and again meanwhile."""
        until_s = time.monotonic() + most_s
        while not holds():
            assert time.monotonic() < until_s, (self.capture.link, self.loss(), self._rows[-3:])
            self.capture.watch(self.clock.now_s())
            also()
            time.sleep(0.02)


class Mosquitto:
    """A broker; a context manager.

    Args:
        folder: for its settings.
        login: whether it asks for the name "edge" and the password "right-word".
        lines: further lines of its settings.
    """

    def __init__(self, folder: Path, login: bool = False, lines: str = "") -> None:
        self.port = free_port()
        self._settings = folder / "mosquitto.conf"
        access = "allow_anonymous true"
        if login:
            passwords = folder / "passwords"
            make = ["/usr/bin/mosquitto_passwd", "-b", "-c", str(passwords), "edge", "right-word"]
            subprocess.run(make, check=True)
            passwords.chmod(0o644)
            access = f"allow_anonymous false\npassword_file {passwords}"
        self._settings.write_text(f"listener {self.port} 127.0.0.1\n{access}\nuser root\n{lines}")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Mosquitto:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        self._process = subprocess.Popen([str(MOSQUITTO), "-c", str(self._settings)], stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class SerialPort:
    """A serial port that a test plugs in and out: a pseudo-terminal behind a name that stays.

    Args:
        folder: where the name lies.
    """

    def __init__(self, folder: Path) -> None:
        self.name = folder / "ttyUSB7"
        self._ends: tuple[int, int] | None = None

    def __enter__(self) -> SerialPort:
        self.plug_in()
        return self

    def __exit__(self, *_: object) -> None:
        self.unplug()

    def plug_in(self) -> None:
        ours, theirs = pty.openpty()
        tty.setraw(theirs)
        self.name.symlink_to(os.ttyname(theirs))
        self._ends = ours, theirs

    def unplug(self) -> None:
        self.name.unlink(missing_ok=True)
        for end in self._ends or ():
            os.close(end)
        self._ends = None

    def send(self, content: bytes) -> None:
        assert self._ends is not None
        while content:
            content = content[os.write(self._ends[0], content) :]

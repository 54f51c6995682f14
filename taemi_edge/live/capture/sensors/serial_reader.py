"""Reads the lines that a device sends over a serial port (extra `serial`): each is a row of numbers, or words.

The device may be unplugged and come back. What arrives before the first end of a line may be half of one, and is left
out, unless the port was quiet before.
"""

from __future__ import annotations

import errno
import os
import re
import select
import time
from collections.abc import Sequence
from typing import Any

from taemi_edge.bundle.streams import StreamSpec
from taemi_edge.errors import MissingExtraError, UsageError
from taemi_edge.live.capture.addresses import Address
from taemi_edge.live.capture.readers import SourceGoneError
from taemi_edge.live.capture.sensors.payloads import MOST_BYTES
from taemi_edge.live.capture.sensors.sensor_reader import SensorReader
from taemi_edge.live.capture.settings import WatchSettings

_LEAST_BAUD, _MOST_BAUD = 50, 20_000_000
_MODE = re.compile(r"(?P<bits>[5-8])(?P<parity>[NEOMS])(?P<stops>1|1\.5|2)")
_READ_AT_ONCE = 65_536
#: A port that gave nothing for so long after it was opened is between two lines.
_QUIET_S = 0.1


class LineCutter:
    """Cuts what arrives into lines.

    Args:
        is_between: whether the first bytes begin a line; else they are left out up to the next one.

    Attributes:
        too_long: lines that were longer than `MOST_BYTES` and left out.

    Example:
        >>> cutter = LineCutter(is_between=False)
        >>> [cutter.lines(piece) for piece in (b"3, 4\\n5,", b" 6\\r\\n\\n7")]
        [[], [b'5, 6']]
    """

    def __init__(self, is_between: bool) -> None:
        self._held = bytearray()
        self._skips = not is_between
        self.too_long = 0

    def lines(self, piece: bytes) -> list[bytes]:
        """The lines that end in a piece, without their ends; empty ones are left out."""
        *ended, rest = piece.split(b"\n")
        lines = []
        for end in ended:
            line = bytes(self._held) + end
            self._held.clear()
            if not self._skips and len(line) <= MOST_BYTES and line.strip():
                lines.append(line.rstrip(b"\r"))
            self.too_long += not self._skips and len(line) > MOST_BYTES
            self._skips = False
        self._held += rest
        if len(self._held) > MOST_BYTES:
            self.too_long += not self._skips
            self._held.clear()
            self._skips = True
        return lines


class SerialReader(SensorReader):
    """One opening of a serial port; see `Reader`.

    Args:
        address: serial:/dev/NAME, with its `baud` and its `mode`.
        settings: how long to wait before the next try.
        stream: what the stream takes that it feeds.

    Raises:
        SourceGoneError: the device is not there, is not allowed, or is in use.
    """

    def __init__(self, address: Address, settings: WatchSettings, stream: StreamSpec) -> None:
        super().__init__(address, settings, stream)
        import serial

        match = _MODE.fullmatch(address.options.get("mode", "8N1"))
        bits, parity, stops = match.groups() if match else ("8", "N", "1")
        try:
            self._port: Any = serial.Serial(
                address.target,
                int(address.options.get("baud", "115200")),
                bytesize=int(bits),
                parity=parity,
                stopbits=float(stops),
                timeout=0,
                exclusive=True,
            )
        except (OSError, ValueError) as error:  # pyserial's own exceptions are OSErrors
            lasting = getattr(error, "errno", None) in (errno.EACCES, errno.EPERM)
            raise SourceGoneError(
                _why(error, address.target), settings.retry_dear_s if lasting else settings.retry_most_s * 4
            ) from error
        self._opened_s = time.monotonic()
        self._cutter: LineCutter | None = None
        self._waiting = select.poll()
        self._waiting.register(self._port.fileno(), select.POLLIN)

    def receive(self, wait_s: float) -> Sequence[bytes]:
        came = self._waiting.poll(wait_s * 1e3)
        if self._cutter is None:
            self._cutter = LineCutter(is_between=time.monotonic() - self._opened_s > _QUIET_S)
        if not came:
            return ()
        try:
            piece = os.read(self._port.fileno(), _READ_AT_ONCE)
        except BlockingIOError:
            return ()
        except OSError as error:
            raise SourceGoneError("the device is gone", self.settings.retry_most_s * 4) from error
        if not piece:
            raise SourceGoneError("the device is gone", self.settings.retry_most_s * 4)
        before = self._cutter.too_long
        lines = self._cutter.lines(piece)
        for _ in range(self._cutter.too_long - before):
            self.leave_out("a line", f"expected at most {MOST_BYTES} bytes without the end of a line: is baud right?")
        return lines

    def close(self) -> None:
        self._port.close()


def check_serial(address: Address) -> None:
    """Find what is wrong with the address of a serial port before it is opened.

    Raises:
        UsageError: it names no device, or an option cannot be used.
        MissingExtraError: pyserial is not installed.
    """
    try:
        import serial  # noqa: F401  (whether it is there)
    except ModuleNotFoundError as error:
        raise MissingExtraError("pyserial", "serial", "serial:") from error
    options = address.options
    if not address.target.startswith("/"):
        raise UsageError(f"{address.shown}: expected a device by its path, such as serial:/dev/ttyUSB0")
    baud = options.get("baud", "115200")
    if not (baud.isascii() and baud.isdigit() and _LEAST_BAUD <= int(baud[:9]) <= _MOST_BAUD and len(baud) < 10):
        raise UsageError(f"{address.shown}: ?baud=: expected bits a second such as 115200, got {baud!r:.40}")
    if not _MODE.fullmatch(mode := options.get("mode", "8N1")):
        raise UsageError(f"{address.shown}: ?mode=: expected data bits, parity and stop bits as 8N1, got {mode!r:.40}")
    if options.get("format", "") not in ("", "json", "csv", "plain"):
        raise UsageError(f"{address.shown}: ?format=: expected lines of json or csv, since packed numbers have no ends")


def _why(error: Exception, device: str) -> str:
    """Why a port cannot be opened, and what to do."""
    number = getattr(error, "errno", None)
    if number in (errno.EACCES, errno.EPERM):
        return "this user may not open it: add the user to the group dialout"
    if number == errno.ENOENT or not os.path.lexists(device):
        return "no such device: it is not plugged in"
    if number in (errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK) or "exclusively lock" in str(error):
        return "another program uses it"
    return "it cannot be opened as a serial port"

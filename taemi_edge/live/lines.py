"""Reads lines of JSON that other programs send while a run goes on, from standard input or from Unix sockets.

What the lines hold is a parser's business: `words.py` has that of transcripts, `series_lines.py` that of series. A line
that a parser refuses is counted, logged and left out. Whoever sends more than there is time for has to wait: the lines
of one place never take more than a share of a processor.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, TypeVar

from taemi_edge.errors import UsageError, in_one_line
from taemi_edge.live.pace import Pace
from taemi_edge.live.rare_log import RareLog

log = logging.getLogger("taemi_edge.live")

#: Longer lines are refused.
MAX_LINE = 64 * 1024
_MAX_CLIENTS = 8
#: Where all places are taken, a sender that has been silent for so long gives its place to a new one, in seconds.
_SILENT_S = 30.0
#: An accept that failed, for want of descriptors, is tried again after this time.
_RETRY_S = 0.2
#: How much of a processor the lines of one place may take, and how much at once, in seconds.
_PROCESSOR_SHARE, _BURST_S = 0.25, 0.25

_Inbox = TypeVar("_Inbox")


def is_line_place(text: str) -> bool:
    """Whether a place is one that lines come from, and not a file or an address.

    >>> is_line_place("-"), is_line_place("unix:/tmp/imu.sock"), is_line_place("imu.csv")
    (True, True, False)
    """
    return text == "-" or text.startswith("unix:")


def of_source(inboxes: Mapping[str, _Inbox], source: str | None) -> _Inbox:
    """What belongs to the source that a line names; a line need not name one where there is one alone.

    Raises:
        ValueError: the line names none of them.
    """
    if source is None and len(inboxes) == 1:
        return next(iter(inboxes.values()))
    if source is None or source not in inboxes:
        raise ValueError(f'expected "source" to be one of {", ".join(inboxes)}, got {source!r}')
    return inboxes[source]


class LineParser(Protocol):
    """Takes the lines of one place.

    Attributes:
        name: what log lines call it.
        what: the same as the subject of a sentence.
        option: what is typed before the place, for errors.
    """

    name: str
    what: str
    option: str

    def take_line(self, line: bytes) -> None:
        """Take a line.

        Raises:
            ValueError: what is wrong with it; it is left out.
        """

    def set_loss(self, reason: str | None) -> None:
        """Note why nothing can come; None where something can."""

    def end(self) -> None:
        """Note that nothing will ever come again."""


@dataclass(eq=False)
class _Sender:
    """A program that is connected, and when its last line came."""

    socket: socket.socket
    heard_s: float

    def hang_up(self) -> None:
        """End the connection; what reads from it finds its end."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


class LineListener:
    """Reads lines from standard input, or from the programs that connect to a Unix socket.

    Args:
        place: `-` for standard input, or `unix:PATH`.
        parser: takes the lines.

    Attributes:
        good_lines: lines that were taken.
        bad_lines: lines that were left out.
        last_problem: what was wrong with the last of those.

    Raises:
        UsageError: another program listens on the socket, or it cannot be made.
    """

    def __init__(self, place: str, parser: LineParser) -> None:
        self.good_lines = self.bad_lines = 0
        self.last_problem: str | None = None
        self.parser = parser
        self._path = Path(place.removeprefix("unix:")) if place.startswith("unix:") else None
        self._server = _bind(self._path, parser.option) if self._path is not None else None
        self._senders: list[_Sender] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._pace, self._rare_log = Pace(_PROCESSOR_SHARE, _BURST_S), RareLog(log)
        self._thread = threading.Thread(
            target=self._serve if self._server else self._read_stdin, name=f"{parser.name} lines", daemon=True
        )

    def start(self) -> None:
        """Begin to read, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Close the socket and those of its clients; standard input is left alone."""
        self._stopping.set()
        if self._server is not None and self._path is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
        with self._lock:
            for sender in self._senders:
                sender.hang_up()

    def _read_stdin(self) -> None:
        self.parser.set_loss(None)
        self._read(sys.stdin.buffer)
        self.parser.set_loss(f"{self.parser.what} on standard input ended")
        self.parser.end()

    def _serve(self) -> None:
        """Read from all programs that connect, up to eight at once; without any, the data is lost."""
        server = self._server
        while server is not None and not self._stopping.is_set():
            try:
                client, _ = server.accept()
            except OSError as error:
                if server.fileno() < 0:  # closed: the run is over
                    return
                self._rare_log.warning("%s: a sender could not be accepted: %s", self.parser.name, error.strerror)
                self._stopping.wait(_RETRY_S)
                continue
            sender = _Sender(client, time.monotonic())
            if not self._take_in(sender):
                client.close()
                self._rare_log.warning("%s: a sender was refused: %d are here", self.parser.name, _MAX_CLIENTS)
                continue
            name = f"{self.parser.name} client"
            threading.Thread(target=self._read_sender, args=(sender,), name=name, daemon=True).start()

    def _take_in(self, sender: _Sender) -> bool:
        """Give a new sender a place; where there is none, that of one which has been silent for long."""
        with self._lock:
            if len(self._senders) >= _MAX_CLIENTS:
                silent = min(self._senders, key=lambda other: other.heard_s)
                if sender.heard_s - silent.heard_s < _SILENT_S:
                    return False
                self._senders.remove(silent)
                silent.hang_up()
            self._senders.append(sender)
            self.parser.set_loss(None)
        return True

    def _read_sender(self, sender: _Sender) -> None:
        try:
            with sender.socket, sender.socket.makefile("rb") as lines:
                self._read(lines, sender)
        except OSError:
            pass  # reset by its sender: the same as closed
        finally:
            with self._lock:
                if sender in self._senders:  # else its place was given away
                    self._senders.remove(sender)
                if not self._senders:  # under the lock: another that connects now must not be taken for gone
                    self.parser.set_loss(f"{self.parser.what}'s sender hung up")

    def _read(self, lines: IO[bytes], sender: _Sender | None = None) -> None:
        used_s = time.thread_time()
        for line in _bounded(lines):
            if sender is not None:
                sender.heard_s = time.monotonic()
            used_s = self._wait_if_busy(used_s)
            if not line.strip():
                continue
            try:
                self.take_line(line)
                self.good_lines += 1
            except ValueError as error:
                self.bad_lines += 1
                self.last_problem = in_one_line(str(error))
                if self.bad_lines & (self.bad_lines - 1) == 0:  # the first, second, fourth, ...: not a flood
                    number = self.good_lines + self.bad_lines
                    log.warning("%s: line %d left out: %s", self.parser.name, number, self.last_problem)

    def _wait_if_busy(self, before_s: float) -> float:
        """Wait where the lines take too much of a processor; returns this thread's time of it until now."""
        used_s = time.thread_time()
        if (wait_s := self._pace.wait_s(used_s - before_s, time.monotonic())) > 0.01:
            self._rare_log.warning("%s: lines come faster than there is time for: they wait", self.parser.name)
            self._stopping.wait(wait_s)
        return used_s

    def take_line(self, line: bytes) -> None:
        """Hand a line to the parser.

        Raises:
            ValueError: the line is too long, or the parser refuses it.
        """
        if len(line) > MAX_LINE:
            raise ValueError(f"expected at most {MAX_LINE} bytes a line")
        self.parser.take_line(line)


def _bounded(lines: IO[bytes]) -> Iterator[bytes]:
    """The lines of a stream; of a line that is too long only the beginning is read, and the rest is skipped."""
    while line := lines.readline(MAX_LINE + 1):
        yield line
        while len(line) > MAX_LINE and not line.endswith(b"\n"):
            line = lines.readline(MAX_LINE + 1)
            if not line:
                return


def _bind(path: Path, option: str) -> socket.socket:
    """Listen at a path; a socket that a process left there when it died is replaced."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket() and not _answers(path):
            path.unlink()
        path.parent.mkdir(parents=True, exist_ok=True)
        old_mask = os.umask(0o177)  # only the owner may send anything
        try:
            server.bind(str(path))
        finally:
            os.umask(old_mask)
        server.listen(_MAX_CLIENTS)
    except OSError as error:
        server.close()
        raise UsageError(f"{option}unix:{path}: cannot listen there: {error.strerror}: name another path") from error
    return server


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True

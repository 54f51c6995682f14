"""Reads lines of JSON that other programs send while a run goes on, from standard input or from Unix sockets.

What the lines hold is a parser's business: `words.py` has that of transcripts, `series_lines.py` that of series. A line
that a parser refuses is counted, logged and left out.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Protocol, TypeVar

from taemi_edge.errors import UsageError, in_one_line

log = logging.getLogger("taemi_edge.live")

#: Longer lines are refused.
MAX_LINE = 64 * 1024
_MAX_CLIENTS = 8

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
        self._clients: list[socket.socket] = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(
            target=self._serve if self._server else self._read_stdin, name=f"{parser.name} lines", daemon=True
        )

    def start(self) -> None:
        """Begin to read, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Close the socket and those of its clients; standard input is left alone."""
        if self._server is not None and self._path is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            client.close()

    def _read_stdin(self) -> None:
        self.parser.set_loss(None)
        self._read(sys.stdin.buffer)
        self.parser.set_loss(f"{self.parser.what} on standard input ended")
        self.parser.end()

    def _serve(self) -> None:
        """Read from all programs that connect, up to eight at once; without any, the data is lost."""
        server = self._server
        while server is not None:
            try:
                client, _ = server.accept()
            except OSError:  # closed: the run is over
                return
            with self._lock:
                if len(self._clients) >= _MAX_CLIENTS:
                    client.close()
                    continue
                self._clients.append(client)
                self.parser.set_loss(None)
            threading.Thread(
                target=self._read_client, args=(client,), name=f"{self.parser.name} client", daemon=True
            ).start()

    def _read_client(self, client: socket.socket) -> None:
        try:
            with client, client.makefile("rb") as lines:
                self._read(lines)
        except OSError:
            pass  # reset by its sender: the same as closed
        finally:
            with self._lock:
                self._clients.remove(client)
                if not self._clients:  # under the lock: another that connects now must not be taken for gone
                    self.parser.set_loss(f"{self.parser.what}'s sender hung up")

    def _read(self, lines: IO[bytes]) -> None:
        for line in _bounded(lines):
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

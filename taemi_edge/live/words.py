"""Live transcripts: reads lines of JSON from a speech recogniser, and puts their words on the clock of the session.

    {"text": "so it is", "start": 12.4, "end": 13.1, "source": "door"}

`start` and `end` are seconds of the session, as in the predictions, or Unix time (anything above 10^9); a line without
them was said just now. `source` is needed only where there are several. A line that is anything else is counted,
logged and left out.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

import msgspec

from taemi_edge.errors import UsageError
from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.media.transcripts import Word, spread_words

log = logging.getLogger("taemi_edge.live")

#: Longer lines are no transcript.
MAX_LINE = 64 * 1024
_MAX_WORDS = 4096
_MAX_CLIENTS = 8
_UNIX_TIME = 1e9
#: What was said "just now" took about this long a word.
_WORD_S = 0.3


class TranscriptLine(msgspec.Struct):
    """One line of a live transcript.

    Attributes:
        text: what was said.
        start: when it began, in seconds of the session or as Unix time; None for "just now".
        end: when it ended, alike.
        source: the name of its source; None where there is only one.
    """

    text: str
    start: float | None = None
    end: float | None = None
    source: str | None = None


class WordInbox:
    """Collects the words of one source until the loop takes them; safe to use from several threads.

    Args:
        absent_reason: why there are no words before anybody sends any.

    Attributes:
        loss: why no speech is recognised at the moment; None while it is.

    Example:
        >>> inbox = WordInbox("nobody has sent a transcript yet")
        >>> inbox.put([Word(1.0, 1.4, "so"), Word(1.4, 1.9, "it")])
        >>> [word.text for word in inbox.take(1.5)], [word.text for word in inbox.take(2.0)]
        (['so'], ['it'])
    """

    def __init__(self, absent_reason: str) -> None:
        self._lock = threading.Lock()
        self._words: list[Word] = []
        self.loss: str | None = absent_reason

    def put(self, words: list[Word]) -> None:
        """Add words, in any order; of very many the newest are kept."""
        with self._lock:
            self._words = sorted([*self._words, *words], key=lambda word: word.end_s)[-_MAX_WORDS:]

    def take(self, end_s: float) -> tuple[Word, ...]:
        """Take the words that ended by `end_s` and were not taken before, in the order of time."""
        with self._lock:
            ready = tuple(word for word in self._words if word.end_s <= end_s)
            self._words = self._words[len(ready) :]
        return ready


class TranscriptListener(Protocol):
    """Receives live transcripts from outside.

    Attributes:
        good_lines: lines whose words were taken.
        bad_lines: lines that were left out.
        last_problem: what was wrong with the last of those.
    """

    good_lines: int
    bad_lines: int
    last_problem: str | None

    def start(self) -> None:
        """Begin to receive, in a thread of its own."""

    def stop(self) -> None:
        """End receiving."""


class LineListener:
    """Reads lines from standard input, or from the programs that connect to a Unix socket.

    Args:
        place: `-` for standard input, or `unix:PATH`.
        inboxes: where the words go, by the name of their source.
        clock: the clock of the session.

    Raises:
        UsageError: another program listens on the socket, or it cannot be made.
    """

    def __init__(self, place: str, inboxes: dict[str, WordInbox], clock: SessionClock) -> None:
        self.good_lines = self.bad_lines = 0
        self.last_problem: str | None = None
        self._inboxes, self._clock = inboxes, clock
        self._path = Path(place.removeprefix("unix:")) if place.startswith("unix:") else None
        self._server = _bind(self._path) if self._path is not None else None
        self._clients: list[socket.socket] = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(
            target=self._serve if self._server else self._read_stdin, name="words", daemon=True
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
        self._set_loss(None)
        self._read(sys.stdin.buffer)
        self._set_loss("the transcript on standard input ended")

    def _serve(self) -> None:
        """Read from all programs that connect, up to eight at once; the transcript is lost while there is none."""
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
            self._set_loss(None)
            threading.Thread(target=self._read_client, args=(client,), name="words-client", daemon=True).start()

    def _read_client(self, client: socket.socket) -> None:
        try:
            with client, client.makefile("rb") as lines:
                self._read(lines)
        except OSError:
            pass  # reset by its sender: the same as closed
        finally:
            with self._lock:
                self._clients.remove(client)
                nobody = not self._clients
            if nobody:
                self._set_loss("the transcript's sender hung up")

    def _read(self, lines: IO[bytes]) -> None:
        for line in _bounded(lines):
            if not line.strip():
                continue
            try:
                self.take_line(line)
                self.good_lines += 1
            except ValueError as error:
                self.bad_lines += 1
                self.last_problem = str(error)
                if self.bad_lines & (self.bad_lines - 1) == 0:  # the first, second, fourth, ...: not a flood
                    log.warning("transcript: line %d left out: %s", self.good_lines + self.bad_lines, error)

    def take_line(self, line: bytes) -> None:
        """Put the words of a line into the inbox of its source.

        Raises:
            ValueError: the line is too long, no JSON of the expected form, or names no source of ours.
        """
        if len(line) > MAX_LINE:
            raise ValueError(f"expected at most {MAX_LINE} bytes a line")
        try:
            spoken = msgspec.json.decode(line, type=TranscriptLine)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ValueError(f'expected {{"text": "...", "start": s, "end": s}}: {error}') from error
        self._inbox(spoken.source).put(words_of(spoken, self._clock))

    def _inbox(self, source: str | None) -> WordInbox:
        if source is None and len(self._inboxes) == 1:
            return next(iter(self._inboxes.values()))
        if source not in self._inboxes:
            raise ValueError(f'expected "source" to be one of {", ".join(self._inboxes)}, got {source!r}')
        return self._inboxes[source]

    def _set_loss(self, reason: str | None) -> None:
        for inbox in self._inboxes.values():
            inbox.loss = reason


def words_of(spoken: TranscriptLine, clock: SessionClock) -> list[Word]:
    """The words of a line, spread over its time; none of them lies in the future.

    Args:
        spoken: the line.
        clock: the clock of the session.

    Returns:
        The words in the order of time, in seconds of the session.

    Raises:
        ValueError: the line ends before it starts.
    """
    now_s = clock.now_s()
    texts = spoken.text.split()
    end_s = now_s if spoken.end is None else _session_s(spoken.end, clock)
    end_s = min(end_s, now_s)
    start_s = end_s - _WORD_S * max(1, len(texts)) if spoken.start is None else _session_s(spoken.start, clock)
    if spoken.start is not None and spoken.end is not None and not spoken.start < spoken.end:
        raise ValueError(f"expected start < end, got {spoken.start:g} and {spoken.end:g}")
    return spread_words(min(start_s, end_s - 0.01), end_s, texts)


def _session_s(time_s: float, clock: SessionClock) -> float:
    return clock.of_unix(time_s) if time_s > _UNIX_TIME else time_s


def _bounded(lines: IO[bytes]) -> Iterator[bytes]:
    """The lines of a stream; of a line that is too long only the beginning is read, and the rest is skipped."""
    while line := lines.readline(MAX_LINE + 1):
        yield line
        while len(line) > MAX_LINE and not line.endswith(b"\n"):
            line = lines.readline(MAX_LINE + 1)
            if not line:
                return


def _bind(path: Path) -> socket.socket:
    """Listen at a path; a socket that a process left there when it died is replaced."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket() and not _answers(path):
            path.unlink()
        path.parent.mkdir(parents=True, exist_ok=True)
        old_mask = os.umask(0o177)  # only the owner may send a transcript
        try:
            server.bind(str(path))
        finally:
            os.umask(old_mask)
        server.listen(_MAX_CLIENTS)
    except OSError as error:
        server.close()
        raise UsageError(
            f"--transcript unix:{path}: cannot listen there: {error.strerror}: name another path"
        ) from error
    return server


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True

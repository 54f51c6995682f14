"""Keeps the recording open that a process read last: clips of one drive follow each other.

Opening looks at the layout of a recording, thousands of chunks of a long one, and a clip reads a few of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType

from taemi_edge.media.recordings.opening import open_recording
from taemi_edge.media.recordings.recording import RecordedMessage, Recording, Topic

#: The recording that is open, by its path and what tells whether it was changed since; and its notes at first.
_kept: dict[tuple[Path, int, int], tuple[Recording, list[str]]] = {}


def kept_recording(file: Path) -> Recording:
    """Open a recording, or give the one that is open; closing what is given leaves it open.

    Raises:
        InputError: it is not there, or cannot be read.
        MissingExtraError: the extra `recordings` is not installed.
    """
    try:
        state = file.stat()
    except OSError:
        return open_recording(file)  # which says what is wrong
    key = file, state.st_mtime_ns, state.st_size
    if key not in _kept:
        close_kept()
        opened = open_recording(file)
        _kept[key] = opened, list(opened.notes)
    return _Lent(*_kept[key])


def close_kept() -> None:
    """Close the recording that is open."""
    while _kept:
        _kept.popitem()[1][0].close()


class _Lent:
    """A recording that somebody else closes; its notes are those of one reader."""

    path: Path
    topics: Mapping[str, Topic]
    start_ns: int | None
    end_ns: int | None
    notes: list[str]
    metadata: Mapping[str, Mapping[str, str]]

    def __init__(self, recording: Recording, first_notes: list[str]) -> None:
        self._recording, self.notes = recording, list(first_notes)
        self._known = len(recording.notes)
        self.path, self.topics, self.metadata = recording.path, recording.topics, recording.metadata
        self.start_ns, self.end_ns = recording.start_ns, recording.end_ns

    def messages(
        self, topics: Collection[str], start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[RecordedMessage]:
        """See `Recording`."""
        for message in self._recording.messages(topics, start_ns, end_ns):
            if len(self._recording.notes) > self._known:
                self._note()
            yield message
        self._note()

    def _note(self) -> None:
        """Take over what was found wrong in what was read here."""
        self.notes += self._recording.notes[self._known :]
        self._known = len(self._recording.notes)

    def close(self) -> None:
        """Nothing: see `close_kept`."""

    def __enter__(self) -> _Lent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...

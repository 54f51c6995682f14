"""Finds the parts of a recording in which there are messages: a recorder that paused leaves hours without any."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from taemi_edge.media.recordings.bag import McapBag, RosBag
from taemi_edge.media.recordings.mcap_file import McapFile
from taemi_edge.media.recordings.recording import Recording


def windows_with_messages(
    recording: Recording, topics: Collection[str], start_ns: int, length_ns: int, most: int
) -> list[int]:
    """The numbers of the windows in which some topics have a message; chunks and indexes are asked where there are any.

    Args:
        start_ns: the log time at which window 0 begins; that much before its first message, messages were made before
            they were logged, and belong to both windows.
        length_ns: of a window.
        most: no more than one above so many are looked for.
    """
    found: set[int] = set()
    early_ns = max(0, (recording.start_ns or start_ns) - start_ns)
    for log_ns in _moments_ns(recording, topics, start_ns, length_ns):
        found.add((log_ns - start_ns) // length_ns)
        found.add(max(0, log_ns - early_ns - start_ns) // length_ns)
        if len(found) > most:
            break
    return sorted(found)


def _moments_ns(recording: Recording, topics: Collection[str], start_ns: int, length_ns: int) -> Iterator[int]:
    """Log times of messages, at least one of each window that has any."""
    if isinstance(recording, McapFile | McapBag):
        yield from recording.moments_ns(topics, length_ns)
    elif isinstance(recording, RosBag):
        message = next(iter(recording.messages(topics, start_ns)), None)
        while message is not None:
            yield message.log_ns
            next_ns = start_ns + ((message.log_ns - start_ns) // length_ns + 1) * length_ns
            message = next(iter(recording.messages(topics, next_ns)), None)
    else:
        yield from (message.log_ns for message in recording.messages(topics))

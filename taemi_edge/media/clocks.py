"""Brings files that count time from different moments to one clock.

A file counts from its own beginning (video, sound, transcripts, series with small `time_s`), in Unix time, or from a
moment that nobody knows, as `timestamp_ns` does that is no Unix time: most often since the machine was started. Files
of one such clock keep their distances. Where files of two meet, nothing says how they lie: they are taken to begin
together, and a note says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from taemi_edge.errors import InputError

#: Seconds from here on (1973) are Unix time: no recording and no machine runs for three years.
UNIX_FROM_S = 1e8
#: A clock of series alone that begins later than this does not count from their beginning.
LATEST_START_S = 60.0
#: Files with more than this between them were not recorded together.
LONGEST_PAUSE_S = 60.0

Clock = Literal["beginning", "unix", "uptime"]
_IN_WORDS: dict[Clock, str] = {
    "beginning": "counts from its own beginning",
    "unix": "has Unix time",
    "uptime": "has timestamps of another clock",
}


@dataclass(frozen=True)
class Span:
    """When a file begins and ends, in seconds on its own clock.

    Attributes:
        file: what messages call it.
        anchors: whether 0 is the file's beginning although nothing may have come yet, as in video, sound and
            transcripts.
    """

    file: str
    clock: Clock
    start_s: float
    end_s: float
    anchors: bool = False


def clock_of(start_s: float, in_timestamps: bool = False) -> Clock:
    """The clock of a file by its first time.

    Args:
        start_s: in seconds.
        in_timestamps: it comes from `timestamp_ns`.

    >>> clock_of(0.5), clock_of(1.7e9), clock_of(5000.0, in_timestamps=True)
    ('beginning', 'unix', 'uptime')
    """
    if start_s >= UNIX_FROM_S:
        return "unix"
    return "uptime" if in_timestamps else "beginning"


def common_clock(spans: Sequence[Span]) -> tuple[list[float], list[str]]:
    """How many seconds each file is to be moved by, and what was assumed, a sentence for each assumption.

    Raises:
        InputError: the files have no moment in common, and so cannot be of one time.

    Example:
        >>> video, imu = Span("a.mp4", "beginning", 0, 9, anchors=True), Span("imu.csv", "unix", 1.7e9, 1.7e9 + 9)
        >>> common_clock([video, imu])[0]
        [0.0, -1700000000.0]
    """
    first = {span.clock: min(s.start_s for s in spans if s.clock == span.clock) for span in spans}
    notes: list[str] = []
    if "beginning" in first and (first["beginning"] <= LATEST_START_S or any(s.anchors for s in spans)):
        first["beginning"] = 0.0
    elif "beginning" in first:
        named = next(span for span in spans if span.clock == "beginning" and span.start_s == first["beginning"])
        notes.append(f"{named.file} begins at {named.start_s:g} s: this is taken as the beginning of the recording")
    if len(first) > 1:
        named_clocks = {span.clock: span.file for span in reversed(spans)}
        said = ", ".join(f"{named_clocks[clock]} {_IN_WORDS[clock]}" for clock in first)
        notes.append(f"{said}: they are taken to begin together")
    shifts = [0.0 - first[span.clock] for span in spans]
    _require_one_time(spans, shifts)
    return shifts, notes


def _require_one_time(spans: Sequence[Span], shifts: Sequence[float]) -> None:
    moved = [(span.start_s + shift, span.end_s + shift, span.file) for span, shift in zip(spans, shifts, strict=True)]
    moved.sort()
    until_s, before = moved[0][1], moved[0][2]
    for start_s, end_s, file in moved[1:]:
        if start_s > until_s + LONGEST_PAUSE_S:
            raise InputError(
                f"expected files of one time, got {file} from {start_s:g} s on and {before} up to {until_s:g} s: bring "
                f"them to one clock"
            )
        if end_s > until_s:
            until_s, before = end_s, file

"""Lines that other programs send while a run goes on."""

from __future__ import annotations

import io

from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.capture.mailbox import RowBox
from taemi_edge.live.lines import LineListener, LineParser
from taemi_edge.live.series_lines import SeriesLines
from taemi_edge.live.words import TranscriptLines, WordInbox
from tests.fuzz.harness import Harness
from tests.fuzz.mutation.trees import mutate_json_lines

_NOBODY = "nobody has sent it yet"


def _words(content: bytes) -> None:
    door, desk = WordInbox(_NOBODY), WordInbox(_NOBODY)
    problem = _read(TranscriptLines({"door": [door], "desk": [desk]}, SessionClock()), content)
    for inbox in (door, desk):
        words, _ = inbox.take(1e9)
        assert all(word.end_s <= 1e9 for word in words)
    _say(problem)


def _series(content: bytes) -> None:
    boxes = {stream: RowBox(width, keep_s=5.0, absent_reason=_NOBODY) for stream, width in (("imu", 2), ("pulse", 1))}
    problem = _read(SeriesLines({"desk": boxes}, SessionClock()), content)
    for box in boxes.values():
        box.take(60.0)
    _say(problem)


def _read(parser: LineParser, content: bytes) -> str | None:
    """Read lines as a run does, which logs and keeps what was wrong with the last bad one."""
    listener = LineListener("-", parser)
    listener._read(io.BytesIO(content))
    return listener.last_problem


def _say(problem: str | None) -> None:
    if problem is not None:
        raise ValueError(problem)


HARNESSES = (
    Harness("lines-words", _words, mutate_json_lines, refusals=(ValueError,)),
    Harness("lines-series", _series, mutate_json_lines, refusals=(ValueError,)),
)

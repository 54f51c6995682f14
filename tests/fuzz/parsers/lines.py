"""Lines that other programs send while a run goes on."""

from __future__ import annotations

from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.capture.mailbox import RowBox
from taemi_edge.live.lines import MAX_LINE
from taemi_edge.live.series_lines import SeriesLines
from taemi_edge.live.words import TranscriptLines, WordInbox
from tests.fuzz.harness import Harness
from tests.fuzz.mutation.trees import mutate_json_lines

_NOBODY = "nobody has sent it yet"


def _words(content: bytes) -> None:
    door, desk = WordInbox(_NOBODY), WordInbox(_NOBODY)
    parser = TranscriptLines({"door": [door], "desk": [desk]}, SessionClock())
    _take(parser.take_line, content)
    for inbox in (door, desk):
        words, _ = inbox.take(1e9)
        assert all(word.end_s <= 1e9 for word in words)


def _series(content: bytes) -> None:
    boxes = {stream: RowBox(width, keep_s=5.0, absent_reason=_NOBODY) for stream, width in (("imu", 2), ("pulse", 1))}
    parser = SeriesLines({"desk": boxes}, SessionClock())
    _take(parser.take_line, content)
    for box in boxes.values():
        box.take(60.0)


def _take(take_line: object, content: bytes) -> None:
    refused: ValueError | None = None
    for line in content.split(b"\n"):
        if line.strip() and len(line) <= MAX_LINE:
            try:
                take_line(line)  # type: ignore[operator]
            except ValueError as error:
                if type(error) is not ValueError:  # one of Python's own, which nobody has put into words
                    raise RuntimeError(repr(error)) from error
                refused = error
    if refused is not None:
        raise refused


HARNESSES = (
    Harness("lines-words", _words, mutate_json_lines, refusals=(ValueError,)),
    Harness("lines-series", _series, mutate_json_lines, refusals=(ValueError,)),
)

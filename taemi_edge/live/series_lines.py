"""Live series: reads lines of JSON from the programs that read sensors, and puts their rows on the session's clock.

    {"time_s": 12.4, "values": [0.1, 0.0, 9.8]}
    {"time_s": 12.4, "imu": [0.1, 0.0, 9.8], "heart": [71]}

`values` is the row of the stream that comes from this place; where several do, each stands under its own name.
`time_s` is in seconds of the session, as in the predictions, or Unix time (anything above 10^9); a line without it was
measured just now. `source` names the source where there are several. A line that is anything else, that goes backwards
in time, that lies in the future or that holds a NaN is counted, logged and left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.capture.mailbox import RowBox
from taemi_edge.live.lines import of_source

#: The clocks of two machines may differ a little: a row may lie so far in the future.
_AHEAD_S = 0.25


class SeriesLines:
    """Puts the rows of lines into the boxes of their streams; see `taemi_edge.live.lines.LineParser`.

    Args:
        boxes: by the name of a source, the boxes of its streams by their names.
        clock: the clock of the session.

    Example:
        >>> box = RowBox(2, keep_s=5.0, absent_reason="nobody has sent imu yet")
        >>> lines = SeriesLines({"desk": {"imu": box}}, SessionClock())
        >>> lines.take_line(b'{"values": [1.0, 2.0]}')
        >>> box.take(60.0)[0][0].rows.tolist()
        [[1.0, 2.0]]
    """

    def __init__(self, boxes: Mapping[str, Mapping[str, RowBox]], clock: SessionClock) -> None:
        self._boxes, self._clock = boxes, clock
        self.name = ", ".join(dict.fromkeys(stream for of in boxes.values() for stream in of))
        self.what = self.name
        self.option = f"--stream {next(iter(next(iter(boxes.values()))))}="

    def take_line(self, line: bytes) -> None:
        """Put the rows of a line into their boxes.

        Raises:
            ValueError: the line is no JSON of the expected form, names no source of ours, or one of its rows is wrong;
                the other rows of the line are taken.
        """
        content = _decoded(line)
        source = content.get("source")
        if not isinstance(source, str | None):
            raise ValueError(f'expected "source" to be a name, got {source!r}')
        boxes = of_source(self._boxes, source)
        time_s = self._time_s(content.get("time_s"))
        problems = []
        for stream, row in self._rows(content, boxes):
            try:
                boxes[stream].put(time_s, _numbers(row))
            except ValueError as error:
                problems.append(f"{stream}: {error}")
        if problems:
            raise ValueError("; ".join(problems))

    def set_loss(self, reason: str | None) -> None:
        """Note why no rows can come; None where they can."""
        for box in self._all():
            box.loss = reason

    def end(self) -> None:
        """Note that no rows will ever come again."""
        for box in self._all():
            box.ended = True

    def _all(self) -> list[RowBox]:
        return [box for boxes in self._boxes.values() for box in boxes.values()]

    def _time_s(self, given: Any) -> float:
        """The session's time of a line."""
        now_s = self._clock.now_s()
        if given is None:
            return now_s
        if isinstance(given, bool) or not isinstance(given, int | float) or not abs(given) < 1e12:
            raise ValueError(f'expected "time_s" in seconds of the run or in Unix time, got {given!r}')
        time_s = self._clock.of_given(float(given))
        if time_s > now_s + _AHEAD_S:
            raise ValueError(
                f'expected "time_s" in seconds of the run or in Unix time, got {given:g}, which lies '
                f"{time_s - now_s:.3g} s in the future"
            )
        return time_s

    def _rows(self, content: Mapping[str, Any], boxes: Mapping[str, RowBox]) -> Iterator[tuple[str, Any]]:
        named = [stream for stream in boxes if stream in content]
        if not named and "values" in content and len(boxes) == 1:
            yield next(iter(boxes)), content["values"]
        elif not named:
            forms = '"values": [...]' if len(boxes) == 1 else ", ".join(f'"{stream}": [...]' for stream in boxes)
            raise ValueError(f'expected {{"time_s": s, {forms}}}, got {", ".join(content) or "nothing"}')
        for stream in named:
            yield stream, content[stream]


def _decoded(line: bytes) -> dict[str, Any]:
    """The object that a line holds. Python and others write NaN, which is no JSON, but says what is wrong."""
    try:
        content = json.loads(line) if b"NaN" in line or b"Infinity" in line else msgspec.json.decode(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'expected {{"time_s": s, "values": [...]}}: {error}') from error
    if not isinstance(content, dict):
        raise ValueError(f'expected {{"time_s": s, "values": [...]}}, got a {type(content).__name__}')
    return content


def _numbers(row: Any) -> list[float]:
    if isinstance(row, int | float) and not isinstance(row, bool):
        row = [row]
    if not isinstance(row, list):
        raise ValueError(f"expected a list of numbers, got {row!r:.60}")
    if wrong := [value for value in row if isinstance(value, bool) or not isinstance(value, int | float)]:
        raise ValueError(f"expected numbers, got {wrong[0]!r:.60}")
    try:
        return [float(value) for value in row]
    except OverflowError:
        raise ValueError("expected finite numbers, got NaN or infinity") from None

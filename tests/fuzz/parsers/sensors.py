"""What sensors send in datagrams, messages and lines, and the options of their addresses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from taemi_edge.bundle.streams import StreamSpec
from taemi_edge.errors import TaemiError
from taemi_edge.live.capture.addresses import parse_address
from taemi_edge.live.capture.mailbox import RowBox
from taemi_edge.live.capture.readers import DecodedRows
from taemi_edge.live.capture.row_clock import RowClock
from taemi_edge.live.capture.sensors.payloads import MOST_BYTES
from taemi_edge.live.capture.sensors.sensor_reader import SensorReader
from taemi_edge.live.capture.sensors.serial_reader import LineCutter
from taemi_edge.live.capture.settings import WatchSettings
from tests.fuzz.harness import Harness
from tests.fuzz.mutation.plain import mutate_text
from tests.fuzz.mutation.trees import mutate_json_lines
from tests.live.sensors import TRIPLE
from tests.live.specs import WORDS


class _Given(SensorReader):
    """A reader that keeps the last reason why something was left out."""

    problem: str | None = None

    def leave_out(self, what: str, why: str) -> None:
        super().leave_out(what, why)
        self.problem = "".join(sign if sign.isprintable() else "?" for sign in why)


def _reader(content: bytes, stream: StreamSpec) -> tuple[_Given, Sequence[bytes]]:
    """The reader whose options the first line holds, and the message behind it."""
    options, _, message = content.partition(b"\n")
    address = parse_address(f"udp://127.0.0.1:9000?{options.decode('latin-1')}", rows=True)
    return _Given(address, WatchSettings(), stream), [message]


def _rows(content: bytes) -> None:
    reader, messages = _reader(content, TRIPLE)
    box, clock = RowBox(3, 5.0, None), RowClock(0.0)
    for item in reader._decoded(messages):
        assert isinstance(item, DecodedRows)
        assert item.rows.shape[1] == 3
        times_s = clock.place(item.times_s, len(item.rows), 1.0)
        assert (times_s <= 1.0 + 1e-6 * max(1.0, abs(times_s).max())).all()
        box.put_rows(times_s, item.rows)
    for values in box.take(60.0)[0]:
        assert np.isfinite(values.rows).all()
        assert (np.diff(values.times_s) >= 0).all()
    _say(reader.problem)


def _words(content: bytes) -> None:
    reader, messages = _reader(content, WORDS)
    list(reader._decoded(messages))
    _say(reader.problem)


def _lines(content: bytes) -> None:
    size = content[0] % 64 + 1 if content else 1
    whole, cut = LineCutter(is_between=True), LineCutter(is_between=True)
    lines = whole.lines(content[1:])
    pieces = [content[at : at + size] for at in range(1, len(content), size)]
    assert [line for piece in pieces for line in cut.lines(piece)] == lines
    assert all(len(line) <= MOST_BYTES and b"\n" not in line for line in lines)


def _say(problem: str | None) -> None:
    if problem is not None:
        raise ValueError(problem)


HARNESSES = (
    Harness("sensor-rows", _rows, mutate_json_lines, refusals=(TaemiError, ValueError)),
    Harness("sensor-words", _words, mutate_json_lines, refusals=(TaemiError, ValueError)),
    Harness("sensor-lines", _lines, mutate_text),
)

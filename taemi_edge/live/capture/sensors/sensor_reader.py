"""What all readers of sensors share: they collect what came, make rows or words of it, and leave out what is wrong.

Many messages make one batch, and a reader that would take too much of a processor waits: a flood of messages must not
take the processor from the run.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Sequence

import numpy as np

from taemi_edge.bundle.streams import SERIES, TEXT, SeriesSpec, StreamSpec, TextSpec, kind_name
from taemi_edge.errors import UsageError, in_one_line
from taemi_edge.live.capture.addresses import Address
from taemi_edge.live.capture.decode_level import DecodeLevel
from taemi_edge.live.capture.readers import DecodedRows, DecodedWords, Track
from taemi_edge.live.capture.sensors.payloads import RowParser, WordParser
from taemi_edge.live.capture.sensors.reader_pace import ReaderPace, is_flood
from taemi_edge.live.capture.sensors.unusable import UnusableMessages
from taemi_edge.live.capture.settings import WatchSettings
from taemi_edge.live.rare_log import RareLog

log = logging.getLogger("taemi_edge.live")

#: How often a reader shows that it lives while nothing comes, in seconds.
TICK_S = 0.25
#: Messages that come within this time are one batch: each batch costs as much as twenty rows.
_BATCH_S = 0.002
#: A reader fetches no more messages at once: so a flood that is thinned out is thinned out evenly.
MOST_AT_ONCE = 250
#: Lines that senders set off, over all connections.
_RARE_LOG = RareLog(log)
#: What follows in a reason tells one message from another, and so do numbers; what is before says the kind.
_DETAILS, _DIGITS = re.compile(r", got |: "), re.compile(r"\d+")


def parser_of(address: Address, stream: StreamSpec) -> RowParser | WordParser:
    """What reads the messages of an address for a stream.

    Raises:
        UsageError: no such address feeds such a stream, or an option cannot be used.
    """
    try:
        if isinstance(stream, SeriesSpec):
            return RowParser(stream.channels, address.options)
        if isinstance(stream, TextSpec):
            return WordParser(address.options)
    except ValueError as error:
        option, _, problem = str(error).partition(": ")
        raise UsageError(f"{address.shown}: ?{option}=: {problem}") from error
    raise UsageError(
        f"{address.shown}: expected a series or words to be fed by it, got a stream of {kind_name(stream)}"
    )


class SensorReader:
    """One connection to a sensor; see `Reader`. Derived classes connect, and say what came.

    Args:
        address: of the sensor.
        settings: its timeouts.
        stream: what the stream takes that it feeds.
    """

    def __init__(self, address: Address, settings: WatchSettings, stream: StreamSpec) -> None:
        self.absent: dict[Track, str] = {}
        self.losses: dict[Track, str] = {}
        self.unusable: dict[Track, str] = {}
        self.damaged_packets = 0
        self.waited_s = self.lag_s = 0.0
        self.address, self.settings = address, settings
        self._parser = parser_of(address, stream)
        self._pace = ReaderPace()
        self._track: Track = TEXT if isinstance(stream, TextSpec) else SERIES
        self._unusable = UnusableMessages(settings.lost_after_s, may_pause=self._track == TEXT)

    def receive(self, wait_s: float) -> Sequence[bytes]:
        """The messages that came, of a flood not all; waits for the first of them.

        Args:
            wait_s: for how long to wait at most.

        Raises:
            SourceGoneError: the connection is lost.
        """
        raise NotImplementedError

    def close(self) -> None:
        """End the connection."""
        raise NotImplementedError

    def items(self) -> Iterator[DecodedRows | DecodedWords | None]:
        self._pace.rest_s()
        while True:
            asked_s = time.monotonic()
            messages = self.receive(TICK_S)
            self.waited_s += time.monotonic() - asked_s
            came = False
            for item in self._decoded(messages):
                came = True
                self._unusable.note_good(time.monotonic())
                yield item
            self._look()
            if not came:  # also where all of it was left out
                yield None
            self._rest(_BATCH_S if 0 < len(messages) < MOST_AT_ONCE else 0.0)

    def set_decode_level(self, level: DecodeLevel) -> None:
        """Do nothing: numbers and words are always decoded."""

    def leave_out(self, what: str, why: str) -> None:
        """Count something that cannot be used, and say so now and then."""
        self.damaged_packets += 1
        self._unusable.note_bad(f"what comes cannot be used: {in_one_line(why)[:120]}", time.monotonic())
        kind = _DIGITS.sub("#", _DETAILS.split(why, maxsplit=1)[0])
        if (more := _RARE_LOG.left_out(f"{self.address.shown}: {what}: {kind}")) is not None:
            others = f" (and {more} more times since the last such line)" if more else ""
            log.warning("%s: %s was left out: %s%s", self.address.shown, what, in_one_line(why)[:200], others)

    def say(self, what: str) -> None:
        """Log something now and then."""
        _RARE_LOG.warning(f"{self.address.shown}: {what}")

    def _look(self) -> None:
        """Say whether the stream is lost because of what comes."""
        self._unusable.tell(time.monotonic(), self.losses, self.unusable, self._track)

    def _decoded(self, messages: Sequence[bytes]) -> Iterator[DecodedRows | DecodedWords]:
        """What messages hold: all their rows as one batch, or their words one after the other."""
        times_s: list[float] = []
        rows: list[list[float]] = []
        for message in messages:
            try:
                parsed = self._parser.read(message)
            except ValueError as error:
                self.leave_out("a message", str(error))
                continue
            if isinstance(parsed, DecodedWords):
                yield parsed
                continue
            if rows and bool(times_s) != (parsed.times_s is not None):
                yield self._batch(times_s, rows)
                times_s, rows = [], []
            times_s += parsed.times_s or ()
            rows += parsed.rows
        if rows:
            yield self._batch(times_s, rows)

    def _batch(self, times_s: list[float], rows: list[list[float]]) -> DecodedRows:
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is left out by its box
            values = np.array(rows, np.float32)
        if wrong := len(rows) - int(np.count_nonzero(np.isfinite(values).all(axis=1))):
            self.damaged_packets += wrong - 1
            self.leave_out("a row", "expected finite numbers, got NaN or infinity")
        return DecodedRows(np.array(times_s, np.float64) if times_s else None, values)

    def _rest(self, least_s: float) -> None:
        """Wait until the next batch; also after what was left out, of which there may be a flood as well."""
        rest_s = self._pace.rest_s()
        if is_flood(rest_s):
            self.say("messages come faster than there is time for: some wait or are lost")
        if (wait_s := max(rest_s, least_s)) > 0:
            asked_s = time.monotonic()
            time.sleep(min(wait_s, TICK_S))
            self.waited_s += time.monotonic() - asked_s

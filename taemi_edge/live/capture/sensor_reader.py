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
from taemi_edge.live.capture.message_faults import MessageFaults
from taemi_edge.live.capture.payloads import RowParser, WordParser
from taemi_edge.live.capture.readers import DecodedRows, DecodedWords, Track
from taemi_edge.live.capture.settings import WatchSettings
from taemi_edge.live.pace import Pace
from taemi_edge.live.rare_log import RareLog

log = logging.getLogger("taemi_edge.live")

#: How often a reader shows that it lives while nothing comes, in seconds.
TICK_S = 0.25
#: Messages that come within this time are one batch: each batch costs as much as twenty rows.
_BATCH_S = 0.002
#: A reader fetches no more messages at once: so a flood that is thinned out is thinned out evenly.
MOST_AT_ONCE = 250
#: How much of a processor one sensor may take, and how much at once, in seconds.
_PROCESSOR_SHARE, _BURST_S = 0.6, 0.3
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
        self._track: Track = SERIES if isinstance(stream, SeriesSpec) else TEXT
        self._faults = MessageFaults(settings.lost_after_s)
        self._pace = Pace(_PROCESSOR_SHARE, _BURST_S, most_debt=1.0)

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
        used_s = time.thread_time()
        while True:
            asked_s = time.monotonic()
            messages = self.receive(TICK_S)
            now_s = time.monotonic()
            self.waited_s += now_s - asked_s
            if not messages:
                self._tell_faults(now_s)
                yield None
                continue
            yield from self._decoded(messages)
            self._tell_faults(now_s)
            used_s = self._rest(used_s, 0.0 if len(messages) >= MOST_AT_ONCE else _BATCH_S)

    def set_decode_level(self, level: DecodeLevel) -> None:
        """Do nothing: numbers and words are always decoded."""

    def leave_out(self, what: str, why: str) -> None:
        """Count something that cannot be used, remember why, and say so now and then for each kind of reason."""
        self.damaged_packets += 1
        why = in_one_line(why)[:200]
        self._faults.bad(why, time.monotonic())
        kind = _DIGITS.sub("#", _DETAILS.split(why, maxsplit=1)[0])
        more = _RARE_LOG.left_out(f"{self.address.shown}: {what}: {kind}")
        if more is not None:
            others = f" (and {more} more times since the last such line)" if more else ""
            log.warning("%s: %s was left out: %s%s", self.address.shown, what, why, others)

    def say(self, what: str) -> None:
        """Log something now and then."""
        _RARE_LOG.warning(f"{self.address.shown}: {what}")

    def _tell_faults(self, now_s: float) -> None:
        """Say why nothing usable comes; before anything usable came that is a loss at once."""
        self._faults.tell(now_s, self.unusable, self._track)
        reason = self.unusable.get(self._track)
        if reason is None or self._faults.any_good:
            self.losses.pop(self._track, None)
        else:
            self.losses[self._track] = reason

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
            self._faults.good()
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

    def _rest(self, before_s: float, least_s: float) -> float:
        """Wait until the next batch; returns this thread's time of a processor until now."""
        used_s = time.thread_time()
        wait_s = self._pace.wait_s(used_s - before_s, time.monotonic())
        if wait_s > 0.01:
            self.say("messages come faster than there is time for: some wait or are lost")
        asked_s = time.monotonic()
        time.sleep(min(max(wait_s, least_s), TICK_S))
        self.waited_s += time.monotonic() - asked_s
        return used_s

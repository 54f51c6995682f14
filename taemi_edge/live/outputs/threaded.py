"""Runs an output that may take long in a thread of its own, so that it cannot delay a hop."""

from __future__ import annotations

import logging
import queue
import threading
from typing import TypeAlias

from taemi_edge.errors import OutputError
from taemi_edge.live.events import ModelEvent, PresenceEvent
from taemi_edge.live.failures import failure_of
from taemi_edge.live.load import LoadEvent
from taemi_edge.live.outputs.output import HopResult, Output

log = logging.getLogger("taemi_edge.live")

_Event: TypeAlias = PresenceEvent | ModelEvent | LoadEvent

_CLOSE_TIMEOUT_S, _JOIN_TIMEOUT_S = 10, 30


class ThreadedOutput:
    """An output that passes everything on to another one in a thread of its own.

    Where the other output cannot keep up, results and events are left out and counted in `left_out`. An exception of
    the other output is logged and does not end the run.

    Args:
        output: the output that does the work.
        name: what log lines and the thread are called.
        most: how many results and events may wait.
    """

    def __init__(self, output: Output, name: str, most: int = 16) -> None:
        self._output, self._name = output, name
        self._queue: queue.Queue[HopResult | _Event | None] = queue.Queue(most)
        self.left_out = 0
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def on_hop(self, result: HopResult) -> None:
        """Hand a result over; returns at once."""
        self._put(result)

    def on_event(self, event: PresenceEvent) -> None:
        """Hand an event over; returns at once."""
        self._put(event)

    def on_load(self, event: LoadEvent) -> None:
        """Hand a change of the load over; returns at once."""
        self._put(event)

    def on_model(self, event: ModelEvent) -> None:
        """Hand an event over; returns at once."""
        self._put(event)

    def close(self) -> None:
        """Wait until what was handed over is written, up to 40 s."""
        try:
            self._queue.put(None, timeout=_CLOSE_TIMEOUT_S)
        except queue.Full:
            log.error("%s does not end: what waits for it is lost", self._name)
            return
        self._thread.join(_JOIN_TIMEOUT_S)

    def _put(self, item: HopResult | _Event) -> None:
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            self.left_out += 1
            if self.left_out & (self.left_out - 1) == 0:  # the first, second, fourth, ...: not a flood
                log.warning("%s cannot keep up: %d moments left out", self._name, self.left_out)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                if isinstance(item, HopResult):
                    self._output.on_hop(item)
                elif isinstance(item, LoadEvent):
                    self._output.on_load(item)
                elif isinstance(item, ModelEvent):
                    self._output.on_model(item)
                else:
                    self._output.on_event(item)
            except Exception as error:  # noqa: BLE001  one output's failure must not end the run
                log.error("%s failed: %s", self._name, failure_of(error))
        try:
            self._output.close()
        except OutputError as error:
            log.error("%s", error)

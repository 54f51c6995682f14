"""Live sources in, a prediction a hop of each out, on time: what comes late is counted, what was missed is not made up.

A hop that ends at T is made at T + `settle_s`, when what belongs to it has arrived. Where a hop takes longer than there
is time, those in between are left out: live video never queues.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.events import Lamps, PresenceEvent
from taemi_edge.live.source import LiveSource
from taemi_edge.media.crops import Face
from taemi_edge.media.hops import Hop
from taemi_edge.runtime.pipeline import Fleet
from taemi_edge.runtime.prediction import Prediction
from taemi_edge.runtime.prepared_hop import PreparedHop

log = logging.getLogger("taemi_edge.live")

#: How often captures are looked after, and losses noticed, between hops.
WATCH_EVERY_S = 0.1


@dataclass(frozen=True, eq=False)
class Moment:
    """One source's hop and what was made of it."""

    hop: Hop
    prediction: Prediction
    face: Face | None
    #: The words of the window.
    words: tuple[str, ...] = ()


class Output(Protocol):
    """Where predictions and events go. Nothing here may block: what takes time belongs in a thread of its own."""

    def on_moment(self, moment: Moment) -> None: ...
    def on_event(self, event: PresenceEvent) -> None: ...
    def close(self) -> None:
        """Write what is left."""


@dataclass
class HopCounts:
    """How the hops of a run went; written by the loop alone."""

    made: int = 0
    late: int = 0
    missed: int = 0
    failed_looks: int = 0
    #: When the last one was made, on the session clock.
    last_s: float | None = None
    #: How long after it was due the last one was ready.
    last_delay_s: float = 0.0


class LiveLoop:
    """Runs a fleet on live sources until it is told to stop, or until all of them have ended.

    Args:
        fleet: opened for just these sources, in this order.
        settle_s: how long after a hop's end its data may still arrive.
        outputs: told each moment and event, in this order.
    """

    def __init__(
        self,
        fleet: Fleet,
        sources: Sequence[LiveSource],
        clock: SessionClock,
        hop_s: float,
        settle_s: float,
        outputs: Sequence[Output],
    ) -> None:
        self.fleet, self.sources, self.clock, self.hop_s, self.settle_s = fleet, list(sources), clock, hop_s, settle_s
        self.outputs = list(outputs)
        self.lamps = Lamps([source.name for source in sources])
        self.counts = HopCounts()
        #: Set by whoever wants the run to end.
        self.stopping = threading.Event()
        self._telling = threading.Lock()
        self._pool = ThreadPoolExecutor(max(1, min(8, len(self.sources))), thread_name_prefix="look")

    def run(self, duration_s: float | None = None) -> None:
        """Make hops; returns once `stopping` is set, `duration_s` is over or all sources have ended.

        Raises:
            BackendError: the device failed and nothing can take over.
        """
        over = threading.Event()
        watch = threading.Thread(target=self._watch, args=(over,), name="watch", daemon=True)
        for source in self.sources:
            for capture in source.captures:
                capture.start()
        watch.start()
        try:
            self._make_hops(duration_s)
        finally:
            over.set()
            watch.join()
            captures = [capture for source in self.sources for capture in source.captures]
            for capture in captures:
                capture.ask_to_stop()
            for capture in captures:
                capture.stop()
            self._pool.shutdown()

    def _make_hops(self, duration_s: float | None) -> None:
        index = int(self.clock.now_s() / self.hop_s) + 1
        while duration_s is None or index * self.hop_s <= duration_s + 1e-6:
            end_s = index * self.hop_s
            if self.stopping.wait(max(0.0, end_s + self.settle_s - self.clock.now_s())):
                return
            ended = all(source.ended for source in self.sources)
            self._make_hop(end_s)
            if ended:
                return
            behind = int((self.clock.now_s() - self.settle_s) / self.hop_s)
            self.counts.missed += max(0, behind - index)
            index = max(index, behind) + 1

    def _make_hop(self, end_s: float) -> None:
        now_s = self.clock.now_s()
        hops = [source.take(end_s, now_s) for source in self.sources]
        looked = dict(enumerate(self._pool.map(self._look, range(len(hops)), hops)))
        predictions = self.fleet.predict(looked)
        made_s = self.clock.now_s()
        counts = self.counts
        counts.made, counts.last_s = counts.made + 1, made_s
        counts.last_delay_s = made_s - end_s - self.settle_s
        counts.late += counts.last_delay_s > self.hop_s
        for index, prediction in enumerate(predictions):
            moment = Moment(hops[index], prediction, self.fleet.windows[index].face, self.fleet.windows[index].words)
            for output in self.outputs:
                output.on_moment(moment)
            losses = self.sources[index].losses(made_s)
            self._change(partial(self.lamps.after_hop, prediction, losses))

    def _look(self, index: int, hop: Hop) -> PreparedHop:
        """Find a source's faces; where that fails, its picture is lost and the others go on."""
        try:
            return self.fleet.prepare(index, hop)
        except Exception:  # whatever a strange frame sets off must not end a run of weeks
            self.counts.failed_looks += 1
            log.exception("%s: its hop could not be read", self.sources[index].name)
            losses = {**hop.losses, "vision": "its picture could not be read"}
            return self.fleet.prepare(index, Hop(hop.end_s, losses=losses, words=hop.words))

    def _watch(self, over: threading.Event) -> None:
        """Notice losses between hops."""
        while not over.wait(WATCH_EVERY_S):
            now_s = self.clock.now_s()
            for source in self.sources:
                try:
                    source.watch(now_s)
                    losses = source.losses(now_s)
                    self._change(partial(self.lamps.after_watch, source.name, losses, now_s))
                except Exception:  # without its watch no loss would ever be noticed again
                    log.exception("%s: it could not be looked after", source.name)

    def _change(self, lamps: Callable[[], Sequence[PresenceEvent]]) -> None:
        """Change lamps and tell it, in one: the loop and the watch both do, and events keep their order."""
        with self._telling:
            for event in lamps():
                for output in self.outputs:
                    output.on_event(event)

"""The loop of a live run: at the end of each hop it takes what the sources gave and makes a prediction for each.

A hop that ends at time T is made at T + `settle_s`, so that data on its way can still arrive. Where a prediction takes
longer than a hop, the hops in between are missed and counted: the loop never falls behind and never queues. Where that
goes on, less is done (`load.py`): fewer frames first, then longer hops.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import msgspec

from taemi_edge.bundle.streams import VideoSpec
from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.events import ModelEvent, PresenceEvent, StreamStates
from taemi_edge.live.load import LoadControl, LoadEvent
from taemi_edge.live.outputs.output import HopResult, Output
from taemi_edge.live.source import LiveSource
from taemi_edge.media.hops import Hop
from taemi_edge.runtime.pipeline import Fleet
from taemi_edge.runtime.prediction import Degraded, Prediction
from taemi_edge.runtime.prepared_hop import PreparedHop

log = logging.getLogger("taemi_edge.live")

#: How often captures are looked after, and losses noticed, between hops.
WATCH_EVERY_S = 0.1
#: How long the end of a run waits for the captures, all together: one may be in the middle of a connection that fails.
_STOP_S = 1.5


@dataclass
class HopCounts:
    """How the hops of a run went; only the loop writes it.

    Attributes:
        made: hops with predictions.
        late: those of them that were ready more than a hop after they were due.
        missed: hops that were left out because the one before took too long.
        failed_looks: hops of a source whose frames could not be read.
        degraded: hops that were made with fewer frames or at longer intervals, because of the load.
        last_s: when the last hop was made, in seconds of the session.
        last_delay_s: how long after it was due the last hop was ready.
    """

    made: int = 0
    late: int = 0
    missed: int = 0
    failed_looks: int = 0
    degraded: int = 0
    last_s: float | None = None
    last_delay_s: float = 0.0


class Successor(Protocol):
    """What takes the place of the fleet between two hops (`taemi_edge.live.takeover`). The loop's thread calls it."""

    def fleet_for(self, end_s: float) -> Fleet:
        """The fleet that makes the hop that ends at `end_s`."""

    def after_hop(self, hops: Sequence[Hop]) -> None:
        """Take the hops, one of each source, that predictions were just made from."""


class LiveLoop:
    """Makes the hops of a live run until it is stopped, or until all of its sources have ended.

    Args:
        fleet: opened for just these sources, in this order.
        sources: what the hops are taken from.
        clock: the clock that all times of the run are on.
        hop_s: the time between two predictions, in seconds.
        settle_s: how long after the end of a hop its data may still arrive, in seconds.
        stopping: setting it ends the run; by default an event of the loop's own.

    Attributes:
        outputs: what gets every result and event, in this order; to be filled before `run`.
        states: the presence of every stream.
        counts: how the hops went.
        load: decides what is left out where hops take too long; by default nothing is. To be replaced before `run`.
        successor: hands over to another model between two hops; None where the model never changes.
    """

    def __init__(
        self,
        fleet: Fleet,
        sources: Sequence[LiveSource],
        clock: SessionClock,
        hop_s: float,
        settle_s: float,
        stopping: threading.Event | None = None,
    ) -> None:
        self.fleet, self.sources, self.clock, self.hop_s, self.settle_s = fleet, list(sources), clock, hop_s, settle_s
        self.outputs: list[Output] = []
        self.states = StreamStates([source.name for source in sources], fleet.manifest.streams)
        self.counts = HopCounts()
        self.load = LoadControl(hop_s)
        self.successor: Successor | None = None
        self.stopping = stopping or threading.Event()
        #: Held while states change and events are given out: the loop and the watch both do, and events keep order.
        self._event_lock = threading.Lock()
        self._pool = ThreadPoolExecutor(max(1, min(8, len(self.sources))), thread_name_prefix="look")

    def run(self, duration_s: float | None = None) -> None:
        """Start the sources and make hops until `stopping` is set, `duration_s` is over or all sources have ended.

        Args:
            duration_s: how many seconds of the session; None for no limit.

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
            until_s = time.monotonic() + _STOP_S
            for capture in captures:
                capture.stop(max(0.0, until_s - time.monotonic()))
            self._pool.shutdown()

    def _make_hops(self, duration_s: float | None) -> None:
        index = int(self.clock.now_s() / self.hop_s) + 1
        while duration_s is None or index * self.hop_s <= duration_s + 1e-6:
            end_s = index * self.hop_s
            if self.stopping.wait(max(0.0, end_s + self.settle_s - self.clock.now_s())):
                return
            now_s = self.clock.now_s()
            ended = all(source.ended(now_s) for source in self.sources)
            self._make_hop(end_s)
            if ended:
                return
            index = self._next_index(index)

    def _next_index(self, index: int) -> int:
        """The number of the next hop, counted in hops as configured; longer ones end at their multiples."""
        behind, every = int((self.clock.now_s() - self.settle_s) / self.hop_s), self.load.level.stretch
        self.counts.missed += max(0, behind // every - index // every)
        return (max(index, behind) // every + 1) * every

    def _make_hop(self, end_s: float) -> None:
        now_s = self.clock.now_s()
        hops = [source.take(end_s, now_s) for source in self.sources]
        for hop in hops:
            hop.frames_share = self.load.level.frames_share
        if self.successor is not None:
            self.fleet = self.successor.fleet_for(end_s)
        prepared = dict(enumerate(self._pool.map(self._prepare, range(len(hops)), hops)))
        predictions = self.fleet.predict(prepared)
        made_s = self.clock.now_s()
        self._count(end_s, made_s)
        for source, hop, window, prediction in zip(self.sources, hops, self.fleet.windows, predictions, strict=True):
            result = HopResult(hop, self._labelled(prediction), window.faces, window.words)
            for output in self.outputs:
                output.on_hop(result)
            self._send_events(partial(self.states.after_hop, prediction, source.losses(made_s)))
        self._judge_load(max(self.counts.last_delay_s, self.clock.now_s() - now_s))
        if self.successor is not None:
            self.successor.after_hop(hops)

    def _count(self, end_s: float, made_s: float) -> None:
        counts = self.counts
        counts.made, counts.last_s = counts.made + 1, made_s
        counts.last_delay_s = made_s - end_s - self.settle_s
        counts.late += counts.last_delay_s > self.load.hop_s
        counts.degraded += self.load.reason is not None

    def _labelled(self, prediction: Prediction) -> Prediction:
        """The prediction, with what is left out at the moment."""
        load = self.load
        if load.reason is None:
            return prediction
        share = load.level.frames_share
        return msgspec.structs.replace(
            prediction, degraded=Degraded(frames_share=round(share, 4), hop_s=load.hop_s, reason=load.reason)
        )

    def _judge_load(self, busy_s: float) -> None:
        """Let the load control take in a hop; what it changes holds from the next one on."""
        load, now_s = self.load, self.clock.now_s()
        if not load.judge(busy_s, now_s):
            return
        event = LoadEvent(
            time_s=round(now_s, 3),
            degraded=load.reason is not None,
            frames_share=round(load.level.frames_share, 4),
            hop_s=load.hop_s,
            reason=load.reason,
        )
        log.log(logging.WARNING if event.degraded else logging.INFO, "%s", event)
        for source in self.sources:
            source.set_hop(load.hop_s)
        with self._event_lock:
            for output in self.outputs:
                output.on_load(event)

    def _prepare(self, index: int, hop: Hop) -> PreparedHop:
        """Find what a source's pictures show; where that fails, they count as lost and the other streams go on."""
        try:
            return self.fleet.prepare(index, hop)
        except Exception:  # whatever a strange frame sets off must not end a run of weeks
            self.counts.failed_looks += 1
            log.exception("%s: its hop could not be read", self.sources[index].name)
            streams = self.fleet.manifest.streams
            videos = [s for s, spec in streams.items() if isinstance(spec, VideoSpec)]
            losses = {**hop.losses, **dict.fromkeys(videos, "its picture could not be read")}
            left = {s: pieces for s, pieces in hop.pieces.items() if s not in videos}  # `prepare` took none of them yet
            return self.fleet.prepare(index, Hop(hop.end_s, left, hop.faults, losses))

    def _watch(self, over: threading.Event) -> None:
        """Look after the captures and notice losses between hops."""
        while not over.wait(WATCH_EVERY_S):
            now_s = self.clock.now_s()
            for source in self.sources:
                try:
                    source.watch(now_s)
                    losses = source.losses(now_s)
                    self._send_events(partial(self.states.after_watch, source.name, losses, now_s))
                except Exception:  # without its watch no loss would ever be noticed again
                    log.exception("%s: it could not be looked after", source.name)

    def announce(self, event: ModelEvent) -> None:
        """Tell the outputs of another model; may be called from any thread."""
        log.log(logging.INFO if event.taken_up else logging.ERROR, "%s", event)
        with self._event_lock:
            for output in self.outputs:
                output.on_model(event)

    def _send_events(self, change: Callable[[], Sequence[PresenceEvent]]) -> None:
        """Change the states and give the events of that to the outputs, in one step."""
        with self._event_lock:
            for event in change():
                for output in self.outputs:
                    output.on_event(event)

"""Keeps one address connected for as long as a live run takes: watches the connection and replaces what fails.

The work is done by a `CaptureWorker` in a thread of its own, which may block in a driver or in FFmpeg; the runtime
never waits for it. A worker that does not come back at all is abandoned, and another takes its place.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial

from taemi_edge.bundle.streams import AUDIO, VIDEO
from taemi_edge.live.capture.addresses import Address
from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.capture.connection import CaptureSpec, ConnectionStatus, Link
from taemi_edge.live.capture.delivery import CaptureBox
from taemi_edge.live.capture.opening import open_reader
from taemi_edge.live.capture.readers import Reader, Track
from taemi_edge.live.capture.settings import WatchSettings
from taemi_edge.live.capture.worker import CaptureWorker

log = logging.getLogger("taemi_edge.live")

#: How many threads that hang in a driver are left behind at most.
_MAX_ABANDONED = 3
_MOST_REBUILD_WAIT_S = 3600.0


class Capture:
    """Feeds the boxes of its streams from one address: `start` it, `watch` it a few times a second, `stop` it.

    Args:
        spec: what to connect to, and what to take from it.
        boxes: where the data of each stream is put.
        clock: the clock of the session, which all times are on.
        settings: when a stream counts as lost, and when to connect again.
        opener: opens a connection; None for `open_reader`.
    """

    def __init__(
        self,
        spec: CaptureSpec,
        boxes: Mapping[str, CaptureBox],
        clock: SessionClock,
        settings: WatchSettings,
        opener: Callable[[Address, WatchSettings], Reader] | None = None,
    ) -> None:
        self.spec = spec
        self._boxes, self._clock, self._settings = boxes, clock, settings
        self._opener = opener or partial(open_reader, stream=spec.stream)
        self._stopping = threading.Event()
        self._status = ConnectionStatus(spec.label, clock)
        self._worker: CaptureWorker | None = None
        self._abandoned: list[CaptureWorker] = []
        self._rebuild_wait_s = settings.rebuild_after_s
        self._suspected_since_s: dict[Track, float] = {}

    @property
    def address(self) -> Address:
        """What it connects to."""
        return self.spec.address

    @property
    def is_sensor(self) -> bool:
        """Whether it gives rows or words of something that never ends."""
        return self.address.is_live and not {VIDEO, AUDIO} & set(self.spec.tracks.values())

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams that it feeds."""
        return tuple(self.spec.tracks)

    @property
    def link(self) -> Link:
        """How the connection stands at this moment."""
        return self._status.link

    @property
    def connections(self) -> int:
        """How often it was connected."""
        return self._status.connections

    @property
    def reconnects(self) -> int:
        """How often it was connected after the first time."""
        return max(0, self._status.connections - 1)

    @property
    def failures(self) -> int:
        """How often a connection was lost or refused."""
        return self._status.failures

    @property
    def damaged_packets(self) -> int:
        """How many packets and messages could not be used."""
        worker = self._worker
        return self._status.damaged_packets + (0 if worker is None else worker.damaged_packets)

    @property
    def ended(self) -> bool:
        """Whether it is a file that is at its end."""
        return self.link.state == "ended"

    def start(self) -> None:
        """Connect in a thread of its own; returns at once."""
        self._worker = CaptureWorker(
            self.spec, self._boxes, self._clock, self._settings, self._opener, self._status, self._stopping
        )
        self._worker.thread.start()

    def ask_to_stop(self) -> None:
        """Let the thread end when it can; returns at once."""
        self._stopping.set()

    def stop(self, wait_s: float = 5.0) -> None:
        """End the thread, and leave it behind where it still hangs in a driver after `wait_s` seconds."""
        self.ask_to_stop()
        for worker in filter(None, (self._worker, *self._abandoned)):
            worker.thread.join(wait_s)
        if not self.ended:
            self._status.set_link("stopped", "stopped")

    def losses(self, now_s: float) -> dict[str, str]:
        """Which streams are lost at this moment of the session, each with why."""
        link, worker = self.link, self._worker
        if link.state != "connected" or worker is None:
            return dict.fromkeys(self.streams, link.reason or link.state)
        losses: dict[str, str] = {}
        for stream, track in self.spec.tracks.items():
            if reported := worker.reported_loss(track):
                losses[stream] = reported
            elif worker.delivery.silent_s(track, now_s):
                silent = f"nothing came for more than {self._settings.lost_after_s:g} s"
                losses[stream] = worker.unusable(track) or silent
        return losses

    def suspect(self, stream: str, now_s: float, wrong: bool) -> None:
        """Note whether what arrives of a stream is useless (a frozen picture): in the end a reason to connect again."""
        track = self.spec.tracks[stream]
        if not wrong:
            self._suspected_since_s.pop(track, None)
        else:
            self._suspected_since_s.setdefault(track, now_s)

    def watch(self, now_s: float) -> None:
        """Ask for a new connection where a stream stays lost, and for a new thread where the old one hangs."""
        worker = self._worker
        if worker is None or self._stopping.is_set():
            return
        if now_s - worker.beat_s > self._settings.stuck_after_s:
            self._replace(worker)
        elif self.link.state == "connected" and self.address.is_live:
            self._rebuild_if_lost(worker, now_s)

    def _rebuild_if_lost(self, worker: CaptureWorker, now_s: float) -> None:
        delivery = worker.delivery
        told = (t for t in self.spec.tracks.values() if worker.reported_loss(t) or worker.unusable(t))
        lost = {t: delivery.silent_s(t, now_s) for t in set(self.spec.tracks.values()).difference(told)}
        lost |= {t: now_s - since_s for t, since_s in dict(self._suspected_since_s).items()}  # the loop writes it
        track = max(lost, key=lambda t: lost[t], default=None)
        if track is None or lost[track] <= self._settings.lost_after_s:
            if now_s - worker.connected_s > self._rebuild_wait_s:
                self._rebuild_wait_s = self._settings.rebuild_after_s
        elif lost[track] > self._rebuild_wait_s:
            self._rebuild_wait_s = min(self._rebuild_wait_s * 2, _MOST_REBUILD_WAIT_S)
            worker.rebuild = f"{', '.join(self.spec.streams_of(track))} did not come back: connecting anew"

    def _replace(self, worker: CaptureWorker) -> None:
        """Abandon a thread that hangs; it ends as soon as its driver returns."""
        self._abandoned = [other for other in self._abandoned if other.thread.is_alive()]
        reason = f"its driver has not answered for {self._settings.stuck_after_s:g} s"
        if len(self._abandoned) >= _MAX_ABANDONED:
            self._status.set_link("waiting", f"{reason}, {_MAX_ABANDONED} times: only a restart helps")
            worker.beat_s = self._clock.now_s()
            return
        log.warning("%s: %s: trying anew beside it", self.spec.name, reason)
        worker.abandoned.set()
        self._abandoned.append(worker)
        self._status.set_link("connecting", reason)
        self.start()

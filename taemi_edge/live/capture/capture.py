"""An address in, frames and sound in a mailbox out, for as long as it takes: connects, watches, and connects anew.

Each capture has a thread of its own, which may block in a driver or in FFmpeg; the runtime never waits for it. A thread
that does not come back at all is given up, and another takes its place.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from taemi_edge.bundle.spec import Modality
from taemi_edge.live.capture.addresses import Address
from taemi_edge.live.capture.backoff import Backoff
from taemi_edge.live.capture.clock import Backlog, SessionClock, StreamClock
from taemi_edge.live.capture.decoding_relief import BUSY, Relief
from taemi_edge.live.capture.mailbox import Mailbox
from taemi_edge.live.capture.opening import open_reader
from taemi_edge.live.capture.readers import Picture, Reader, Sound, SourceGoneError
from taemi_edge.live.capture.settings import WatchSettings
from taemi_edge.media.hops import AudioPlacer, Frame, is_finite

log = logging.getLogger("taemi_edge.live")

LinkState = Literal["connecting", "connected", "waiting", "ended", "stopped"]
#: What is said of each level of relief.
_RELIEF = (
    "%s: all of its picture is decoded again",
    (
        "%s: this machine cannot decode all of its picture in time: frames that no other needs are left out; ask the "
        "camera for a smaller picture or fewer frames"
    ),
    "%s: that is not enough: whatever comes too late is left out up to the next key frame",
)
#: How many threads that hang in a driver are left behind at most.
_MAX_ABANDONED = 3
_DIGITS = re.compile(r"[\d.]+")
#: No more pictures and pieces of sound than this are held back when a connection begins.
_MAX_HELD = 500


@dataclass(frozen=True)
class Link:
    """How a capture's connection stands, and since when; `reason` says why it is not connected."""

    state: LinkState
    reason: str | None
    since_s: float


class Capture:
    """Keeps one address connected and its mailbox fed; `start` it, `watch` it now and then, `stop` it.

    Args:
        name: what log lines call it.
        modalities: what is taken from it; the rest of its streams are left alone.
        again: whether a file is played again when it ends.
        on_end: told when a file is through.

    Example:
        >>> capture = Capture("door", parse_address("rtsp://door.local/1"), frozenset({"vision"}),
        ...                   mailbox, SessionClock(), WatchSettings())                    # doctest: +SKIP
        >>> capture.start()                                                              # doctest: +SKIP
        >>> capture.losses(now_s=3.0)                                                      # doctest: +SKIP
        {'vision': 'connection refused: nothing listens there'}
    """

    def __init__(
        self,
        name: str,
        address: Address,
        modalities: frozenset[Modality],
        mailbox: Mailbox,
        clock: SessionClock,
        settings: WatchSettings,
        *,
        again: bool = False,
        opener: Callable[[Address, WatchSettings], Reader] = open_reader,
    ) -> None:
        self.name, self.address, self.modalities = name, address, modalities
        self._mailbox, self._clock, self._settings = mailbox, clock, settings
        self._again, self._opener = again, opener
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._link = Link("connecting", "connecting", clock.now_s())
        self._worker: _Worker | None = None
        self._abandoned: list[_Worker] = []
        self._rebuild_wait_s = settings.rebuild_after_s
        self._suspected: dict[Modality, float] = {}
        self._logged: set[str] = set()
        self.connections = 0
        self.failures = 0
        self.damaged_packets = 0

    @property
    def link(self) -> Link:
        return self._link

    @property
    def _label(self) -> str:
        shown = self.address.shown
        return shown if self.name == shown else f"{self.name}: {shown}"

    @property
    def reconnects(self) -> int:
        """How often it was connected after the first time."""
        return max(0, self.connections - 1)

    @property
    def ended(self) -> bool:
        """Whether it is a file that is through."""
        return self._link.state == "ended"

    def start(self) -> None:
        self._worker = _Worker(self)
        self._worker.thread.start()

    def ask_to_stop(self) -> None:
        """Let the thread end when it can; returns at once."""
        self._stopping.set()

    def stop(self, wait_s: float = 5.0) -> None:
        """End the thread; one that hangs in a driver is left behind."""
        self.ask_to_stop()
        for worker in filter(None, (self._worker, *self._abandoned)):
            worker.thread.join(wait_s)
        if not self.ended:
            self._set_link("stopped", "stopped")

    def losses(self, now_s: float) -> dict[Modality, str]:
        """Which streams are gone at this moment, and why."""
        link, worker = self._link, self._worker
        if link.state != "connected" or worker is None:
            return dict.fromkeys(self.modalities, link.reason or link.state)
        losses: dict[Modality, str] = {}
        for modality in self.modalities:
            if modality in worker.absent:
                losses[modality] = worker.absent[modality]
            elif now_s - worker.arrived_s.get(modality, now_s) > self._settings.lost_after_s:
                losses[modality] = f"nothing came for more than {self._settings.lost_after_s:g} s"
        return losses

    def suspect(self, modality: Modality, now_s: float, wrong: bool) -> None:
        """A stream comes and is worth nothing (a frozen picture): that is a reason to connect anew, too."""
        if not wrong:
            self._suspected.pop(modality, None)
        else:
            self._suspected.setdefault(modality, now_s)

    def watch(self, now_s: float) -> None:
        """Ask for a new connection where a stream stays lost, and for a new thread where the old one hangs."""
        worker = self._worker
        if worker is None or self._stopping.is_set():
            return
        if now_s - worker.beat_s > self._settings.stuck_after_s:
            self._replace(worker)
        elif self._link.state == "connected" and self.address.is_live:
            self._rebuild_if_lost(worker, now_s)

    def _rebuild_if_lost(self, worker: _Worker, now_s: float) -> None:
        lost = {m: now_s - worker.arrived_s[m] for m in self.modalities if m not in worker.absent}
        lost |= {m: now_s - since_s for m, since_s in self._suspected.items()}
        modality = max(lost, key=lambda m: lost[m], default=None)
        if modality is None or lost[modality] <= self._settings.lost_after_s:
            if now_s - worker.connected_s > self._rebuild_wait_s:
                self._rebuild_wait_s = self._settings.rebuild_after_s
        elif lost[modality] > self._rebuild_wait_s:
            self._rebuild_wait_s = min(self._rebuild_wait_s * 2, 3600.0)
            worker.rebuild = f"{modality} did not come back: connecting anew"

    def _replace(self, worker: _Worker) -> None:
        """Leave a thread that hangs behind; it ends as soon as its driver lets go."""
        self._abandoned = [other for other in self._abandoned if other.thread.is_alive()]
        reason = f"its driver has not answered for {self._settings.stuck_after_s:g} s"
        if len(self._abandoned) >= _MAX_ABANDONED:
            self._set_link("waiting", f"{reason}, {_MAX_ABANDONED} times: only a restart helps")
            worker.beat_s = self._clock.now_s()
            return
        log.warning("%s: %s: trying anew beside it", self.name, reason)
        worker.abandoned.set()
        self._abandoned.append(worker)
        self._set_link("connecting", reason)
        self.start()

    def _set_link(self, state: LinkState, reason: str | None) -> None:
        with self._lock:
            self._link = Link(state, reason, self._clock.now_s())
        self._log_once(state, reason)

    def _log_once(self, state: LinkState, reason: str | None) -> None:
        """Each reason once, until it is connected again; tries that fail alike say nothing new."""
        if state == "connected":
            if self._logged:
                log.info("%s: connected", self._label)
            self._logged.clear()
        elif state == "waiting" and (gist := _DIGITS.sub("", reason or "")) not in self._logged:
            self._logged.add(gist)
            log.warning("%s: %s; trying again", self._label, reason)


def _stamp(item: Picture | Sound) -> tuple[Modality, float | None]:
    """Which stream an item belongs to, and the timestamp of its end: sooner than that it cannot have been sent."""
    if isinstance(item, Picture):
        return "vision", item.pts_s
    return "audio", None if item.pts_s is None else item.pts_s + item.sound.samples / item.sound.sample_rate


class _Worker:
    """One thread of a capture; everything that it writes is of its own, so that an abandoned one does no harm."""

    def __init__(self, capture: Capture) -> None:
        self._capture, self._clock, self._settings = capture, capture._clock, capture._settings
        self.abandoned = threading.Event()
        self.beat_s = self.connected_s = self._clock.now_s()
        self.arrived_s: dict[Modality, float] = {}
        self.absent: dict[Modality, str] = {}
        self.rebuild: str | None = None
        self._placer = AudioPlacer(capture._mailbox._rate_hz)
        self._clocks: dict[Modality, StreamClock] = {}
        self._woken: set[Modality] = set()
        self._relief = Relief()
        self._judged_s, self._waited_s = 0.0, 0.0
        self.thread = threading.Thread(target=self._run, name=f"capture-{capture.name}", daemon=True)

    def _is_over(self) -> bool:
        return self._capture._stopping.is_set() or self.abandoned.is_set()

    def _run(self) -> None:
        backoff = Backoff(self._settings.retry_first_s)
        while not self._is_over():
            self.beat_s = self._clock.now_s()
            try:
                try:
                    self._connect_once(backoff)
                except SourceGoneError:
                    raise
                except Exception as error:  # a reader's mistake must not end a run of weeks
                    log.exception("%s: its reader failed", self._capture.name)
                    raise SourceGoneError(f"its reader failed ({type(error).__name__})", 5.0) from error
            except SourceGoneError as error:
                if self._is_over():
                    return
                self._capture.failures += 1
                self._tell("waiting", error.reason)
                is_live = self._capture.address.is_live  # a file that cannot be read will not change so soon
                self._sleep(backoff.next_s(error.retry_cap_s if is_live else self._settings.retry_dear_s))
            else:
                if not self._capture._again:
                    self._tell("ended", "the file is at its end")
                    return
                self._sleep(0.01)  # an empty file must not be opened as fast as that can be done

    def _connect_once(self, backoff: Backoff) -> None:
        """One connection, from its opening to its end."""
        capture = self._capture
        reader = capture._opener(capture.address, self._settings)
        try:
            if self._is_over():
                return
            self.absent = {m: reason for m, reason in reader.absent.items() if m in capture.modalities}
            self.connected_s = self.beat_s = now_s = self._clock.now_s()
            self.arrived_s = dict.fromkeys(capture.modalities, now_s)
            self._clocks = {m: StreamClock() for m in capture.modalities}
            self._woken.clear()
            self.rebuild = None
            self._judged_s, self._waited_s = now_s, reader.waited_s
            reader.relieve(self._relief.level)
            capture.connections += 1
            self._tell("connected", None)
            backlog, held = Backlog(), list[Picture | Sound]()
            for item in reader.items():
                self.beat_s = self._clock.now_s()
                if self._is_over():
                    return
                if self.rebuild is not None:
                    raise SourceGoneError(self.rebuild, self._settings.retry_most_s)
                if not capture.address.is_live and not self._pace(item):
                    return
                held.append(item)
                if capture.address.is_live and len(held) < _MAX_HELD and self._is_backlog(backlog, item):
                    continue
                self._deliver(held)
                held.clear()
                if self._clock.now_s() - self.connected_s > 1.0:
                    backoff.reset()
                self._judge_speed(reader)
        finally:
            capture.damaged_packets += reader.damaged_packets
            reader.close()
            for samples in self._placer.finish() if not self.abandoned.is_set() else ():
                capture._mailbox.put_sound(samples)

    def _is_backlog(self, backlog: Backlog, item: Picture | Sound) -> bool:
        modality, end_pts_s = _stamp(item)
        return backlog.holds(modality, end_pts_s, self._clock.now_s())

    def _deliver(self, items: Sequence[Picture | Sound]) -> None:
        """Put what came where it belongs; what came in a burst lies one after the other in the past."""
        now_s = self._clock.now_s()
        for item in items if len(items) > 1 else ():
            modality, end_pts_s = _stamp(item)
            if modality in self._clocks and end_pts_s is not None:
                self._clocks[modality].expect(end_pts_s, now_s)
        for item in items:
            self._deliver_one(item, now_s)

    def _deliver_one(self, item: Picture | Sound, now_s: float) -> None:
        capture = self._capture
        modality, end_pts_s = _stamp(item)
        if modality not in capture.modalities:
            return
        end_s = self._clocks[modality].place(end_pts_s, now_s)
        self._note_arrival(modality, now_s, now_s - end_s)
        if isinstance(item, Picture):
            capture._mailbox.put_frame(Frame(end_s, item.picture))
            return
        if not is_finite(item.sound):
            capture._mailbox.put_fault("NaN in the sound")
            return
        start_s = end_s - item.sound.samples / item.sound.sample_rate
        for samples in self._placer.place(item.sound, start_s):
            capture._mailbox.put_sound(samples)

    def _note_arrival(self, modality: Modality, now_s: float, late_s: float) -> None:
        """A stream that was silent is back with its second item, if the first is as late as the silence was long.

        When FFmpeg gives up a connection it first hands over the picture that its parser still held.
        """
        most_s = self._settings.lost_after_s
        was_silent = now_s - self.arrived_s[modality] > most_s
        if was_silent and late_s > 0.8 * most_s and modality not in self._woken:
            self._woken.add(modality)
            return
        self._woken.discard(modality)
        self.arrived_s[modality] = now_s

    def _pace(self, item: Picture | Sound) -> bool:
        """Wait until a file's item is due; False where the run ends meanwhile."""
        due_s = self.connected_s + (item.pts_s or 0.0)
        while not self._is_over() and (left_s := due_s - self._clock.now_s()) > 0:
            self.beat_s = self._clock.now_s()
            self._capture._stopping.wait(min(left_s, 0.2))
        return not self._is_over()

    def _judge_speed(self, reader: Reader) -> None:
        """Where this machine cannot keep up, decode less; where the stream itself is late, connect anew."""
        now_s = self._clock.now_s()
        passed_s = now_s - self._judged_s
        if passed_s < 1.0 or not self._capture.address.is_live:
            return
        lag_s = max((clock.lag_s for clock in self._clocks.values()), default=0.0)
        busy = 1 - (reader.waited_s - self._waited_s) / passed_s
        self._judged_s, self._waited_s = now_s, reader.waited_s
        before = self._relief.level
        level = self._relief.judge(busy, reader.lag_s, now_s)
        if level != before:
            reader.relieve(level)
            log.warning(_RELIEF[level], self._capture.name)
        elif lag_s > self._settings.lag_most_s * (1 if busy <= BUSY else 2):  # who is busy may catch up
            raise SourceGoneError(f"{lag_s:.1f} s behind: connecting anew", self._settings.retry_most_s)

    def _sleep(self, wait_s: float) -> None:
        """Wait, unless the run ends."""
        until_s = self._clock.now_s() + wait_s
        while not self._is_over() and (left_s := until_s - self._clock.now_s()) > 0:
            self.beat_s = self._clock.now_s()
            self._capture._stopping.wait(min(left_s, 1.0))

    def _tell(self, state: LinkState, reason: str | None) -> None:
        if not self.abandoned.is_set():
            self._capture._set_link(state, reason)

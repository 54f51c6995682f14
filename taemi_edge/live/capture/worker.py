"""The thread of a capture: connects, reads, hands over what comes to be placed, and connects again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

from taemi_edge.live.capture.addresses import Address
from taemi_edge.live.capture.backoff import Backoff
from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.capture.connection import CaptureSpec, ConnectionStatus, LinkState
from taemi_edge.live.capture.decode_level import BUSY, DecodeLevelControl
from taemi_edge.live.capture.delivery import CaptureBox, Delivery
from taemi_edge.live.capture.readers import Decoded, DecodedRows, Reader, SourceGoneError, Track
from taemi_edge.live.capture.settings import WatchSettings
from taemi_edge.live.failures import failure_of

log = logging.getLogger("taemi_edge.live")

#: What is logged for each level of decoding.
_LEVEL_MESSAGES = (
    "%s: all of its picture is decoded again",
    (
        "%s: this machine cannot decode all of its picture in time: frames that no other needs are left out; ask the "
        "camera for a smaller picture or fewer frames"
    ),
    "%s: that is not enough: whatever comes too late is left out up to the next key frame",
)
#: A connection that lasted this long was a good one: the next pause is a short one again.
_GOOD_AFTER_S = 1.0
_JUDGE_EVERY_S = 1.0
#: Timestamps whose rate differs from 1 by more than this, at so many judgements in a row, run at another rate.
_OTHER_RATE, _SURE = 0.1, 4
_READER_FAILED_CAP_S = 5.0
#: A file that is played again and again is not opened more often than this, and one that gives nothing only so often.
_SHORTEST_ROUND_S = 0.1
_MOST_EMPTY_ROUNDS = 6


class CaptureWorker:
    """Reads one address in a thread of its own, until `stopping` or `abandoned` is set or a file ends.

    Its attributes are its own, so that a worker that was abandoned while it hung in a driver does no harm.

    Args:
        spec: what to connect to, and what to take from it.
        boxes: where the data of each stream is put.
        clock: the clock of the session.
        settings: timeouts, and the pauses between tries.
        opener: opens a connection.
        status: the link and the counts of the capture.
        stopping: set when the run ends.

    Attributes:
        thread: to be started by the capture.
        abandoned: set by the capture when another worker has taken over.
        rebuild: set by the capture to why the connection is to be made again.
        beat_s: when the worker last showed that it does not hang, in seconds of the session.
        connected_s: when the connection was made.
        delivery: what places and hands over all that comes.
    """

    def __init__(
        self,
        spec: CaptureSpec,
        boxes: Mapping[str, CaptureBox],
        clock: SessionClock,
        settings: WatchSettings,
        opener: Callable[[Address, WatchSettings], Reader],
        status: ConnectionStatus,
        stopping: threading.Event,
    ) -> None:
        self._spec, self._clock, self._settings = spec, clock, settings
        self._opener, self._status, self._stopping = opener, status, stopping
        self.abandoned = threading.Event()
        self.beat_s = self.connected_s = clock.now_s()
        self.rebuild: str | None = None
        self.delivery = Delivery(boxes, clock, settings.lost_after_s, spec.address.feeds_one_stream)
        #: What the reader says itself of tracks that do not come.
        self._reader: Reader | None = None
        self._absent: Mapping[Track, str] = {}
        self._losses: Mapping[Track, str] = {}
        self._unusable: Mapping[Track, str] = {}
        self._level_control = DecodeLevelControl()
        self._judged_s, self._waited_s = 0.0, 0.0
        #: For how many judgements in a row the timestamps have run at another rate, until that is said.
        self._other_rates = 0
        #: Whether anything came since it was connected, and ever; and how often in a row a file gave nothing.
        self._came = self._ever_came = False
        self._empty_rounds = 0
        self.thread = threading.Thread(target=self._run, name=f"capture-{spec.name}", daemon=True)

    def reported_loss(self, track: Track) -> str | None:
        """Why a track cannot come, as the reader itself says; None where it says nothing."""
        return self._absent.get(track) or self._losses.get(track)

    def unusable(self, track: Track) -> str | None:
        """Why what comes of a track cannot be used; None where it can, or where nothing comes."""
        return self._unusable.get(track)

    @property
    def damaged_packets(self) -> int:
        """Packets and messages of the connection at hand that could not be used."""
        reader = self._reader
        return 0 if reader is None else reader.damaged_packets

    def _is_over(self) -> bool:
        return self._stopping.is_set() or self.abandoned.is_set()

    def _run(self) -> None:
        backoff = Backoff(self._settings.retry_first_s)
        while not self._is_over():
            self.beat_s = self._clock.now_s()
            try:
                self._connect(backoff)
            except SourceGoneError as error:
                if self._is_over():
                    return
                self._status.failures += 1
                self._set_link("waiting", error.reason)
                is_live = self._spec.address.is_live  # a file that cannot be read will not change so soon
                self._sleep(backoff.next_s(error.retry_cap_s if is_live else self._settings.retry_dear_s))
            else:
                if not self._goes_on_after_end(backoff):
                    return

    def _goes_on_after_end(self, backoff: Backoff) -> bool:
        """After the end of a file: wait until it is played again; False where it is over for good.

        A file of which nothing came is tried again with growing pauses, since it may still be written; one that never
        gave anything is given up.
        """
        if self._is_over():
            return False
        if self._came:
            if not self._spec.repeat:
                self._set_link("ended", "the file is at its end")
                return False
            self._empty_rounds = 0
            self._sleep(max(0.01, self.connected_s + _SHORTEST_ROUND_S - self._clock.now_s()))
            return True
        self._empty_rounds += 1
        self._status.failures += 1
        reason = "nothing in the file can be decoded"
        if not self._spec.repeat or (self._empty_rounds >= _MOST_EMPTY_ROUNDS and not self._ever_came):
            tries = f", {self._empty_rounds} times" if self._empty_rounds > 1 else ""
            log.error("%s: %s%s: it is given up", self._spec.name, reason, tries)
            self._set_link("ended", reason)
            return False
        self._set_link("waiting", reason)
        self._sleep(backoff.next_s(self._settings.retry_dear_s))
        return True

    def _connect(self, backoff: Backoff) -> None:
        """One connection, from its opening to its end; whatever else fails is a lost connection, too."""
        try:
            reader = self._opener(self._spec.address, self._settings)
            try:
                if not self._is_over():
                    self._begin(reader)
                    self._read(reader, backoff)
            finally:
                self._end(reader)
        except SourceGoneError:
            raise
        except Exception as error:  # a reader's mistake must not end a run of weeks
            log.error("%s: its reader failed: %s", self._spec.name, failure_of(error))
            raise SourceGoneError(f"its reader failed ({type(error).__name__})", _READER_FAILED_CAP_S) from error

    def _begin(self, reader: Reader) -> None:
        tracks = list(dict.fromkeys(self._spec.tracks.values()))
        self._absent = {track: reason for track, reason in reader.absent.items() if track in tracks}
        self._losses, self._unusable = reader.losses, reader.unusable
        self._reader = reader
        self.connected_s = self.beat_s = now_s = self._clock.now_s()
        self.delivery.begin(tracks, now_s)
        self.rebuild = None
        self._judged_s, self._waited_s = now_s, reader.waited_s
        self._came = False
        reader.set_decode_level(self._level_control.level)
        self._status.connections += 1
        self._set_link("connected", None)

    def _read(self, reader: Reader, backoff: Backoff) -> None:
        """Deliver all that comes, until the source or the run ends."""
        is_live = self._spec.address.is_live
        for item in reader.items():
            self.beat_s = self._clock.now_s()
            if item is not None:
                self._came = self._ever_came = True
            if self._is_over():
                return
            if self.rebuild is not None:
                raise SourceGoneError(self.rebuild, self._settings.retry_most_s)
            if not is_live and item is not None and not self._pace(item):
                return
            if not self.delivery.take(item, is_live):
                continue
            if self._clock.now_s() - self.connected_s > _GOOD_AFTER_S:
                backoff.reset()
            self._judge_speed(reader)

    def _end(self, reader: Reader) -> None:
        self._reader = None
        self._status.damaged_packets += reader.damaged_packets
        reader.close()
        if not self.abandoned.is_set():
            self.delivery.end()

    def _pace(self, item: Decoded) -> bool:
        """Wait until an item of a file is due; False where the run ends meanwhile."""
        due_s = item.pts_s if not isinstance(item, DecodedRows) else _newest_s(item)
        self._wait_until(self.connected_s + (due_s or 0.0), most_s=0.2)
        return not self._is_over()

    def _judge_speed(self, reader: Reader) -> None:
        """Decode less where this machine cannot keep up; connect again where the stream itself is late."""
        now_s = self._clock.now_s()
        passed_s = now_s - self._judged_s
        if passed_s < _JUDGE_EVERY_S or not self._spec.address.is_live:
            return
        self._tell_rate()
        lag_s = self.delivery.lag_s
        busy = 1 - (reader.waited_s - self._waited_s) / passed_s
        self._judged_s, self._waited_s = now_s, reader.waited_s
        before = self._level_control.level
        level = self._level_control.judge(busy, reader.lag_s, now_s)
        if level != before:
            reader.set_decode_level(level)
            log.warning(_LEVEL_MESSAGES[level], self._spec.name)
        elif lag_s > self._settings.lag_most_s * (1 if busy <= BUSY else 2):  # a busy machine may catch up
            raise SourceGoneError(f"{lag_s:.1f} s behind: connecting anew", self._settings.retry_most_s)

    def _tell_rate(self) -> None:
        """Say once that timestamps run at another rate than time."""
        rate = self.delivery.rate
        self._other_rates = self._other_rates + 1 if abs(rate - 1) > _OTHER_RATE or self._other_rates > _SURE else 0
        if self._other_rates == _SURE:
            log.warning(
                "%s: its timestamps pass at %.2f times the rate of time, as in a simulation or a recording that is "
                "played at another speed: the model sees it at the speed at which it comes",
                self._spec.name,
                rate,
            )

    def _sleep(self, wait_s: float) -> None:
        """Wait, unless the run ends."""
        self._wait_until(self._clock.now_s() + wait_s, most_s=1.0)

    def _wait_until(self, due_s: float, most_s: float) -> None:
        """Wait until a time of the session or the end of the run, with a sign of life every `most_s` seconds."""
        while not self._is_over() and (left_s := due_s - self._clock.now_s()) > 0:
            self.beat_s = self._clock.now_s()
            self._stopping.wait(min(left_s, most_s))

    def _set_link(self, state: LinkState, reason: str | None) -> None:
        if not self.abandoned.is_set():
            self._status.set_link(state, reason)


def _newest_s(item: DecodedRows) -> float | None:
    """The newest timestamp of some rows; None where they have none."""
    return None if item.times_s is None or not len(item.times_s) else float(item.times_s.max())

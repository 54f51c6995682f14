"""The thread of a capture: connects, reads, places what comes on the session's clock, and connects again.

Data often comes in a burst when a connection begins, because FFmpeg reads ahead to find out what a stream holds. The
worker holds such a burst back until the stream has become live, and then places all of it in the past.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from taemi_edge.bundle.streams import AUDIO, VIDEO
from taemi_edge.live.capture.addresses import Address
from taemi_edge.live.capture.backoff import Backoff
from taemi_edge.live.capture.clock import Backlog, SessionClock, StreamClock
from taemi_edge.live.capture.connection import CaptureSpec, ConnectionStatus, LinkState
from taemi_edge.live.capture.decode_level import BUSY, DecodeLevelControl
from taemi_edge.live.capture.mailbox import FrameBox, SoundBox
from taemi_edge.live.capture.readers import DecodedPicture, DecodedSound, Reader, SourceGoneError, Track
from taemi_edge.live.capture.settings import WatchSettings
from taemi_edge.live.failures import failure_of
from taemi_edge.media.hops import AudioPlacer, Frame, SoundPiece, is_finite

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
#: No more pictures and pieces of sound than this are held back when a connection begins.
_MAX_HELD = 500
#: A connection that lasted this long was a good one: the next pause is a short one again.
_GOOD_AFTER_S = 1.0
_JUDGE_EVERY_S = 1.0
_READER_FAILED_CAP_S = 5.0
#: A file that is played again and again is not opened more often than this, and one that gives nothing only so often.
_SHORTEST_ROUND_S = 0.1
_MOST_EMPTY_ROUNDS = 6


class CaptureWorker:
    """Reads one address in a thread of its own, until `stopping` or `abandoned` is set or a file ends.

    Its attributes are its own, so that a worker that was abandoned while it hung in a driver does no harm.

    Args:
        spec: what to connect to, and what to take from it.
        boxes: where the frames or the sound of each stream are put.
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
        arrived_s: when picture and sound last came.
        absent: why the picture or the sound is not in the source.
    """

    def __init__(
        self,
        spec: CaptureSpec,
        boxes: Mapping[str, FrameBox | SoundBox],
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
        self.arrived_s: dict[Track, float] = {}
        self.absent: dict[Track, str] = {}
        self.rebuild: str | None = None
        self._frame_boxes = [box for box in boxes.values() if isinstance(box, FrameBox)]
        self._sound_boxes = [box for box in boxes.values() if isinstance(box, SoundBox)]
        #: What brings the sound to each rate that a stream wants.
        self._placers = {box.rate_hz: AudioPlacer(box.rate_hz) for box in self._sound_boxes}
        self._clocks: dict[Track, StreamClock] = {}
        #: Tracks that were silent and of which one late item has come.
        self._woken: set[Track] = set()
        self._level_control = DecodeLevelControl()
        self._judged_s, self._waited_s = 0.0, 0.0
        #: Whether anything came since it was connected, and ever; and how often in a row a file gave nothing.
        self._came = self._ever_came = False
        self._empty_rounds = 0
        self.thread = threading.Thread(target=self._run, name=f"capture-{spec.name}", daemon=True)

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
        self.absent = {track: reason for track, reason in reader.absent.items() if track in tracks}
        self.connected_s = self.beat_s = now_s = self._clock.now_s()
        self.arrived_s = dict.fromkeys(tracks, now_s)
        self._clocks = {track: StreamClock() for track in tracks}
        self._woken.clear()
        self.rebuild = None
        self._judged_s, self._waited_s = now_s, reader.waited_s
        self._came = False
        reader.set_decode_level(self._level_control.level)
        self._status.connections += 1
        self._set_link("connected", None)

    def _read(self, reader: Reader, backoff: Backoff) -> None:
        """Deliver all that comes, until the source or the run ends."""
        is_live = self._spec.address.is_live
        backlog, held = Backlog(), list[DecodedPicture | DecodedSound]()
        for item in reader.items():
            self.beat_s = self._clock.now_s()
            self._came = self._ever_came = True
            if self._is_over():
                return
            if self.rebuild is not None:
                raise SourceGoneError(self.rebuild, self._settings.retry_most_s)
            if not is_live and not self._pace(item):
                return
            held.append(item)
            if is_live and len(held) < _MAX_HELD and self._is_backlog(backlog, item):
                continue
            self._deliver(held)
            held.clear()
            if self._clock.now_s() - self.connected_s > _GOOD_AFTER_S:
                backoff.reset()
            self._judge_speed(reader)

    def _end(self, reader: Reader) -> None:
        self._status.damaged_packets += reader.damaged_packets
        reader.close()
        if not self.abandoned.is_set():
            self._put_sound({rate_hz: placer.finish() for rate_hz, placer in self._placers.items()})

    def _is_backlog(self, backlog: Backlog, item: DecodedPicture | DecodedSound) -> bool:
        track, end_pts_s = _track_and_end(item)
        return backlog.holds(track, end_pts_s, self._clock.now_s())

    def _deliver(self, items: Sequence[DecodedPicture | DecodedSound]) -> None:
        """Put items where they belong; those of a burst lie one after the other in the past."""
        now_s = self._clock.now_s()
        for item in items if len(items) > 1 else ():
            track, end_pts_s = _track_and_end(item)
            if track in self._clocks and end_pts_s is not None:
                self._clocks[track].expect(end_pts_s, now_s)
        for item in items:
            self._deliver_one(item, now_s)

    def _deliver_one(self, item: DecodedPicture | DecodedSound, now_s: float) -> None:
        track, end_pts_s = _track_and_end(item)
        if track not in self._clocks:
            return
        end_s = self._clocks[track].place(end_pts_s, now_s)
        self._note_arrival(track, now_s, now_s - end_s)
        if isinstance(item, DecodedPicture):
            frame = Frame(end_s, item.picture)  # converted once, however many streams read it
            for box in self._frame_boxes:
                box.put(frame)
            return
        if not is_finite(item.sound):
            for sound_box in self._sound_boxes:
                sound_box.put_fault("NaN in the sound")
            return
        start_s = end_s - item.sound.samples / item.sound.sample_rate
        self._put_sound({rate_hz: placer.place(item.sound, start_s) for rate_hz, placer in self._placers.items()})

    def _put_sound(self, pieces: Mapping[int, Sequence[SoundPiece]]) -> None:
        """Put pieces of sound, by their rate, into every box that wants this rate."""
        for box in self._sound_boxes:
            for piece in pieces[box.rate_hz]:
                box.put(piece)

    def _note_arrival(self, track: Track, now_s: float, late_s: float) -> None:
        """A track that was silent is back with its second item, if the first is as late as the silence was long.

        When FFmpeg gives up a connection it first hands over the picture that its parser still held.
        """
        most_s = self._settings.lost_after_s
        was_silent = now_s - self.arrived_s[track] > most_s
        if was_silent and late_s > 0.8 * most_s and track not in self._woken:
            self._woken.add(track)
            return
        self._woken.discard(track)
        self.arrived_s[track] = now_s

    def _pace(self, item: DecodedPicture | DecodedSound) -> bool:
        """Wait until an item of a file is due; False where the run ends meanwhile."""
        self._wait_until(self.connected_s + (item.pts_s or 0.0), most_s=0.2)
        return not self._is_over()

    def _judge_speed(self, reader: Reader) -> None:
        """Decode less where this machine cannot keep up; connect again where the stream itself is late."""
        now_s = self._clock.now_s()
        passed_s = now_s - self._judged_s
        if passed_s < _JUDGE_EVERY_S or not self._spec.address.is_live:
            return
        lag_s = max((clock.lag_s for clock in self._clocks.values()), default=0.0)
        busy = 1 - (reader.waited_s - self._waited_s) / passed_s
        self._judged_s, self._waited_s = now_s, reader.waited_s
        before = self._level_control.level
        level = self._level_control.judge(busy, reader.lag_s, now_s)
        if level != before:
            reader.set_decode_level(level)
            log.warning(_LEVEL_MESSAGES[level], self._spec.name)
        elif lag_s > self._settings.lag_most_s * (1 if busy <= BUSY else 2):  # a busy machine may catch up
            raise SourceGoneError(f"{lag_s:.1f} s behind: connecting anew", self._settings.retry_most_s)

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


def _track_and_end(item: DecodedPicture | DecodedSound) -> tuple[Track, float | None]:
    """Which track an item belongs to, and the timestamp of its end: it cannot have been sent sooner than that."""
    if isinstance(item, DecodedPicture):
        return VIDEO, item.pts_s
    return AUDIO, None if item.pts_s is None else item.pts_s + item.sound.samples / item.sound.sample_rate

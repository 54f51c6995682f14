"""Places what a connection gives on the session's clock, and puts it where the loop fetches it.

Data often comes in a burst when a connection begins, because FFmpeg reads ahead to find out what a stream holds. Such a
burst is held back until the stream has become live, and then all of it is placed in the past.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from taemi_edge.bundle.streams import AUDIO, SERIES, TEXT, VIDEO
from taemi_edge.live.capture.clock import Backlog, SessionClock, StreamClock
from taemi_edge.live.capture.mailbox import FrameBox, RowBox, SoundBox
from taemi_edge.live.capture.readers import Decoded, DecodedPicture, DecodedRows, DecodedSound, Track
from taemi_edge.live.capture.row_clock import RecentRows, RowClock
from taemi_edge.live.words import WordInbox, words_at
from taemi_edge.media.hops import AudioPlacer, Frame, SoundPiece, is_finite

#: No more items than this are held back when a connection begins.
_MAX_HELD = 500
#: How long the burst lasts of a source whose timestamps may run at another rate.
_LONGEST_BURST_S = 0.2
#: A sensor is silent after so many of its usual pauses, where those are long.
_PAUSES, _LONGEST_PAUSE_S = 3.0, 60.0

CaptureBox = FrameBox | SoundBox | RowBox | WordInbox


class Delivery:
    """Feeds the boxes of a capture, connection after connection. Used by one thread, and looked at by others.

    Args:
        boxes: where the data of each stream is put.
        clock: the clock of the session.
        lost_after_s: the silence of a track that is a loss, in seconds.
        follows_rate: whether timestamps may run at another rate than the clock, as those of a simulation or of a
            recording that somebody plays.

    Attributes:
        arrived_s: when each track last came, in seconds of the session.
    """

    def __init__(
        self, boxes: Mapping[str, CaptureBox], clock: SessionClock, lost_after_s: float, follows_rate: bool = False
    ) -> None:
        self._clock, self._lost_after_s, self._follows_rate = clock, lost_after_s, follows_rate
        self.arrived_s: dict[Track, float] = {}
        self._frame_boxes = [box for box in boxes.values() if isinstance(box, FrameBox)]
        self._sound_boxes = [box for box in boxes.values() if isinstance(box, SoundBox)]
        self._row_boxes = [box for box in boxes.values() if isinstance(box, RowBox)]
        self._inboxes = [box for box in boxes.values() if isinstance(box, WordInbox)]
        #: What brings the sound to each rate that a stream wants.
        self._placers = {box.rate_hz: AudioPlacer(box.rate_hz) for box in self._sound_boxes}
        self._clocks: dict[Track, StreamClock | RowClock] = {}
        #: Tracks that were silent and of which one late item has come.
        self._woken: set[Track] = set()
        self._backlog, self._held = Backlog(), list[Decoded]()
        self._recent = RecentRows()
        #: How long a sensor usually pauses: rows may come once in ten seconds.
        self._usual_pause_s = 0.0

    @property
    def lag_s(self) -> float:
        """How much later than the quickest picture or sound the newest came."""
        return max((clock.lag_s for clock in self._clocks.values() if isinstance(clock, StreamClock)), default=0.0)

    @property
    def rate(self) -> float:
        """How many seconds of timestamps pass in a second: of the track whose rate differs most from 1."""
        return max((clock.rate for clock in self._clocks.values()), key=lambda rate: abs(rate - 1), default=1.0)

    def begin(self, tracks: Sequence[Track], now_s: float) -> None:
        """Begin with a new connection that gives some tracks."""
        self.arrived_s = dict.fromkeys(tracks, now_s)
        self._clocks = {
            track: RowClock(now_s) if track == SERIES else StreamClock(self._follows_rate) for track in tracks
        }
        self._woken.clear()
        self._recent = RecentRows()
        self._backlog, self._held = Backlog(_LONGEST_BURST_S if self._follows_rate else math.inf), []
        self._usual_pause_s = 0.0

    def take(self, item: Decoded | None, is_live: bool) -> bool:
        """Deliver what came; False where it is held back, since it may belong to the burst of the beginning.

        Args:
            item: what came; None where nothing did for a while: then what was held back is delivered.
            is_live: whether it comes from a live source; a file has no burst.
        """
        if item is not None:
            self._held.append(item)
            if is_live and len(self._held) < _MAX_HELD and self._is_backlog(item):
                return False
        self._deliver(self._held)
        self._held.clear()
        return True

    def end(self) -> None:
        """Put what the resamplers of the sound still hold, when a connection ends."""
        self._put_sound({rate_hz: placer.finish() for rate_hz, placer in self._placers.items()})

    def silent_s(self, track: Track, now_s: float) -> float:
        """For how long nothing has come of a track; 0 where it is not long enough to be a loss. Words may pause."""
        silent_s = now_s - self.arrived_s.get(track, now_s)
        return silent_s if track != TEXT and silent_s > self._most_s(track) else 0.0

    def _most_s(self, track: Track) -> float:
        return max(self._lost_after_s, _PAUSES * self._usual_pause_s) if track == SERIES else self._lost_after_s

    def _is_backlog(self, item: Decoded) -> bool:
        track, end_pts_s = _track_and_end(item)
        if end_pts_s is None and track in (SERIES, TEXT):
            return False
        return self._backlog.holds(track, end_pts_s, self._clock.now_s())

    def _deliver(self, items: Sequence[Decoded]) -> None:
        """Put items where they belong; those of a burst lie one after the other in the past."""
        now_s = self._clock.now_s()
        for item in items if len(items) > 1 else ():
            track, end_pts_s = _track_and_end(item)
            if track in self._clocks and end_pts_s is not None:
                self._clocks[track].expect(end_pts_s, now_s)
        for item in items:
            self._deliver_one(item, now_s)

    def _deliver_one(self, item: Decoded, now_s: float) -> None:
        track, end_pts_s = _track_and_end(item)
        clock = self._clocks.get(track)
        if clock is None:
            return
        if isinstance(item, DecodedRows):
            if isinstance(clock, RowClock) and len(item.rows):
                self._put_rows(item, clock, now_s)
            return
        if isinstance(clock, RowClock):
            return
        end_s = clock.place(end_pts_s, now_s)
        self._note_arrival(track, now_s, now_s - end_s)
        if isinstance(item, DecodedPicture):
            frame = Frame(end_s, item.picture)  # converted once, however many streams read it
            for box in self._frame_boxes:
                box.put(frame)
        elif isinstance(item, DecodedSound):
            self._place_sound(item, end_s)
        else:
            for inbox in self._inboxes:
                inbox.put(words_at(end_s, item.text, item.length_s))

    def _put_rows(self, item: DecodedRows, clock: RowClock, now_s: float) -> None:
        times_s, rows = clock.place(item.times_s, len(item.rows), now_s), item.rows
        if item.times_s is not None and not (new := self._recent.are_new(item.times_s, rows)).all():
            times_s, rows = times_s[new], rows[new]
        pause_s = now_s - self.arrived_s[SERIES]
        weight = 0.5 if pause_s > self._usual_pause_s else 0.1  # slow sensors are known at once, and quick ones soon
        self._usual_pause_s += weight * (min(pause_s, _LONGEST_PAUSE_S) - self._usual_pause_s)
        self.arrived_s[SERIES] = now_s
        for box in self._row_boxes:
            box.put_rows(times_s, rows)

    def _place_sound(self, item: DecodedSound, end_s: float) -> None:
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
        was_silent = now_s - self.arrived_s[track] > self._lost_after_s
        if was_silent and late_s > 0.8 * self._lost_after_s and track not in self._woken:
            self._woken.add(track)
            return
        self._woken.discard(track)
        self.arrived_s[track] = now_s


def _track_and_end(item: Decoded) -> tuple[Track, float | None]:
    """Which track an item belongs to, and the timestamp of its end: it cannot have been sent sooner than that."""
    if isinstance(item, DecodedPicture):
        return VIDEO, item.pts_s
    if isinstance(item, DecodedSound):
        return AUDIO, None if item.pts_s is None else item.pts_s + item.sound.samples / item.sound.sample_rate
    if isinstance(item, DecodedRows):
        return SERIES, float(item.times_s.max()) if item.times_s is not None and len(item.times_s) else None
    return TEXT, item.pts_s

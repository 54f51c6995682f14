"""Reads a topic of ROS 2 over Zenoh for one stream: `ros:/camera/image_raw` (see `live/ros/place.py` for its options).

The connection is that of the process to Zenoh, which finds its router again by itself. Whether a node publishes the
topic is known by its liveliness token, so that a node that dies is missing at once. A message that cannot be read is
counted and left out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import av
import numpy as np

from taemi_edge.bundle.streams import AUDIO, SERIES, TEXT, VIDEO, AudioSpec, SeriesSpec, StreamSpec, VideoSpec
from taemi_edge.errors import MessageError, UsageError, in_one_line
from taemi_edge.live.capture.addresses import Address
from taemi_edge.live.capture.decode_level import DecodeLevel
from taemi_edge.live.capture.readers import (
    Decoded,
    DecodedPicture,
    DecodedRows,
    DecodedSound,
    DecodedWords,
    SourceGoneError,
    Track,
)
from taemi_edge.live.capture.sensors.reader_pace import ReaderPace, is_flood
from taemi_edge.live.capture.sensors.unusable import UnusableMessages
from taemi_edge.live.capture.settings import WatchSettings
from taemi_edge.live.rare_log import RareLog
from taemi_edge.live.ros.place import place_of
from taemi_edge.live.ros.session import UnreachableError, ZenohSession, check_configuration, open_session, require_zenoh
from taemi_edge.live.ros.subscription import TopicMessage, TopicSubscription
from taemi_edge.live.ros.topic_types import TopicTypes
from taemi_edge.media.hops import FrameGrid
from taemi_edge.media.messages.readings import PictureReading, Reading, RowReading, SoundReading, TextReading

log = logging.getLogger("taemi_edge.live")

#: How many messages wait in Zenoh at most, by track: pictures are large, and an IMU may send ten thousand a second.
_MOST_WAITING: dict[Track, int] = {VIDEO: 32, AUDIO: 256, SERIES: 8192, TEXT: 256}
#: Of pictures that wait and do not need each other, so many are read: pictures must not queue.
_MOST_PICTURES = 2
_BATCH = 512
#: Where pictures are left out, so many times as many are read as the model needs, whose choice is made later.
_SPARE = 2.0
#: How long is slept where nothing waits. Sleeping costs nothing, and what came meanwhile is taken together.
_PAUSE_S, _QUIET_S = 0.004, 0.4
#: Nothing that is done to keep a flood from the processor lasts longer: that a node is gone must be seen.
_LONGEST_REST_S = 0.1
#: What still comes of a node that is gone was on its way.
_ON_ITS_WAY_S = 0.5


class RosReader:
    """One subscription; see `Reader`.

    Args:
        address: of the kind "ros".
        settings: timeouts and pauses between tries.
        spec: what the stream takes.

    Raises:
        SourceGoneError: no router answers.
    """

    def __init__(self, address: Address, settings: WatchSettings, spec: StreamSpec) -> None:
        self.absent: dict[Track, str] = {}
        self.losses: dict[Track, str] = {}
        self.unusable: dict[Track, str] = {}
        self.damaged_packets = 0
        self.waited_s = self.lag_s = 0.0
        self._place = place_of(address.target, address.options)
        self._settings, self._shown = settings, address.shown
        self._track = _track_of(spec)
        self._types = TopicTypes(self._place, spec)
        self._rare, self._noted_lost = RareLog(log), 0
        self._gone: tuple[float, str] | None = None
        self._unusable = UnusableMessages(settings.lost_after_s, may_pause=self._track == TEXT)
        self._pace = ReaderPace()
        #: Whether each picture builds on those before it, as in a video; until one came, that is not known.
        self._needs_all = True
        self._spec = spec
        self._grid: FrameGrid | None = None
        with ExitStack() as opened:
            self._session = self._open()
            opened.callback(self._session.close)
            try:
                wants_last = self._track in (SERIES, TEXT)
                self._topic = TopicSubscription(self._session, self._place, _MOST_WAITING[self._track], wants_last)
                opened.callback(self._topic.close)
                self._look(time.monotonic())
            except Exception as error:
                raise SourceGoneError(f"no subscription: {in_one_line(str(error))}", settings.retry_dear_s) from error
            self._opened = opened.pop_all()

    def _open(self) -> ZenohSession:
        try:
            return open_session(self._place.zenoh)
        except UnreachableError as error:
            cap_s = self._settings.retry_dear_s if error.lasting else self._settings.retry_most_s
            raise SourceGoneError(error.reason, cap_s) from error

    def items(self) -> Iterator[Decoded | None]:
        """What the messages hold, as they come; None where nothing came for a while.

        Raises:
            SourceGoneError: the session was closed.
        """
        spoke_s = time.monotonic()
        while not self._session.zenoh.is_closed():
            now_s = time.monotonic()
            self._look(now_s)
            messages = self._topic.take(now_s, _BATCH, self._types.can_read)
            for item in self._read(messages, now_s):
                spoke_s = now_s
                yield item
            if now_s - spoke_s > _QUIET_S:  # also where all of it was left out
                spoke_s = now_s
                yield None
            if not messages:
                time.sleep(_PAUSE_S)
                self.waited_s += time.monotonic() - now_s
            elif self._track != VIDEO:  # of pictures fewer are decoded, see `set_decode_level`
                self._rest()
        raise SourceGoneError("its session of Zenoh was closed", self._settings.retry_most_s)

    def _rest(self) -> None:
        """Leave the processor to others where messages come faster than there is time for."""
        if is_flood(rest_s := self._pace.rest_s()):
            self._rare.warning("%s: messages come faster than there is time for: some wait or are lost", self._shown)
            time.sleep(min(rest_s, _LONGEST_REST_S))
            self.waited_s += min(rest_s, _LONGEST_REST_S)

    def set_decode_level(self, level: DecodeLevel) -> None:
        """Where this machine cannot keep up, make pixels of no more pictures than the model needs."""
        self._grid = None
        if level > 0 and isinstance(self._spec, VideoSpec):
            self._grid = FrameGrid(_SPARE * self._spec.frames_per_second)

    def close(self) -> None:
        """End the subscription, and the session where nobody else needs it."""
        self._opened.close()

    def _look(self, now_s: float) -> None:
        """See who publishes the topic, and say so where nobody does or what they publish is of no use."""
        gone = self._topic.look()
        if self._topic.publishers:
            self._gone = None
            self._say_if_several()
        elif gone:
            self._gone = now_s, f"the node {gone[-1].node}, which published {self._place.topic}, is gone"
        unread: dict[Track, str] = {}
        self._unusable.tell(now_s, unread, self.unusable, self._track)
        if (loss := self._loss() or unread.get(self._track)) is None:
            self.losses.pop(self._track, None)
        else:
            self.losses[self._track] = loss

    def _loss(self) -> str | None:
        """Why nobody publishes what can be had at this moment; None where somebody does."""
        if self._topic.publishers:
            problem = self._types.problem_of_all(self._topic.kinds)
            if problem is not None:
                return problem
        elif self._gone is not None:
            return self._gone[1] if self._session.is_connected() else self._router_gone()
        elif self._unusable.nothing_came:
            if not self._session.is_connected():
                return self._router_gone()
            return f"no node publishes {self._place.topic} {self._place.shown_where}"
        return None

    def _router_gone(self) -> str:
        return f"the Zenoh router at {self._place.zenoh.shown} is gone"

    def _say_if_several(self) -> None:
        nodes = sorted({entity.node for entity in self._topic.publishers.values()})
        if len(self._topic.publishers) > 1:
            self._rare.warning("%s: %s publish it: one of them is read at a time", self._shown, " and ".join(nodes[:4]))

    def _read(self, messages: Sequence[TopicMessage], now_s: float) -> Iterator[Decoded]:
        """Decode messages; rows that came together are given together."""
        if messages and self._gone is not None and now_s - self._gone[0] > _ON_ITS_WAY_S:
            self._gone = None  # someone without a token publishes
        if self._track == VIDEO and not self._needs_all:
            messages = messages[-_MOST_PICTURES:]
        readings: list[tuple[float | None, Reading]] = []
        for message in messages:
            try:
                read = self._types.reader_of(message.kind).read(message.data, self._wanted)
            except MessageError as error:
                self.damaged_packets += 1
                self._unusable.note_bad(str(error), now_s)
                self._rare.warning("%s: a message is left out: %s", self._shown, error)
                continue
            self._unusable.note_good(now_s)
            readings += [(_time_s(reading, message), reading) for reading in read]
        self._note_lost()
        rows = [(time_s, reading.values) for time_s, reading in readings if isinstance(reading, RowReading)]
        if rows:
            yield _rows(rows)
        for time_s, reading in readings:
            if not isinstance(reading, RowReading):
                yield self._item(time_s, reading)

    def _wanted(self, stamp_ns: int | None) -> bool:
        """Whether pixels are made of the picture that came just now."""
        return self._grid is None or self._grid.wants(time.monotonic())

    def _item(self, time_s: float | None, reading: Reading) -> Decoded:
        if isinstance(reading, PictureReading):
            self._needs_all = isinstance(reading.picture, av.VideoFrame)
            return DecodedPicture(time_s, reading.picture)
        if isinstance(reading, SoundReading):
            return DecodedSound(time_s, _sound(reading))
        text, length_s = (reading.text, reading.length_s) if isinstance(reading, TextReading) else ("", None)
        return DecodedWords(time_s, text, length_s)

    def _note_lost(self) -> None:
        """Say how many messages never came, as far as their publisher numbers them."""
        if self._topic.lost > self._noted_lost:
            text = "%s: %d of its messages were lost on the way, or gave way to newer ones"
            if self._rare.warning(text, self._shown, self._topic.lost - self._noted_lost):
                self._noted_lost = self._topic.lost


def check_topic(address: Address, spec: StreamSpec) -> None:
    """Find what is wrong with an address before anything is connected.

    Raises:
        UsageError: the topic or an option cannot be, or the type that is given cannot feed the stream.
        MissingExtraError: the extra `zenoh` is not installed.
    """
    require_zenoh(address.shown)
    place = place_of(address.target, address.options)
    check_configuration(place.zenoh, address.shown)
    try:
        TopicTypes(place, spec).check_given()
    except MessageError as error:
        raise UsageError(f"{address.shown}: {error}") from error


def _time_s(reading: Reading, message: TopicMessage) -> float | None:
    """When it was measured, or else sent, on the publisher's clock."""
    time_ns = message.sent_ns if reading.stamp_ns is None else reading.stamp_ns
    return None if time_ns is None else time_ns / 1e9


def _track_of(spec: StreamSpec) -> Track:
    if isinstance(spec, VideoSpec):
        return VIDEO
    if isinstance(spec, AudioSpec):
        return AUDIO
    return SERIES if isinstance(spec, SeriesSpec) else TEXT


def _rows(rows: Sequence[tuple[float | None, Sequence[float]]]) -> DecodedRows:
    times = [time_s for time_s, _ in rows if time_s is not None]
    values = np.array([row for _, row in rows], np.float32)
    return DecodedRows(np.array(times, np.float64) if len(times) == len(rows) else None, values)


def _sound(reading: SoundReading) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(reading.samples[None]), format="fltp", layout="mono")
    frame.sample_rate = reading.rate_hz
    return frame

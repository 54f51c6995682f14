"""Plays a recording of a robot at its own pace: one connection for each stream, all of them in step.

`RecordingPlay` says when the recording began to play, and `RecordingReader` gives what of one stream is due since then.
The recorder's messages are put in order as in a run over files; only what is due soon lies in memory.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np

from taemi_edge.bundle.streams import StreamSpec
from taemi_edge.errors import TaemiError
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
from taemi_edge.live.capture.settings import WatchSettings
from taemi_edge.media.hops import Frame, SoundPiece, Values
from taemi_edge.media.messages.topic_field import TopicField
from taemi_edge.media.places import shown_place
from taemi_edge.media.recordings.recorded_clock import ChosenClock, Clock
from taemi_edge.media.recordings.recorded_streams import RecordingSource
from taemi_edge.media.transcripts import Word

#: So much of a recording is given at a time: rows of less than that come together.
_SLICE_S = 0.02
#: A reader that is opened so late begins there, and not at the beginning.
_SKIPS_AFTER_S = 1.0
_SIGN_OF_LIFE_S = 0.1
#: While a recording is read on to the next message of a stream, a sign of life is given so often.
_LONGEST_READ_S = 2.0
_NS = 1_000_000_000


class RecordingPlay:
    """When a recording is played, for all streams that read it.

    Args:
        path: of the recording.
        topics: of it, by stream.
        clock: which times its messages have.
        origin_ns: the moment on that clock that is played first.
        length_s: how long it takes, in seconds.
        repeats: whether it is played again and again.
        problems: what was assumed and is wrong with it, a sentence each.
    """

    def __init__(
        self,
        path: Path,
        topics: Mapping[str, TopicField],
        clock: ChosenClock,
        origin_ns: int,
        length_s: float,
        repeats: bool,
        problems: Sequence[str] = (),
    ) -> None:
        self.path, self.topics, self.clock, self.origin_ns = path, topics, clock, origin_ns
        self.length_s, self._repeats, self.problems = length_s, repeats, tuple(problems)
        self._start_s: float | None = None
        self._lock = threading.Lock()

    def position_s(self) -> tuple[float, float]:
        """When the round began that is played now, on the monotonic clock, and how far it has come.

        The first who asks begins to play.
        """
        now_s = time.monotonic()
        with self._lock:
            if self._start_s is None:
                self._start_s = now_s
            start_s = self._start_s
        if self._repeats:
            # who is at the end of a round comes back a little early or late
            rounds = int((now_s - start_s + min(0.25, self.length_s / 4)) / self.length_s)
            start_s += rounds * self.length_s
        return start_s, now_s - start_s


@dataclass(frozen=True, repr=False)
class RecordingAddress(Address):
    """One stream of a recording that is played.

    Attributes:
        play: the recording.
        stream: the name of the stream.
    """

    play: RecordingPlay | None = field(default=None, hash=False, compare=False)
    stream: str = ""


class RecordingReader:
    """One stream of a recording, from where it is played at this moment; see `Reader`.

    Args:
        address: of the stream.
        settings: how long to wait before the next try.
        spec: what the stream takes.

    Raises:
        SourceGoneError: the recording cannot be read any more.
    """

    def __init__(self, address: RecordingAddress, settings: WatchSettings, spec: StreamSpec) -> None:
        if address.play is None:
            raise AssertionError("a recording is played by a RecordingPlay")
        self.absent: dict[Track, str] = {}
        self.losses: dict[Track, str] = {}
        self.unusable: dict[Track, str] = {}
        self.damaged_packets = 0
        self.waited_s = self.lag_s = 0.0
        self._play, self._stream, self._settings = address.play, address.stream, settings
        self._start_s, passed_s = self._play.position_s()
        play, name = self._play, address.stream
        skipped_ns = round(passed_s * _NS) if passed_s > _SKIPS_AFTER_S else 0
        try:
            self._source = RecordingSource(
                play.path,
                {name: spec},
                {name: play.topics[name]},
                clock=play.clock,
                range_ns=(play.origin_ns + skipped_ns if skipped_ns else None, None),
                origin_ns=play.origin_ns,
                every_frame=True,
            )
        except TaemiError as error:
            raise SourceGoneError(f"it cannot be read: {error}", settings.retry_dear_s) from error
        self._first = int(passed_s / _SLICE_S) if skipped_ns else 0

    def items(self) -> Iterator[Decoded | None]:
        """What is in the recording, with times since this was asked for; ends where the recording does."""
        began_s = time.monotonic()
        late_s, spoke_s = began_s - self._start_s, began_s
        last = int(self._play.length_s / _SLICE_S) + 1
        ends_s = (index * _SLICE_S for index in range(self._first + 1, last + 1))
        for hop in self._source.hops_until(ends_s):
            self.damaged_packets = self._source.unusable
            for piece in hop.pieces[self._stream]:
                yield _decoded(piece, late_s)
                spoke_s = time.monotonic()
            if time.monotonic() - spoke_s > _LONGEST_READ_S:  # much lies between two messages of the stream
                spoke_s = time.monotonic()
                yield None
        while (left_s := self._start_s + self._play.length_s - time.monotonic()) > 0:
            time.sleep(min(left_s, _SIGN_OF_LIFE_S))
            yield None

    def set_decode_level(self, level: DecodeLevel) -> None:
        """A file is read as it is."""

    def close(self) -> None:
        self._source.close()


def plan_play(
    path: Path, streams: Mapping[str, StreamSpec], topics: Mapping[str, str], clock: Clock, repeats: bool
) -> tuple[RecordingPlay, Mapping[str, str]]:
    """Look into a recording that is to be played.

    Args:
        path: of it.
        streams: of the model that it may feed.
        topics: TOPIC or TOPIC.field by stream; the rest is chosen by types.
        clock: "header", "log", or "auto" to choose.
        repeats: whether it is played again and again.

    Returns:
        The play, and why some streams have no topic.

    Raises:
        UsageError, InputError: see `RecordingSource`.
    """
    with RecordingSource(path, streams, topics, clock=clock) as source:
        span = source.span
        length_s = span.end_s - span.start_s if math.isfinite(span.end_s) else 0.0
        return RecordingPlay(
            path,
            source.fields,
            source.clock,
            source.origin_ns,
            max(length_s, _SLICE_S),
            repeats,
            source.notes,
        ), source.absent


def addresses_of(play: RecordingPlay) -> dict[str, RecordingAddress]:
    """The address of each stream that a play feeds."""
    return {
        name: RecordingAddress("recording", f"{play.path}#{topic}", f"{shown_place(play.path)}#{topic}", {}, play, name)
        for name, topic in play.topics.items()
    }


def _decoded(piece: object, late_s: float) -> Decoded:
    """A piece of a stream as readers give it, with times since the reader was asked."""
    if isinstance(piece, Frame):
        return DecodedPicture(piece.time_s - late_s, piece.picture)
    if isinstance(piece, SoundPiece):
        sound = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece.values)[None], format="fltp", layout="mono")
        return DecodedSound(piece.time_s - late_s, sound)
    if isinstance(piece, Values):
        return DecodedRows(piece.times_s - late_s, piece.rows)
    if isinstance(piece, Word):
        return DecodedWords(piece.end_s - late_s, piece.text, piece.end_s - piece.start_s)
    raise AssertionError(f"a recording gives no {type(piece).__name__}")

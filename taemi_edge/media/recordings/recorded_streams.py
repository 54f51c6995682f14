"""Reads the streams of a model out of a recording, hop by hop: its messages decoded, put in order and on one clock.

However long a recording is, only what belongs to the next hops lies in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np
from msgspec.structs import replace

from taemi_edge.bundle.streams import StreamSpec, TextSpec, VideoSpec
from taemi_edge.bundle.values import Array
from taemi_edge.errors import InputError, MessageError, OptionError
from taemi_edge.media.clocks import Span, clock_of
from taemi_edge.media.hops import Hop
from taemi_edge.media.messages.readings import Reading, TextReading
from taemi_edge.media.messages.topic_field import TopicField
from taemi_edge.media.recordings.decoding import Decoding
from taemi_edge.media.recordings.feeds import Feed, has_stamp, open_feed, reached_s
from taemi_edge.media.recordings.opening import open_recording, split_topic
from taemi_edge.media.recordings.recorded_clock import (
    LATEST_WORDS_S,
    ChosenClock,
    Clock,
    Sample,
    Timeline,
    choose_clock,
    clock_named,
)
from taemi_edge.media.recordings.recording import RecordedMessage, Recording
from taemi_edge.media.recordings.run_inputs import with_inputs_of_run
from taemi_edge.media.recordings.simulated_time import marked, on_time_of
from taemi_edge.media.recordings.topic_map import choose_topics, require_streams

_NS = 1_000_000_000
_EPSILON_S = 1e-6
#: A hop is complete when something came that is so much later: messages are logged a little after they were stamped.
SETTLED_AFTER_S = 0.5
#: A stream that is this far behind the others is not waited for.
MOST_SKEW_S = 2.0
#: What begins in the middle of a recording reads from so long before: a codec needs its key frame.
LEAD_IN_S = 5.0
#: The clock is chosen by so many messages of each topic, and up to this long after the first of all.
_SAMPLES, _SAMPLED_S = 16, 10.0
_MOST_NOTED = 5


class RecordingSource:
    """The streams of a recording, to be read once; a context manager.

    Args:
        recording: an open one, which is closed with this, or where it lies.
        streams: of the model that it may feed.
        topics: TOPIC or TOPIC.field by the name of the stream; the rest is chosen by types.
        clock: "header" for the stamps of messages, "log" for the times at which they were logged, "auto" to choose; or
            the clock that was chosen before, with `origin_ns`.
        range_ns: read from and up to these times of the chosen clock alone; None for the beginning and the end.
        origin_ns: the time of the chosen clock that is 0 s; by default that of the range, else of the first message.
        every_frame: keep all pictures, whatever the streams need.

    Attributes:
        fields: the topic and field of each stream that has one.
        guessed: the streams whose topic nobody named.
        absent: why the others have none.
        clock: which times are taken.
        origin_ns: as above; it may be changed before the first hop.
        is_over: whether all of it was read; what was read last may still wait for its hop.

    Raises:
        UsageError: see `choose_topics` and `choose_clock`.
        InputError: the recording cannot be read, or holds no message of any stream.
    """

    def __init__(
        self,
        recording: Recording | Path,
        streams: Mapping[str, StreamSpec],
        topics: Mapping[str, str | TopicField] | None = None,
        *,
        clock: Clock | ChosenClock = "auto",
        range_ns: tuple[int | None, int | None] = (None, None),
        origin_ns: int | None = None,
        every_frame: bool = False,
    ) -> None:
        if not isinstance(clock, ChosenClock):
            clock_named(clock)
        with ExitStack() as stack:
            if isinstance(recording, Path):
                recording = open_recording(recording)
            stack.callback(recording.close)
            self.recording = on_time_of(recording, clock)
            given = with_inputs_of_run(recording, streams, topics or {})
            choice = choose_topics(recording.topics, streams, given, self._first_of)
            self.fields, self.absent, self.guessed = choice.fields, choice.absent, choice.guessed
            if not self.fields:
                raise InputError(
                    f"{recording.path}: expected a topic that fits a stream of the model, and none does: see "
                    f"`taemi-edge inspect {recording.path}`"
                )
            self._feeds: dict[str, Feed] = {n: open_feed(streams[n], every_frame) for n in self.fields}
            self._specs = {name: streams[name] for name in self.fields}
            self._range_ns = range_ns
            self._decoding = Decoding(self.recording, self._specs, self.fields)
            if isinstance(clock, ChosenClock):
                self.clock, first_ns = clock, 0
            else:
                self.clock, first_ns = self._choose_clock(clock)
            self.origin_ns = next(at_ns for at_ns in (origin_ns, range_ns[0], first_ns) if at_ns is not None)
            self._timeline = Timeline()
            self._messages = iter(self.recording.messages(self._decoding.topics, *self._logged_range_ns()))
            self.is_over = False
            self._logged_s = -math.inf
            self._faults: dict[str, str] = {}
            self._stack = stack.pop_all()

    @property
    def unusable(self) -> int:
        """How many messages could not be used so far."""
        return self._decoding.unusable + self._timeline.left_out

    @property
    def late(self) -> int:
        """How many messages came after their hop, and were left out."""
        return sum(feed.late for feed in self._feeds.values())

    @property
    def clock_notes(self) -> list[str]:
        """Which times were taken, in a sentence."""
        return [f"{self.recording.path}: {self.clock.note}"]

    @property
    def notes(self) -> list[str]:
        """What was guessed and assumed, and what is wrong with the recording as far as it was read."""
        shown = self.recording.path
        pairs = [f"--map {name}={self.fields[name]}" for name in self.fields if name in self.guessed]
        notes = [f"{shown}: topics were chosen by their types: {' '.join(pairs)}"] if pairs else []
        notes += [*self.clock_notes, *self.recording.notes, *(f"{shown}: {note}" for note in self._decoding.notes)]
        if self.late:
            notes.append(f"{shown}: {self.late} messages came more than {MOST_SKEW_S:g} s late and were left out")
        if self._timeline.left_out:
            notes.append(f"{shown}: {self._timeline.left_out} messages have times that leap, and were left out")
        for at_ns in self._timeline.set_at_ns[:_MOST_NOTED]:
            at_s = (at_ns - self.origin_ns) / _NS
            notes.append(f"{shown}: its clock was set after {at_s:.3f} s: what follows is taken to go on there")
        return notes

    @property
    def duration_s(self) -> float | None:
        """How long the recording claims to be; None where it claims nothing."""
        start_ns, end_ns = self.recording.start_ns, self.recording.end_ns
        return None if start_ns is None or end_ns is None else (end_ns - start_ns) / _NS

    @property
    def span(self) -> Span:
        """When it begins and ends on its own clock."""
        start_s = self.origin_ns / _NS
        end_ns = self.recording.end_ns
        end_s = math.inf if end_ns is None else max(start_s, (end_ns + self.clock.offset_ns) / _NS)
        return Span(self.recording.path.name, clock_of(start_s, in_timestamps=True), start_s, end_s)

    def move(self, by_s: float) -> None:
        """Count from another moment, before the first hop: what lies at `span` lies `by_s` later from then on."""
        off_s = by_s + self.origin_ns / _NS
        if abs(off_s) > _EPSILON_S:
            self.origin_ns -= round(off_s * _NS)

    def frame_rate(self, name: str) -> Fraction:
        """The average frame rate of a video stream; only a hint."""
        count = self.recording.topics[self.fields[name].topic].count or 0
        rate = Fraction(count / self.duration_s).limit_denominator(100) if self.duration_s else Fraction(0)
        return rate if 1 <= rate <= 120 else Fraction(25)

    @property
    def length_s(self) -> float:
        """How much there was to read so far."""
        lasting = [feed.end_s for feed in self._feeds.values() if feed.lasts]
        return max(0.0, *(lasting or [feed.end_s for feed in self._feeds.values()]))

    def read_sound(self, name: str, sample_rate_hz: int) -> Array:
        """All sound of an audio stream, with silence where it has gaps: mono, float32 (n,) in [-1, 1].

        Args:
            name: of the stream.
            sample_rate_hz: the rate that sound is brought to.
        """
        spec = {name: replace(self._specs[name], sample_rate_hz=sample_rate_hz)}
        field = {name: self.fields[name]}
        with RecordingSource(self.recording.path, spec, field, clock=self.clock, origin_ns=self.origin_ns) as source:
            hops = [*source.hops(1.0), source.rest()]
        pieces = [piece for hop in hops for piece in hop.pieces[name]]
        end = max((round(piece.time_s * sample_rate_hz) + len(piece.values) for piece in pieces), default=0)
        samples = np.zeros(end, np.float32)
        for piece in pieces:
            start = max(0, round(piece.time_s * sample_rate_hz))
            samples[start : start + len(piece.values)] = piece.values
        return samples

    def hops(self, hop_s: float) -> Iterator[Hop]:
        """The hops (0, hop_s], (hop_s, 2 hop_s], ... up to the last one that the recording fills completely.

        Where no stream has a length, as rows without a rate and words have none, the last hop has the last of them.

        Args:
            hop_s: how long a hop is, in seconds.
        """
        index = 1
        while self._goes_on(index, hop_s):
            yield self._take(index * hop_s)
            index += 1

    def hops_until(self, ends_s: Iterable[float]) -> Iterator[Hop]:
        """The hops that end at given moments, in order, whether anything came in them or not."""
        for end_s in ends_s:
            self._read_until(end_s)
            yield self._take(end_s)

    def rest(self) -> Hop:
        """The data after the last hop that was given; call it after those have ended."""
        while self._pull():
            pass
        return self._take(math.inf, self.length_s)

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> RecordingSource:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------------- reading

    def _goes_on(self, index: int, hop_s: float) -> bool:
        """Whether there is a hop of this number; reads up to its end."""
        self._read_until(index * hop_s)
        if not self.is_over:
            return True
        if any(feed.lasts for feed in self._feeds.values()):
            return index * hop_s <= self.length_s + 1e-3
        return self.length_s > 0 and (index == 1 or (index - 1) * hop_s < self.length_s - _EPSILON_S)

    def _read_until(self, end_s: float) -> None:
        """Read until everything up to a moment has come, or is not waited for any more."""
        while not self.is_over:
            least_s, most_s = reached_s(list(self._feeds.values()))
            if self.clock.agrees:  # a stamp that is wrong by a little makes nobody else late
                most_s = min(most_s, self._logged_s)
            if most_s >= end_s + SETTLED_AFTER_S and (least_s > end_s or most_s >= end_s + MOST_SKEW_S):
                return
            self._pull()

    def _pull(self) -> bool:
        """Read a message into the feeds; False where there is none any more."""
        message = None if self.is_over else next(self._messages, None)
        if message is None:
            if not self.is_over:
                self.is_over = True
                for name, reading, log_ns in self._decoding.finish():
                    self._add(name, reading, log_ns)
            return False
        self._logged_s = (message.log_ns + self._timeline.moved_ns(message.topic) - self.origin_ns) / _NS
        for name in self._decoding.streams_of(message.topic):
            try:
                for reading in self._decoding.read(name, message, self._wanted(name, message)):
                    self._add(name, reading, message.log_ns)
            except MessageError as error:
                self._faults[name] = f"{error}"[:200]
        return True

    def _wanted(self, name: str, message: RecordedMessage) -> Callable[[int | None], bool] | None:
        feed = self._feeds[name]

        def wanted(stamp_ns: int | None) -> bool:
            time_ns = self.clock.time_ns(message.topic, message.log_ns, stamp_ns)
            if not self._is_in_range(time_ns):
                return False
            placed_ns = self._timeline.place(message.topic, time_ns, message.log_ns)
            return placed_ns is not None and feed.wants((placed_ns - self.origin_ns) / _NS)

        return wanted if isinstance(self._specs[name], VideoSpec) else None

    def _add(self, name: str, reading: Reading, log_ns: int) -> None:
        topic = self.fields[name].topic
        time_ns = self.clock.time_ns(topic, log_ns, reading.stamp_ns)
        if not self._is_in_range(time_ns):
            return
        if isinstance(reading, TextReading):  # words may be late
            placed_ns: int | None = time_ns + self._timeline.moved_ns(topic)
        else:
            placed_ns = self._timeline.place(topic, time_ns, log_ns)
        if placed_ns is not None:
            stamped = has_stamp(reading) and (topic in self.clock.stamped or isinstance(reading, TextReading))
            self._feeds[name].add(reading, (placed_ns - self.origin_ns) / _NS, stamped)

    def _is_in_range(self, time_ns: int) -> bool:
        start_ns, end_ns = self._range_ns
        return (start_ns is None or time_ns >= start_ns) and (end_ns is None or time_ns < end_ns)

    def _take(self, end_s: float, shown_end_s: float | None = None) -> Hop:
        pieces = {name: feed.take(end_s) for name, feed in self._feeds.items()}
        faults, self._faults = self._faults, {}
        return Hop(end_s if shown_end_s is None else shown_end_s, pieces, faults)

    # --------------------------------------------------------------------------------------------------------- clock

    def _logged_range_ns(self) -> tuple[int | None, int | None]:
        """The log times between which everything of the wanted range was logged."""
        start_ns, end_ns = self._range_ns
        offset_ns = self.clock.offset_ns
        lead_ns = int(LEAD_IN_S * _NS) if any(isinstance(spec, VideoSpec) for spec in self._specs.values()) else 0
        first_ns = None if start_ns is None else max(0, start_ns - offset_ns - lead_ns)
        only_words = all(isinstance(spec, TextSpec) for spec in self._specs.values())
        late_ns = int((LATEST_WORDS_S if only_words else MOST_SKEW_S) * _NS) + self.clock.late_ns
        return first_ns, None if end_ns is None else end_ns - offset_ns + late_ns

    def _choose_clock(self, asked: Clock) -> tuple[ChosenClock, int]:
        """The clock, and the time of the first message on it."""
        samples = self._samples()
        if not any(samples.values()):
            named = ", ".join(sorted(self._decoding.topics))
            raise InputError(f"{self.recording.path}: expected messages of {named}, found none that can be read")
        spoken = {found.topic for name, found in self.fields.items() if isinstance(self._specs[name], TextSpec)}
        clock = marked(self.recording, choose_clock(samples, asked, frozenset(spoken)))
        times_ns = sorted(
            clock.time_ns(topic, sample.log_ns, sample.stamp_ns) - sample.length_ns
            for topic, found in samples.items()
            for sample in found
        )
        middle_ns = times_ns[len(times_ns) // 2]
        return clock, next(time_ns for time_ns in times_ns if time_ns > middle_ns - 3600 * _NS)

    def _first_of(self, topic: str) -> RecordedMessage | None:
        return next(iter(self.recording.messages([topic])), None)

    def _samples(self) -> dict[str, list[Sample]]:
        """The times of the first messages of each topic; those of the range, where one is wanted."""
        decoding = Decoding(self.recording, self._specs, self.fields)
        samples: dict[str, list[Sample]] = {topic: [] for topic in decoding.topics}
        first_ns = None
        for message in self.recording.messages(decoding.topics, *self._range_ns):
            first_ns = message.log_ns if first_ns is None else first_ns
            if all(len(found) >= _SAMPLES for found in samples.values()) or (
                message.log_ns - first_ns > _SAMPLED_S * _NS and any(samples.values())
            ):
                break
            if len(samples[message.topic]) >= _SAMPLES:
                continue
            name = decoding.streams_of(message.topic)[0]
            try:
                samples[message.topic] += decoding.sample(name, message)
            except MessageError:
                continue
        return samples


def open_recordings(
    stack: ExitStack,
    places: Mapping[str, Path],
    streams: Mapping[str, StreamSpec],
    topics: Mapping[str, str],
    clock: Clock,
    every_frame: bool,
) -> tuple[list[RecordingSource], dict[str, RecordingSource]]:
    """Open the recordings of a source.

    Args:
        stack: closes them.
        places: by stream, RECORDING or RECORDING#TOPIC; one recording may feed several.
        streams: of the model.
        topics, clock, every_frame: see `RecordingSource`.

    Returns:
        The recordings, and the recording of each stream that one of its topics feeds.

    Raises:
        UsageError, InputError: see `RecordingSource`.
    """
    by_file: dict[Path, dict[str, str]] = {}
    for name, place in places.items():
        file, topic = split_topic(place)
        by_file.setdefault(file, {})[name] = topic
    require_streams(topics, streams)
    if unused := [name for name in topics if name not in places]:
        raise OptionError(
            "topics", "--map", f"{unused[0]}={topics[unused[0]]!s:.200}: expected a recording that feeds {unused[0]}"
        )
    found = []
    for file, named in by_file.items():
        of_file = {name: streams[name] for name in named}
        chosen = {name: given for name, topic in named.items() if (given := topic or topics.get(name))}
        found.append(stack.enter_context(RecordingSource(file, of_file, chosen, clock=clock, every_frame=every_frame)))
    return found, {name: one for one in found for name in one.fields}

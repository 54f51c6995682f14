"""Reads the streams of a model out of a recording, hop by hop: its messages decoded, put in order and on one clock.

However long a recording is, only what belongs to the next hops lies in memory.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from taemi_edge.bundle.streams import StreamSpec, VideoSpec
from taemi_edge.errors import InputError, MessageError
from taemi_edge.media.hops import Hop
from taemi_edge.media.messages.readings import MessageType, PictureReading, Reading, TextReading
from taemi_edge.media.messages.stream_reader import StreamReader
from taemi_edge.media.messages.topic_field import TopicField
from taemi_edge.media.recordings.feeds import Feed, has_stamp, open_feed, reached_s
from taemi_edge.media.recordings.opening import open_recording
from taemi_edge.media.recordings.recorded_clock import (
    ChosenClock,
    Clock,
    LeapWatch,
    Sample,
    choose_clock,
    require_clock,
)
from taemi_edge.media.recordings.recording import RecordedMessage, Recording
from taemi_edge.media.recordings.topic_map import choose_topics

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
        clock: "header" for the stamps of messages, "log" for the times at which they were logged, "auto" to choose.
        start_ns, end_ns: read from and up to this time of the chosen clock alone.
        origin_ns: the time of the chosen clock that is 0 s; by default `start_ns`, else that of the first message.
        every_frame: keep all pictures, whatever the streams need.

    Attributes:
        fields: the topic and field of each stream that has one.
        absent: why the others have none.
        origin_ns: as above; it may be changed before the first hop.
        unusable: how many messages could not be used so far.

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
        clock: Clock = "auto",
        start_ns: int | None = None,
        end_ns: int | None = None,
        origin_ns: int | None = None,
        every_frame: bool = False,
    ) -> None:
        require_clock(clock)
        with ExitStack() as stack:
            if isinstance(recording, Path):
                recording = open_recording(recording)
            stack.callback(recording.close)
            self.recording = recording
            choice = choose_topics(recording.topics, streams, topics or {})
            self.fields, self.absent, self._guessed = choice.fields, choice.absent, choice.notes
            if not self.fields:
                raise InputError(
                    f"{recording.path}: expected a topic that fits a stream of the model, and none does: see "
                    f"`taemi-edge inspect {recording.path}`"
                )
            self._feeds: dict[str, Feed] = {n: open_feed(streams[n], every_frame) for n in self.fields}
            self._specs = {name: streams[name] for name in self.fields}
            self._range_ns = start_ns, end_ns
            self._decoding = _Decoding(recording, self._specs, self.fields)
            self._clock, first_ns = self._choose_clock(clock)
            self.origin_ns = origin_ns if origin_ns is not None else start_ns if start_ns is not None else first_ns
            self._watches = {topic: LeapWatch() for topic in self._decoding.topics}
            self._messages = iter(recording.messages(self._decoding.topics, *self._logged_range_ns()))
            self._is_over = False
            self._faults: dict[str, str] = {}
            self._stack = stack.pop_all()

    @property
    def unusable(self) -> int:
        """How many messages could not be used so far."""
        return self._decoding.unusable + sum(watch.left_out for watch in self._watches.values())

    @property
    def late(self) -> int:
        """How many messages came after their hop, and were left out."""
        return sum(feed.late for feed in self._feeds.values())

    @property
    def notes(self) -> list[str]:
        """What was guessed and assumed, and what is wrong with the recording as far as it was read."""
        shown = self.recording.path
        notes = [f"{shown}: {note}" for note in (*self._guessed, self._clock.note) if note]
        notes += [*self.recording.notes, *(f"{shown}: {note}" for note in self._decoding.notes)]
        if self.late:
            notes.append(f"{shown}: {self.late} messages came more than {MOST_SKEW_S:g} s late and were left out")
        if leaps := sum(watch.left_out for watch in self._watches.values()):
            notes.append(f"{shown}: {leaps} messages have times that leap, and were left out")
        return notes

    @property
    def duration_s(self) -> float | None:
        """How long the recording claims to be; None where it claims nothing."""
        start_ns, end_ns = self.recording.start_ns, self.recording.end_ns
        return None if start_ns is None or end_ns is None else (end_ns - start_ns) / _NS

    @property
    def length_s(self) -> float:
        """How much there was to read so far."""
        lasting = [feed.end_s for feed in self._feeds.values() if feed.lasts]
        return max(0.0, *(lasting or [feed.end_s for feed in self._feeds.values()]))

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
        if not self._is_over:
            return True
        if any(feed.lasts for feed in self._feeds.values()):
            return index * hop_s <= self.length_s + 1e-3
        return self.length_s > 0 and (index == 1 or (index - 1) * hop_s < self.length_s - _EPSILON_S)

    def _read_until(self, end_s: float) -> None:
        """Read until everything up to a moment has come, or is not waited for any more."""
        while not self._is_over:
            least_s, most_s = reached_s(list(self._feeds.values()))
            if most_s >= end_s + SETTLED_AFTER_S and (least_s > end_s or most_s >= end_s + MOST_SKEW_S):
                return
            self._pull()

    def _pull(self) -> bool:
        """Read a message into the feeds; False where there is none any more."""
        message = None if self._is_over else next(self._messages, None)
        if message is None:
            if not self._is_over:
                self._is_over = True
                for name, reading, log_ns in self._decoding.finish():
                    self._add(name, reading, log_ns)
            return False
        for name in self._decoding.streams_of(message.topic):
            try:
                for reading in self._decoding.read(name, message, self._wanted(name, message)):
                    self._add(name, reading, message.log_ns)
            except MessageError as error:
                self._faults[name] = f"{error}"[:200]
        return True

    def _wanted(self, name: str, message: RecordedMessage) -> object:
        feed = self._feeds[name]

        def wanted(stamp_ns: int | None) -> bool:
            time_ns = self._clock.time_ns(message.topic, message.log_ns, stamp_ns)
            return feed.wants((time_ns + self._watches[message.topic].moved_ns - self.origin_ns) / _NS)

        return wanted if isinstance(self._specs[name], VideoSpec) else None

    def _add(self, name: str, reading: Reading, log_ns: int) -> None:
        topic = self.fields[name].topic
        time_ns = self._clock.time_ns(topic, log_ns, reading.stamp_ns)
        start_ns, end_ns = self._range_ns
        if (start_ns is not None and time_ns < start_ns) or (end_ns is not None and time_ns >= end_ns):
            return
        placed_ns = self._watches[topic].place(time_ns)
        if placed_ns is not None:
            stamped = has_stamp(reading) and (topic in self._clock.stamped or isinstance(reading, TextReading))
            self._feeds[name].add(reading, (placed_ns - self.origin_ns) / _NS, stamped)

    def _take(self, end_s: float, shown_end_s: float | None = None) -> Hop:
        pieces = {name: feed.take(end_s) for name, feed in self._feeds.items()}
        faults, self._faults = self._faults, {}
        return Hop(end_s if shown_end_s is None else shown_end_s, pieces, faults)

    # --------------------------------------------------------------------------------------------------------- clock

    def _logged_range_ns(self) -> tuple[int | None, int | None]:
        """The log times between which everything of the wanted range was logged."""
        start_ns, end_ns = self._range_ns
        offset_ns = self._clock.offset_ns
        lead_ns = int(LEAD_IN_S * _NS) if any(isinstance(spec, VideoSpec) for spec in self._specs.values()) else 0
        first_ns = None if start_ns is None else max(0, start_ns - offset_ns - lead_ns)
        return first_ns, None if end_ns is None else end_ns - offset_ns + int(MOST_SKEW_S * _NS)

    def _choose_clock(self, asked: Clock) -> tuple[ChosenClock, int]:
        """The clock, and the time of the first message on it."""
        samples = self._samples()
        if not any(samples.values()):
            named = ", ".join(sorted(self._decoding.topics))
            raise InputError(f"{self.recording.path}: expected messages of {named}, found none that can be read")
        clock = choose_clock({topic: found for topic, found in samples.items() if found}, asked)
        times_ns = sorted(
            clock.time_ns(topic, sample.log_ns, sample.stamp_ns) for topic, found in samples.items() for sample in found
        )
        middle_ns = times_ns[len(times_ns) // 2]
        return clock, next(time_ns for time_ns in times_ns if time_ns > middle_ns - 3600 * _NS)

    def _samples(self) -> dict[str, list[Sample]]:
        """The times of the first messages of each topic; those of the range, where one is wanted."""
        decoding = _Decoding(self.recording, self._specs, self.fields)
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
                stamps = decoding.stamps(name, message)
            except MessageError:
                continue
            samples[message.topic] += [Sample(message.log_ns, stamp_ns) for stamp_ns in stamps]
        return samples


class _Decoding:
    """Decodes the messages of the topics that feed streams, and counts those that cannot be used."""

    def __init__(
        self, recording: Recording, specs: Mapping[str, StreamSpec], fields: Mapping[str, TopicField]
    ) -> None:
        self._recording, self._specs, self._fields = recording, specs, fields
        self._streams: dict[str, list[str]] = {}
        for name, found in fields.items():
            self._streams.setdefault(found.topic, []).append(name)
        self.topics = frozenset(self._streams)
        self._readers: dict[tuple[str, MessageType | None], StreamReader | MessageError] = {}
        self._problems: Counter[str] = Counter()
        self._first: dict[str, str] = {}
        self._last_ns: dict[str, int] = {}

    @property
    def unusable(self) -> int:
        return sum(self._problems.values())

    @property
    def notes(self) -> list[str]:
        said = [
            f"{count} of the messages for {name} could not be used, the first since: {self._first[name]}"
            for name, count in self._problems.items()
        ]
        readers = {name: reader for (name, _), reader in self._readers.items() if isinstance(reader, StreamReader)}
        return said + [f"{self._fields[name]}: {note}" for name, one in readers.items() for note in one.notes]

    def streams_of(self, topic: str) -> list[str]:
        return self._streams[topic]

    def read(self, name: str, message: RecordedMessage, wanted: object) -> list[Reading]:
        """What a message has for a stream.

        Raises:
            MessageError: it cannot be used.
        """
        self._last_ns[name] = message.log_ns
        try:
            reader = self._reader(name, message)
            return reader.read(message.data) if wanted is None else reader.read(message.data, wanted)
        except MessageError as error:
            self._problems[name] += 1
            self._first.setdefault(name, str(error))
            raise

    def stamps(self, name: str, message: RecordedMessage) -> list[int | None]:
        """The stamps of what a message has for a stream."""
        found: list[int | None] = []
        if isinstance(self._specs[name], VideoSpec):

            def note(stamp_ns: int | None) -> bool:
                found.append(stamp_ns)
                return False

            self._reader(name, message).read(message.data, note)
            return found
        return [reading.stamp_ns for reading in self._reader(name, message).read(message.data)]

    def finish(self) -> Iterator[tuple[str, Reading, int]]:
        """What decoders still hold after the last message, by stream, with the log time of that."""
        for (name, _), reader in self._readers.items():
            if isinstance(reader, StreamReader):
                for reading in reader.finish():
                    yield name, reading, self._last_ns[name]

    def _reader(self, name: str, message: RecordedMessage) -> StreamReader:
        """The reader for messages of this type: two writers of one topic may have different ones."""
        key = (name, message.type)
        reader = self._readers.get(key)
        if reader is None:
            kind = message.type or self._recording.topics[message.topic].type
            try:
                reader = StreamReader(self._specs[name], kind, self._fields[name].field)
            except MessageError as error:
                reader = error
            self._readers[key] = reader
        if isinstance(reader, MessageError):
            raise reader
        return reader

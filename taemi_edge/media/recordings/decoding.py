"""Decodes the messages that feed the streams of a model, and counts those that cannot be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from taemi_edge.bundle.streams import SeriesSpec, StreamSpec, VideoSpec
from taemi_edge.errors import MessageError
from taemi_edge.media.messages.definitions import ros_name
from taemi_edge.media.messages.readings import MessageType, Reading, SoundReading
from taemi_edge.media.messages.stream_reader import StreamReader
from taemi_edge.media.messages.topic_field import TopicField
from taemi_edge.media.recordings.recorded_clock import Sample
from taemi_edge.media.recordings.recording import RecordedMessage, Recording


class Decoding:
    """Decodes the messages of the topics that feed streams, and counts those that cannot be used."""

    def __init__(self, recording: Recording, specs: Mapping[str, StreamSpec], fields: Mapping[str, TopicField]) -> None:
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
        topics = [self._recording.topics[topic] for topic in sorted(self.topics)]
        said += [
            f"{topic.name} has {topic.writers} writers, whose messages are read as those of one: where they are two "
            "sensors, record each on a topic of its own"
            for topic in topics
            if topic.writers > 1
        ]
        readers = {name: reader for (name, _), reader in self._readers.items() if isinstance(reader, StreamReader)}
        return said + [f"{self._fields[name]}: {note}" for name, one in readers.items() for note in one.notes]

    def streams_of(self, topic: str) -> list[str]:
        return self._streams[topic]

    def read(self, name: str, message: RecordedMessage, wanted: Callable[[int | None], bool] | None) -> list[Reading]:
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

    def sample(self, name: str, message: RecordedMessage) -> list[Sample]:
        """The times of what a message has for a stream.

        Raises:
            MessageError: it cannot be used.
        """
        found: list[Sample] = []

        def note(stamp_ns: int | None) -> bool:
            found.append(Sample(message.log_ns, stamp_ns))
            return False

        if isinstance(self._specs[name], VideoSpec):
            self._reader(name, message).read(message.data, note)
            return found
        for reading in self._reader(name, message).read(message.data):
            length_ns = 0
            if isinstance(reading, SoundReading) and reading.stamp_ns is None:
                length_ns = round(len(reading.samples) / reading.rate_hz * 1e9)
            found.append(Sample(message.log_ns, reading.stamp_ns, length_ns))
        return found

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
            first = self._recording.topics[message.topic].type
            kind = message.type or first
            try:
                self._require_alike(name, first, kind)
                reader = StreamReader(self._specs[name], kind, self._fields[name].field)
            except MessageError as error:
                reader = error
            self._readers[key] = reader
        if isinstance(reader, MessageError):
            raise reader
        return reader

    def _require_alike(self, name: str, first: MessageType, kind: MessageType) -> None:
        """Refuse numbers of another type than those that the topic has first: they mean something else."""
        is_series = isinstance(self._specs[name], SeriesSpec)
        if is_series and not self._fields[name].field and ros_name(kind.name) != ros_name(first.name):
            raise MessageError(
                f"expected messages of {first.name}, which the topic has first, got {kind.name}: name the fields that "
                "are read, if both are meant"
            )

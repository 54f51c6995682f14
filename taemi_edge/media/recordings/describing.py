"""Describes a recording for people: its topics, and which of them would feed the streams of a model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from taemi_edge.bundle.streams import StreamSpec
from taemi_edge.bundle.values import Frozen
from taemi_edge.errors import InputError, MessageError, UsageError
from taemi_edge.media.clocks import UNIX_FROM_S
from taemi_edge.media.messages.decoders import shape_of
from taemi_edge.media.messages.shapes import leaves
from taemi_edge.media.messages.topic_field import TopicField, shown_path
from taemi_edge.media.recordings.opening import open_recording
from taemi_edge.media.recordings.recorded_clock import Clock
from taemi_edge.media.recordings.recorded_streams import RecordingSource
from taemi_edge.media.recordings.recording import Recording, Topic

_MOST_FIELDS = 200


class TopicDescription(Frozen, frozen=True):
    """A topic of a recording.

    `fields` are what may stand behind its name in `--map`; `problem` says why it cannot be read, "" where it can.
    """

    name: str
    type: str
    encoding: str
    count: int | None
    rate_hz: float | None
    fields: tuple[str, ...]
    problem: str = ""
    streams: tuple[str, ...] = ()


class RecordingDescription(Frozen, frozen=True):
    """What `taemi-edge inspect` prints about a recording.

    `map` has the topic of each stream of the model, `guessed` the streams whose topic nobody named, `absent` why others
    have none, and `problem` why no topics could be chosen. All are empty without a model.
    """

    path: str
    start_s: float | None
    begins: str
    duration_s: float | None
    messages: int
    topics: tuple[TopicDescription, ...]
    notes: tuple[str, ...]
    map: dict[str, str]
    guessed: tuple[str, ...]
    absent: dict[str, str]
    problem: str = ""


def describe_recording(
    path: Path,
    streams: Mapping[str, StreamSpec] | None = None,
    topics: Mapping[str, str] | None = None,
    clock: Clock = "auto",
) -> RecordingDescription:
    """Open a recording and describe it.

    Args:
        streams: of a model whose topics are looked for.
        topics: of those that are given, see `RecordingSource`.
        clock: of the recording.

    Raises:
        InputError, MissingExtraError: it cannot be read.

    Example:
        >>> describe_recording(Path("drive.mcap")).topics[0].name  # doctest: +SKIP
        '/camera/image_raw'
    """
    chosen = _chosen(path, streams, topics, clock) if streams else _Chosen()
    with open_recording(path) as recording:
        length_s = _length_s(recording)
        listed = tuple(
            _described(topic, length_s, chosen.streams_of(name)) for name, topic in sorted(recording.topics.items())
        )
        start_s = None if recording.start_ns is None else recording.start_ns / 1e9
        return RecordingDescription(
            path=str(path),
            start_s=start_s,
            begins=_written(start_s),
            duration_s=length_s,
            messages=sum(topic.count or 0 for topic in listed),
            topics=listed,
            notes=(*chosen.notes, *recording.notes),
            map={name: str(found) for name, found in chosen.fields.items()},
            guessed=tuple(sorted(chosen.guessed)),
            absent=dict(chosen.absent),
            problem=chosen.problem,
        )


@dataclass(frozen=True)
class _Chosen:
    """Which topics would feed the streams of a model, or why none could be chosen."""

    fields: Mapping[str, TopicField] = field(default_factory=dict)
    guessed: Collection[str] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    problem: str = ""

    def streams_of(self, topic: str) -> tuple[str, ...]:
        return tuple(name for name, found in self.fields.items() if found.topic == topic)


def _chosen(path: Path, streams: Mapping[str, StreamSpec], topics: Mapping[str, str] | None, clock: Clock) -> _Chosen:
    try:
        with RecordingSource(path, streams, topics, clock=clock) as source:
            return _Chosen(source.fields, source.guessed, source.absent, source.clock_notes)
    except (UsageError, InputError) as error:
        return _Chosen(problem=str(error))


def _described(topic: Topic, length_s: float | None, streams: tuple[str, ...]) -> TopicDescription:
    rate_hz = None
    if topic.count is not None and topic.count > 1 and length_s:
        rate_hz = topic.count / length_s
    fields: tuple[str, ...] = ()
    problem = topic.problem or ""
    if not problem:
        try:
            shape = shape_of(topic.type)
            fields = (
                tuple(shown_path(path) for path, _ in leaves(shape) if path[0] != "header") if shape is not None else ()
            )
        except (MessageError, UsageError) as error:
            problem = str(error)
    kind = topic.type
    return TopicDescription(
        topic.name, kind.name, kind.encoding, topic.count, rate_hz, fields[:_MOST_FIELDS], problem, streams
    )


def _length_s(recording: Recording) -> float | None:
    if recording.start_ns is None or recording.end_ns is None:
        return None
    return (recording.end_ns - recording.start_ns) / 1e9


def _written(start_s: float | None) -> str:
    """When a recording begins: the date, where its clock has one."""
    if start_s is None:
        return "at no known time"
    if not UNIX_FROM_S <= start_s < 1e11:
        return f"at {start_s:g} s of its own clock"
    return datetime.fromtimestamp(start_s, timezone.utc).strftime("on %Y-%m-%d at %H:%M:%S UTC")

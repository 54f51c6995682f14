"""Chooses the topics of a recording that feed the streams of a model: those that are given, the rest by their types.

A stream without a topic of its own gets one where the types of messages leave a single choice. Where they leave
several, a topic whose name holds that of the stream is taken, and nothing is guessed beyond that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taemi_edge.bundle.recipe import read_toml
from taemi_edge.bundle.streams import StreamSpec, kind_name
from taemi_edge.errors import InputError, MessageError, MissingExtraError, OptionError, UsageError
from taemi_edge.media.messages.readings import MessageType
from taemi_edge.media.messages.stream_reader import StreamReader, fit_of
from taemi_edge.media.messages.topic_field import TopicField, parse_topic_field
from taemi_edge.media.recordings.recording import RecordedMessage, Topic

_MOST_NAMED = 30
#: Topics that every robot has and no stream reads.
_MACHINERY = re.compile(r"/(rosout|rosout_agg|parameter_events|clock|tf|tf_static|diagnostics)$")


@dataclass(frozen=True)
class TopicChoice:
    """Which topics feed which streams.

    Attributes:
        fields: the topic and the field of each stream that has one.
        guessed: the streams whose topic nobody named.
        absent: why the others have none.
    """

    fields: Mapping[str, TopicField] = field(default_factory=dict)
    guessed: frozenset[str] = frozenset()
    absent: Mapping[str, str] = field(default_factory=dict)


def choose_topics(
    topics: Mapping[str, Topic],
    streams: Mapping[str, StreamSpec],
    given: Mapping[str, str | TopicField],
    first_of: Callable[[str], RecordedMessage | None] = lambda topic: None,
) -> TopicChoice:
    """Find the topic of each stream.

    Args:
        topics: of the recording.
        streams: of the model that the recording may feed.
        given: TOPIC or TOPIC.field by the name of the stream.
        first_of: the first message of a topic, which is looked at where the type of its messages does not tell enough.

    Raises:
        OptionError: a stream that the model does not have.
        UsageError: a topic that is not there, that does not fit its stream, or several that could be meant.
    """
    require_streams(given, streams)
    fields = {name: _given(topics, name, streams[name], given[name]) for name in streams if name in given}
    taken = {found.topic for found in fields.values()}
    fitting_to = {name: _fitting(topics, spec, first_of) for name, spec in streams.items() if name not in fields}
    guessed, absent = set(), {}
    for name, spec in streams.items():
        if name in fields:
            continue
        fitting = [topic for topic in fitting_to[name] if topic not in taken]
        chosen = _by_name(fitting, name) if len(fitting) > 1 else fitting
        rivals = [other for other, found in fitting_to.items() if other != name and found == chosen]
        if len(chosen) > 1:
            raise UsageError(
                f"expected one topic for the stream {name} ({kind_name(spec)}), and {_listed(chosen)} fit it: choose "
                f"one with --map {name}=TOPIC"
            )
        if chosen and rivals and not _named_in(name, chosen[0]):
            others = " and ".join([name, *rivals])
            raise UsageError(
                f"expected topics for the streams {others}, and {chosen[0]} fits several of them: say which with "
                f"--map {name}={chosen[0]}"
            )
        if chosen:
            fields[name] = TopicField(chosen[0])
            guessed.add(name)
            taken.add(chosen[0])
        else:
            absent[name] = "the recording has no topic that fits it"
    return TopicChoice({name: fields[name] for name in streams if name in fields}, frozenset(guessed), absent)


def require_streams(given: Mapping[str, str | TopicField], streams: Mapping[str, StreamSpec]) -> None:
    """Refuse topics for streams that the model does not have.

    Raises:
        OptionError: the first of them.
    """
    if unknown := [name for name in given if name not in streams]:
        named = ", ".join(f"{name} ({kind_name(spec)})" for name, spec in streams.items()) or "none"
        raise OptionError("topics", "--map", f"{unknown[0]:.80}={given[unknown[0]]!s:.200}: expected one of {named}")


def read_map(entries: Sequence[str]) -> dict[str, str]:
    """The topics of `--map`, by stream: NAME=TOPIC[.field], or a TOML file with a table `[streams]`; the last one wins.

    Raises:
        UsageError: an entry is neither.
        RecipeError: a file cannot be read, or has other keys.

    Example:
        >>> read_map(["eye=/camera/image_raw", "wrist=/imu/data.angular_velocity"])
        {'eye': '/camera/image_raw', 'wrist': '/imu/data.angular_velocity'}
    """
    found: dict[str, str] = {}
    for entry in entries:
        name, equals, topic = entry.partition("=")
        if equals and name.isidentifier() and topic:
            found[name] = topic
        elif entry.endswith(".toml"):
            found |= read_map_file(Path(entry))
        else:
            raise OptionError(
                "topics", "--map", f"{entry!r:.200}: expected NAME=TOPIC such as eye=/camera/image_raw, or a .toml file"
            )
    return found


def named_topics(given: Any) -> dict[str, str]:
    """The topics that a program gives: by the name of the stream, or in a TOML file; None for none.

    Raises:
        UsageError: it is neither.
        RecipeError, InputError: see `read_map_file`.
    """
    if isinstance(given, (str, Path)) and given:
        return read_map_file(Path(given))
    topics = given or {}
    if not isinstance(topics, Mapping) or not all(isinstance(topic, str) for topic in topics.values()):
        raise UsageError(f"expected topics by name, such as {{'eye': '/camera/image_raw'}}, got {topics!r:.60}")
    return {str(name): topic for name, topic in topics.items()}


def read_map_file(file: Path) -> dict[str, str]:
    """The table `[streams]` of a TOML file: a topic, or TOPIC.field, by the name of each stream.

    Raises:
        RecipeError: it cannot be read.
        InputError: it has no such table, or a value that is no topic.
    """
    content = read_toml(file)
    table = content.get("streams")
    if not isinstance(table, dict) or not table:
        raise InputError(f'{file}: expected a table [streams] with lines such as eye = "/camera/image_raw", found none')
    for name, topic in table.items():
        if not isinstance(topic, str) or not topic:
            raise InputError(f"{file}: expected streams.{name:.80} as a topic in quotes, got {topic!r:.80}")
    return {str(name): topic for name, topic in table.items()}


def _given(topics: Mapping[str, Topic], name: str, spec: StreamSpec, text: str | TopicField) -> TopicField:
    """A topic that was named, which must be there and fit."""
    found = parse_topic_field(text, topics) if isinstance(text, str) else text
    topic = topics.get(found.topic) or topics.get(f"/{found.topic}")
    if topic is None:
        raise OptionError(
            "topics", "--map", f"{name}={text!s:.200}: expected a topic of the recording, which has {_listed(topics)}"
        )
    if topic.problem is not None:
        raise OptionError(
            "topics", "--map", f"{name}={text!s:.200}: expected a topic that can be read: {topic.problem}"
        )
    try:
        StreamReader(spec, topic.type, found.field)
    except MessageError as error:
        raise OptionError("topics", "--map", f"{name}={text!s:.200}: {error}") from error
    return TopicField(topic.name, found.field)


def _fitting(
    topics: Mapping[str, Topic], spec: StreamSpec, first_of: Callable[[str], RecordedMessage | None]
) -> list[str]:
    """The topics with messages whose types are made for a stream; where none is, those whose first message fits."""
    found: dict[bool, list[Topic]] = {True: [], False: []}
    known: dict[MessageType, bool | None] = {}
    for topic in topics.values():
        if topic.count == 0 or _MACHINERY.search(topic.name):
            continue
        if topic.type not in known:
            known[topic.type] = fits(topic, spec)
        is_sure = known[topic.type]
        if is_sure is not None:
            found[is_sure].append(topic)
    chosen = found[True] or [topic for topic in found[False] if _reads(topic, spec, first_of(topic.name))]
    return [topic.name for topic in chosen]


def fits(topic: Topic, spec: StreamSpec) -> bool | None:
    """Whether a topic feeds a stream by the type of its messages: True, False for perhaps, None for never."""
    if topic.problem is not None:
        return None
    try:
        return fit_of(spec, topic.type).is_sure
    except MissingExtraError:
        raise
    except (MessageError, UsageError):
        return None


def _reads(topic: Topic, spec: StreamSpec, message: RecordedMessage | None) -> bool:
    """Whether a stream can use a message; True where there is none to ask."""
    if message is None:
        return True
    try:
        StreamReader(spec, message.type or topic.type).read(message.data)
    except (MessageError, UsageError):
        return False
    return True


def _by_name(topics: list[str], stream: str) -> list[str]:
    """Those whose names hold the name of the stream; all where none does."""
    return [topic for topic in topics if _named_in(stream, topic)] or topics


def _named_in(stream: str, topic: str) -> bool:
    return stream.lower() in re.split(r"[/._]", topic.lower())


def _listed(topics: Mapping[str, Topic] | list[str]) -> str:
    names = sorted(topics)
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}" if names else "none"

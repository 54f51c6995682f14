"""What a recording is, whatever file it lies in: topics, and messages in the order in which they were logged."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol

from taemi_edge.media.messages.readings import MessageType

#: How the messages of a topic may be encoded, and the encodings of schemas that each may have.
_SCHEMAS = {
    "cdr": ("ros2msg", "ros2idl", ""),
    "ros1": ("ros1msg", ""),
    "json": ("jsonschema", ""),
    "protobuf": ("protobuf",),
}


@dataclass(frozen=True)
class Topic:
    """A topic of a recording.

    Attributes:
        name: such as "/camera/image_raw".
        type: of its messages; of several writers with different types, that of the first.
        count: how many messages there are; None where the recording does not say so.
        problem: why its messages cannot be read; None where they can.
        metadata: what its writer noted of it; only MCAP has any.
        writers: how many wrote messages into it, as far as the recording tells them apart.
    """

    name: str
    type: MessageType
    count: int | None = None
    problem: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    writers: int = 1


@dataclass(frozen=True, eq=False)
class RecordedMessage:
    """A message as it was logged.

    Attributes:
        topic: the name of its topic.
        log_ns: when it was logged, in nanoseconds, on the recorder's clock.
        data: its bytes.
        type: of the message, where it differs from that of the topic; None where it does not.
    """

    topic: str
    log_ns: int
    data: bytes
    type: MessageType | None = None


class Recording(Protocol):
    """An open recording; a context manager."""

    @property
    def path(self) -> Path:
        """The file, or the folder of a bag."""

    @property
    def topics(self) -> Mapping[str, Topic]:
        """Its topics by name."""

    @property
    def start_ns(self) -> int | None:
        """The log time of the first message; None where the recording does not say so."""

    @property
    def end_ns(self) -> int | None:
        """The log time of the last message; None where the recording does not say so."""

    @property
    def notes(self) -> Sequence[str]:
        """What is wrong with it, a sentence each: it was cut off, or its index lies. Grows while it is read."""

    @property
    def metadata(self) -> Mapping[str, Mapping[str, str]]:
        """What its writer noted, by the name of the record; only MCAP has any."""

    def messages(
        self, topics: Collection[str], start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[RecordedMessage]:
        """The messages of some topics in the order of their log times, up to where the recording can be read.

        Args:
            topics: the names of those that are wanted; messages of others are not read where the file allows it.
            start_ns, end_ns: the log times of the first message that is wanted, and of the first that is not any more.
        """

    def close(self) -> None: ...

    def __enter__(self) -> Recording: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...


def problem_of(kind: MessageType) -> str | None:
    """Why messages of a type cannot be read, as far as the names of its encodings tell; None where they may.

    >>> problem_of(MessageType("Pose", "flatbuffer", b"x", "flatbuffer"))
    "its messages are written as 'flatbuffer', and cdr, ros1, json and protobuf are read"
    """
    if kind.encoding not in _SCHEMAS:
        return f"its messages are written as {kind.encoding!r:.40}, and cdr, ros1, json and protobuf are read"
    if kind.schema_encoding not in _SCHEMAS[kind.encoding]:
        known = ", ".join(name for name in _SCHEMAS[kind.encoding] if name) or "none"
        return f"its schema is written as {kind.schema_encoding!r:.40}, and for {kind.encoding} {known} is read"
    return None

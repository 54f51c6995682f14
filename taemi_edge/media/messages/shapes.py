"""What a message is made of: numbers, texts, lists and structures, whatever encoding it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from taemi_edge.errors import MessageError
from taemi_edge.media.messages.topic_field import Path, shown_path

#: Structures in structures; those of ROS have up to eight levels.
MOST_LEVELS = 32
#: So many numbers are looked at, and named in an error.
_MOST_LEAVES, _MOST_NAMED = 4096, 24


@dataclass(frozen=True)
class Number:
    """A number; `letter` is that of Python's module `struct`."""

    letter: str = "d"


@dataclass(frozen=True)
class Text:
    """A string."""


@dataclass(frozen=True)
class Blob:
    """Bytes of protobuf; those of ROS are lists of small numbers."""


@dataclass(frozen=True)
class Unreadable:
    """Something that cannot be decoded, and what lies behind it neither.

    Attributes:
        what: in the words of the definition.
    """

    what: str


@dataclass(frozen=True)
class Many:
    """A list.

    Attributes:
        item: what it is made of.
        count: how many there are; None where each message says so.
    """

    item: Shape
    count: int | None = None


@dataclass(frozen=True, eq=False)
class Structure:
    """Named fields.

    Attributes:
        name: of the type, such as "sensor_msgs/msg/Imu".
        fields: by name, in the order of the definition.
    """

    name: str
    fields: Mapping[str, Shape] = field(default_factory=dict)


Shape: TypeAlias = Number | Text | Blob | Unreadable | Many | Structure

#: The names of the seconds and of the nanoseconds of a time; in JSON the two stand in any order.
_TIME_PAIRS = (("sec", "nanosec"), ("sec", "nsec"), ("secs", "nsecs"), ("seconds", "nanos"))


def is_time(shape: Shape) -> bool:
    """Whether a structure is a time or a duration: two numbers, of seconds and of nanoseconds."""
    return time_names(shape) is not None


def time_names(shape: Shape) -> tuple[str, str] | None:
    """The names of the seconds and of the nanoseconds of a time or a duration; None for what is neither.

    >>> time_names(Structure("", {"nanosec": Number(), "sec": Number()}))
    ('sec', 'nanosec')
    """
    if not (isinstance(shape, Structure) and all(isinstance(inner, Number) for inner in shape.fields.values())):
        return None
    return next((pair for pair in _TIME_PAIRS if shape.fields.keys() == set(pair)), None)


def shape_at(shape: Shape, path: Path, inside: str) -> Shape:
    """What lies at the end of a path.

    Args:
        shape: of the message.
        path: to follow.
        inside: the name of the type, for errors.

    Raises:
        MessageError: nothing does; the message names what lies there instead.
    """
    for at, step in enumerate(path):
        if isinstance(step, str) and isinstance(shape, Structure) and step in shape.fields:
            shape = shape.fields[step]
        elif isinstance(step, int) and isinstance(shape, Many) and (shape.count is None or step < shape.count):
            shape = shape.item
        else:
            where = f"{shown_path(path[:at])} of {inside}" if at else inside
            raise MessageError(f"{where} has no {shown_path((step,))}: expected {_there(shape)}")
    return shape


def _there(shape: Shape) -> str:
    if isinstance(shape, Structure):
        names = list(shape.fields)
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        return f"one of {', '.join(names[:_MOST_NAMED])}{more}" if names else "no field, since it has none"
    if isinstance(shape, Many):
        count = "" if shape.count is None else f" below {shape.count}"
        return f"a number{count} in brackets, since it is a list"
    return "nothing behind it, since it is no structure"


def leaves(shape: Shape, path: Path = ()) -> Iterator[tuple[Path, Shape]]:
    """The numbers, texts and lists of a message with their paths, in its order; lists are not opened."""
    count = 0
    waiting: list[tuple[Path, Shape]] = [(path, shape)]
    while waiting:
        at, found = waiting.pop()
        count += 1
        if count > _MOST_LEAVES:
            raise MessageError(f"expected a message of up to {_MOST_LEAVES:,} fields, got more: name the one to read")
        if isinstance(found, Structure):
            waiting += [((*at, name), inner) for name, inner in reversed(list(found.fields.items()))]
        else:
            yield at, found

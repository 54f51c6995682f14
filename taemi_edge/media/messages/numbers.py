"""Which numbers of a message a series reads, and rows of them.

Without a field, a type of the table `USUAL` has its usual numbers, and every other type all of its numbers in the order
of the definition, without its header, times and covariances, where they are as many as the stream has channels. What
holds bytes, as pictures and sound do, is no row unless a field is named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

from taemi_edge.errors import MessageError
from taemi_edge.media.messages.readings import RowReading
from taemi_edge.media.messages.shapes import Blob, Many, Number, Shape, Structure, is_time, leaves, shape_at
from taemi_edge.media.messages.topic_field import Path, field_paths, shown_path

_MOST_NAMED = 16
#: Fields beside the numbers of a message.
_BESIDE = ("header", "layout", "stamp", "timestamp")
#: By type and number of channels, what is read; None for any number: a list.
USUAL: Final[Mapping[str, Mapping[int | None, str]]] = {
    "sensor_msgs/msg/Imu": {
        6: "angular_velocity,linear_acceleration",
        10: "orientation,angular_velocity,linear_acceleration",
    },
    "sensor_msgs/msg/JointState": {None: "position"},
    "sensor_msgs/msg/BatteryState": {
        1: "percentage",
        2: "voltage,current",
        3: "voltage,current,percentage",
        7: "voltage,temperature,current,charge,capacity,design_capacity,percentage",
    },
    "sensor_msgs/msg/NavSatFix": {3: "latitude,longitude,altitude"},
    "sensor_msgs/msg/Range": {1: "range"},
    "sensor_msgs/msg/LaserScan": {None: "ranges"},
    "sensor_msgs/msg/Joy": {None: "axes"},
    "nav_msgs/msg/Odometry": {
        6: "twist.twist",
        7: "pose.pose",
        13: "pose.pose,twist.twist",
    },
}


@dataclass(frozen=True)
class Rows:
    """The numbers that a series reads of each message.

    Attributes:
        paths: of the numbers and of lists of them.
        width: how many there are; None where lists have a length of their own in each message.
        what: the fields, in words.
        has_lists: whether there are lists among them.
    """

    paths: tuple[Path, ...]
    width: int | None
    what: str
    has_lists: bool


def choose_rows(shape: Shape, name: str, channels: int, field: str) -> Rows:
    """Choose what a series of so many channels reads.

    Args:
        shape: of the messages.
        name: of their type.
        channels: of the stream.
        field: what was asked for; empty for what is usual.

    Raises:
        MessageError: there is no such field, it holds no numbers, or there are more or fewer of them.
    """
    usual = USUAL.get(name, {})
    fields = field or usual.get(channels) or usual.get(None)
    if fields:
        rows = _rows_of(shape, name, fields)
        if rows.width is not None and rows.width != channels:
            raise MessageError(
                f"{fields} of {name} has {rows.width} numbers and the stream {channels} channels: name others, with "
                f"commas between them"
            )
        return rows
    every = None if name in USUAL else _all_numbers(shape)
    if every is None or every.width not in (None, channels):
        raise MessageError(_no_choice(shape, name, channels))
    return every


def row_reader(rows: Rows, channels: int, name: str) -> Callable[[Sequence[Any], int | None], RowReading]:
    """A function that makes a row of the values of `rows.paths` and a stamp.

    Raises (the function):
        MessageError: numbers are missing, too many, NaN or infinite.
    """

    def of_numbers(values: Sequence[Any], stamp_ns: int | None) -> RowReading:
        return RowReading(stamp_ns, _finite(values, name))

    def of_lists(values: Sequence[Any], stamp_ns: int | None) -> RowReading:
        count = sum(len(value) if hasattr(value, "__len__") else 1 for value in values)
        if count != channels and not any(isinstance(value, (str, bytes, dict)) for value in values):
            raise MessageError(f"expected {channels} numbers in {rows.what} of {name}, got {count:,}")
        found: list[Any] = []
        for value in values:
            found += _numbers_of(value, name)
        return RowReading(stamp_ns, _finite(found, name))

    return of_lists if rows.has_lists else of_numbers


def _finite(values: Sequence[Any], name: str) -> tuple[float, ...]:
    try:
        total = sum(values)  # of a text it is none, although Python's float would read one
        row = tuple(map(float, values))
        if isfinite(total) or all(map(isfinite, row)):
            return row
        problem = "NaN or an infinite number"
    except OverflowError:
        problem = "a number beyond all others"
    except (TypeError, ValueError):
        problem = "something else"
    raise MessageError(f"expected finite numbers in {name}, got {problem}")


def _numbers_of(value: Any, name: str) -> list[Any]:
    if hasattr(value, "tolist"):
        numbers: list[Any] = value.tolist()
        return numbers
    if isinstance(value, (str, bytes, dict)):
        raise MessageError(f"expected numbers in {name}, got something else")
    return list(value) if hasattr(value, "__len__") else [value]


def _rows_of(shape: Shape, name: str, field: str) -> Rows:
    paths: list[Path] = []
    width: int | None = 0
    has_lists = False
    for path in field_paths(field):
        for leaf, found in leaves(shape_at(shape, path, name), path):
            count = _count(found)
            if count == 0:
                raise MessageError(f"expected numbers in {shown_path(path)} of {name}, but {_what(leaf, found)}")
            paths.append(leaf)
            width = None if width is None or count is None else width + count
            has_lists |= isinstance(found, Many)
    return Rows(tuple(paths), width, field, has_lists)


def _all_numbers(shape: Shape) -> Rows | None:
    paths: list[Path] = []
    width: int | None = 0
    has_lists = False
    for path, found in leaves(shape):
        count = _count(found)
        if _holds_bytes(found):
            return None
        if count == 0 or _is_beside(shape, path):
            continue
        paths.append(path)
        width = None if width is None or count is None else width + count
        has_lists |= isinstance(found, Many)
    if not paths or (width is None and len(paths) > 1):
        return None
    return Rows(tuple(paths), width, ", ".join(shown_path(path) for path in paths) or "the numbers", has_lists)


def _holds_bytes(shape: Shape) -> bool:
    if isinstance(shape, Many) and isinstance(shape.item, Number):
        return shape.count is None and shape.item.letter in "bB"
    return isinstance(shape, Blob)


def _is_beside(shape: Shape, path: Path) -> bool:
    """Whether a number says something about the message: its header, a time, a covariance, the layout of a list."""
    for step in path:
        if isinstance(step, str) and ("covariance" in step or step in _BESIDE):
            return True
        if is_time(shape):
            return True
        if isinstance(shape, Structure) and isinstance(step, str):
            shape = shape.fields[step]
    return is_time(shape)


def _count(shape: Shape) -> int | None:
    """How many numbers a field has: 0 for none, None where each message says so."""
    if isinstance(shape, Number):
        return 1
    if isinstance(shape, Many) and isinstance(shape.item, Number):
        return shape.count
    return 0


def _what(path: Path, shape: Shape) -> str:
    kind = "a list of structures: name one, such as [0]" if isinstance(shape, Many) else "no number"
    return f"{shown_path(path) or 'it'} is {kind}"


def _no_choice(shape: Shape, name: str, channels: int) -> str:
    """What is there, where a type does not say by itself what a stream reads."""
    usual = USUAL.get(name, {})
    if usual:
        known = " or ".join(f"{width} ({fields})" for width, fields in usual.items())
        return (
            f"{name} feeds streams of {known} channels by itself, and the stream has {channels}: name the fields "
            f"behind the topic, such as .{next(iter(usual.values())).partition(',')[0]}"
        )
    names = [shown_path(path) for path, found in leaves(shape) if _count(found) != 0 and not _is_beside(shape, path)]
    if not names:
        return f"{name} has no numbers, and the stream is a series of {channels} channels: map another topic to it"
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return (
        f"{name} has the numbers {', '.join(names[:_MOST_NAMED])}{more}, and the stream {channels} channels: name "
        f"those to read behind the topic, such as .{names[0]}"
    )

"""When a message was made, by its own words: the stamp in its header, or a field of that name."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

from taemi_edge.media.messages.shapes import Number, Shape, Structure, shape_at, time_names
from taemi_edge.media.messages.topic_field import Path

#: Where a stamp is looked for, beside what is read and in what that lies in.
_PLACES: tuple[Path, ...] = (("header", "stamp"), ("stamp",), ("timestamp",))
_NS = 1_000_000_000
_LATEST_NS = 1 << 62
#: Numbers below are seconds, milliseconds and microseconds; what is larger is nanoseconds.
_SECONDS, _MILLISECONDS, _MICROSECONDS = 1e11, 1e14, 1e17


def stamp_paths(shape: Shape, beside: Path = ()) -> tuple[Path, ...]:
    """The paths of the numbers of a stamp: of seconds and nanoseconds, of a single number, or none.

    Args:
        shape: of the message.
        beside: the path of what is read; the stamp that lies nearest to it is its own.
    """
    for length in range(len(beside), -1, -1):
        around = shape_at(shape, beside[:length], "")
        for place in _PLACES:
            found = _at(around, place)
            path = (*beside[:length], *place)
            names = None if found is None else time_names(found)
            if names is not None:
                return (*path, names[0]), (*path, names[1])
            if isinstance(found, Number):
                return (path,)
    return ()


def stamp_ns(values: Sequence[Any]) -> int | None:
    """A stamp in nanoseconds; None where there is none, or one of zero.

    >>> stamp_ns([12, 500]), stamp_ns([0, 0]), stamp_ns([1.5]), stamp_ns([])
    (12000000500, None, 1500000000, None)
    """
    try:
        if len(values) == 2:
            stamp = int(values[0]) * _NS + int(values[1])
        elif values and isfinite(values[0]):
            stamp = _of_number(values[0])
        else:
            return None
    except (TypeError, ValueError, OverflowError):
        return None
    return stamp if 0 < stamp < _LATEST_NS else None


def _of_number(value: float) -> int:
    for bound, in_ns in ((_SECONDS, _NS), (_MILLISECONDS, 1_000_000), (_MICROSECONDS, 1_000)):
        if value < bound:
            return round(value * in_ns)
    return int(value)


def _at(shape: Shape, path: Path) -> Shape | None:
    for step in path:
        if not isinstance(shape, Structure) or step not in shape.fields:
            return None
        shape = shape.fields[str(step)]
    return shape

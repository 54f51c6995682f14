"""Reads some fields of messages of ROS out of their bytes, and skips the rest: CDR of ROS 2, and the encoding of ROS 1.

Where fields of fixed length follow each other, their places are known, and one call of `struct` reads all of them that
are wanted. Nothing is built for a field that nobody asked for, so that a message costs microseconds, and a long list in
it no memory. `tests/media/messages/test_cdr.py` holds that the numbers are those that `rosbags` reads.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from taemi_edge.errors import MessageError
from taemi_edge.media.messages.shapes import Many, Number, Shape, Structure, Text, Unreadable
from taemi_edge.media.messages.topic_field import Path

#: Reads at a place of a message, adds what is wanted to the list, and gives the place behind.
_Step: TypeAlias = Callable[[memoryview, int, list[Any]], int]
#: Paths as a tree; None stands for the whole of what it lies in.
_Wanted: TypeAlias = dict[str | int | None, Any]

#: Elements of lists of structures and strings in a message, which are passed one by one; a path of a robot has 10,000.
MOST_ELEMENTS = 200_000
#: Fields of a definition, those of structures inside counted each time; the largest of ROS have some hundred.
_MOST_FIELDS = 1 << 14


class FieldReader:
    """Reads fields of messages.

    Args:
        shape: of the messages.
        paths: of the fields, each to a number, a text, or a list of numbers; no two are equal.
        ros1: whether the messages are in the encoding of ROS 1; else in CDR.

    Raises:
        MessageError: the definition has too many fields, or what is wanted lies behind one that cannot be read.
    """

    def __init__(self, shape: Structure, paths: Sequence[Path], ros1: bool = False) -> None:
        self._shape, self._paths, self._ros1 = shape, paths, ros1
        self._plans: dict[str, tuple[list[_Step], list[int] | None, bool]] = {}
        self._left = MOST_ELEMENTS
        self._plan("<")

    def values(self, data: bytes | memoryview) -> list[Any]:
        """The fields of a message in the order of the paths: numbers, strings, and arrays of the lists.

        Raises:
            MessageError: the message ends early, or one of ROS 1 late. Behind one of ROS 2 there may be more: what
                `rclpy.serialization.serialize_message` gives ends with bytes that mean nothing.
        """
        body = memoryview(data)
        order = "<"
        if not self._ros1:
            order, body = _byte_order(body), body[4:]
        steps, places, is_whole = self._plans.get(order) or self._plan(order)
        self._left = MOST_ELEMENTS
        found: list[Any] = []
        at = 0
        try:
            for step in steps:
                at = step(body, at, found)
        except (struct.error, IndexError, ValueError) as error:
            raise MessageError(f"expected a message of {self._shape.name}, got {_too_short(error, body)}") from error
        if self._ros1 and is_whole and at != len(body):
            raise MessageError(f"expected a message of {self._shape.name}, got {len(body) - at} bytes too many")
        return found if places is None else [found[place] for place in places]

    def _plan(self, order: str) -> tuple[list[_Step], list[int] | None, bool]:
        planner = _Planner(order, self._ros1, self._spend)
        wanted: _Wanted = {}
        for path in self._paths:
            branch = wanted
            for step in path:
                branch = branch.setdefault(step, {})
            branch[None] = {}
        is_whole = planner.add(self._shape, wanted, ())
        steps = planner.steps()
        missing = [path for path in self._paths if path not in planner.read]
        if missing:
            raise MessageError(f"expected fields of {self._shape.name} that can be read: {planner.unreadable}")
        places = [planner.read.index(path) for path in self._paths]
        made = steps, (None if places == list(range(len(places))) else places), is_whole
        self._plans[order] = made
        return made

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise ValueError(f"lists of more than {MOST_ELEMENTS:,} elements")


class _Planner:
    """Makes the steps that read a message.

    Attributes:
        read: the paths in the order in which the steps give their values.
        unreadable: what cannot be read, in words.
    """

    def __init__(self, order: str, ros1: bool, spend: Callable[[int], None]) -> None:
        self._order, self._ros1, self._spend = order, ros1, spend
        self._steps: list[_Step] = []
        self._run: list[tuple[str, int, bool]] = []
        self._fields = 0
        self.read: list[Path] = []
        self.unreadable = ""

    def steps(self) -> list[_Step]:
        """The steps of what was added."""
        self._end_run()
        return self._steps

    def add(self, shape: Shape, wanted: _Wanted | None, path: Path) -> bool:
        """Add a field and what is wanted of it; gives whether what follows can be read."""
        self._fields += 1
        if self._fields > _MOST_FIELDS:
            raise MessageError(f"expected a definition of up to {_MOST_FIELDS:,} fields with those of its parts")
        if isinstance(shape, Number):
            self._note(wanted, path)
            self._run.append((shape.letter, 1, wanted is not None))
        elif isinstance(shape, Structure):
            for name, inner in shape.fields.items():
                if not self.add(inner, None if wanted is None else wanted.get(name), (*path, name)):
                    return False
        elif isinstance(shape, Text):
            self._note(wanted, path)
            self._step(_text_step(self._unsigned(), self._ros1, wanted is not None))
        elif isinstance(shape, Many):
            return self._add_many(shape, wanted, path)
        else:
            self.unreadable = f"{shape.what if isinstance(shape, Unreadable) else 'bytes'} cannot be read"
            return False
        return True

    def _add_many(self, shape: Many, wanted: _Wanted | None, path: Path) -> bool:
        if not isinstance(shape.item, Number):
            return self._add_loop(shape, wanted, path)
        letter = shape.item.letter
        if shape.count is not None and wanted is None:
            if shape.count:
                self._run.append((letter, shape.count, False))
            return True
        picks: list[int | None] = []
        for pick in wanted or ():
            picks.append(None if pick is None else int(pick))
            self.read.append(path if pick is None else (*path, pick))
        element = struct.Struct(self._order + letter)
        prefix = self._unsigned() if shape.count is None else None
        self._step(_numbers_step(prefix, shape.count or 0, element, self._ros1, tuple(picks)))
        return True

    def _add_loop(self, shape: Many, wanted: _Wanted | None, path: Path) -> bool:
        least = _least_bytes(shape.item)
        prefix = self._unsigned() if shape.count is None else None
        plain, is_readable = self._inner(shape.item, None, path)
        if not is_readable:
            return False
        places = sorted(int(index) for index in wanted or () if index is not None)
        picked = {at: self._inner(shape.item, (wanted or {})[at], (*path, at))[0] for at in places}
        self._step(_Loop(prefix, shape.count or 0, least, self._ros1, self._spend, plain, picked))
        return True

    def _inner(self, shape: Shape, wanted: _Wanted | None, path: Path) -> tuple[list[_Step], bool]:
        """The steps of an element of a list."""
        outer, run = self._steps, self._run
        self._steps, self._run = [], []
        is_readable = self.add(shape, wanted, path)
        inner = self.steps()
        self._steps, self._run = outer, run
        return inner, is_readable

    def _note(self, wanted: _Wanted | None, path: Path) -> None:
        if wanted is not None:
            self.read.append(path)

    def _unsigned(self) -> struct.Struct:
        return struct.Struct(f"{self._order}I")

    def _step(self, step: _Step) -> None:
        self._end_run()
        self._steps.append(step)

    def _end_run(self) -> None:
        if self._run:
            self._steps.append(_fixed_step(self._order, self._ros1, tuple(self._run)))
            self._run = []


def _fixed_step(order: str, ros1: bool, run: Sequence[tuple[str, int, bool]]) -> _Step:
    """Reads fields of fixed length. Where they lie depends on the place of the first one in eight bytes."""
    layouts: list[struct.Struct | None] = [None] * 8

    def read(body: memoryview, at: int, found: list[Any]) -> int:
        layout = layouts[at & 7]
        if layout is None:
            layout = layouts[at & 7] = _layout(order, ros1, run, at & 7)
        found += layout.unpack_from(body, at)
        return at + layout.size

    return read


def _layout(order: str, ros1: bool, run: Sequence[tuple[str, int, bool]], at: int) -> struct.Struct:
    parts = [order]
    for letter, count, is_wanted in run:
        size = struct.calcsize(order + letter)
        gap = 0 if ros1 else -at % size
        parts += [f"{gap}x" if gap else "", letter if is_wanted else f"{size * count}x"]
        at += gap + size * count
    return struct.Struct("".join(parts))


def _text_step(unsigned: struct.Struct, ros1: bool, is_wanted: bool) -> _Step:
    """Reads a string: its length, its bytes, and in CDR a zero, which ROS 2 does not insist on when it reads."""

    def read(body: memoryview, at: int, found: list[Any]) -> int:
        at = at if ros1 else at + 3 & -4
        length: int = unsigned.unpack_from(body, at)[0]
        start, end = at + 4, at + 4 + length
        if end > len(body):
            raise ValueError(f"a text of {length:,} bytes at byte {at}, where {len(body) - start:,} are left")
        if is_wanted:
            has_zero = not ros1 and length > 0 and not body[end - 1]
            found.append(str(body[start : end - has_zero], "utf-8"))
        return end

    return read


def _numbers_step(
    prefix: struct.Struct | None, fixed: int, element: struct.Struct, ros1: bool, picks: tuple[int | None, ...]
) -> _Step:
    """Reads a list of numbers: all as an array, or some of them."""
    size, kind = element.size, np.dtype(element.format)

    def read(body: memoryview, at: int, found: list[Any]) -> int:
        count = fixed
        if prefix is not None:
            at = at if ros1 else at + 3 & -4
            count = prefix.unpack_from(body, at)[0]
            at += 4
        if count and not ros1:
            at += -at % size
        end = at + count * size
        if end > len(body):
            raise ValueError(f"a list of {count:,} numbers at byte {at}, where {len(body) - at:,} bytes are left")
        for pick in picks:
            if pick is None:
                found.append(np.frombuffer(body, kind, count, at) if count else np.empty(0, kind))
            elif pick >= count:
                raise MessageError(f"expected a list with an element [{pick}], got one of {count}")
            else:
                found += element.unpack_from(body, at + pick * size)
        return end

    return read


@dataclass(frozen=True)
class _Loop:
    """Passes a list of structures or of strings, and reads some of them.

    Attributes:
        prefix: of its length; None where the definition says it.
        fixed: the length that the definition says.
        least: bytes that an element has at least.
        ros1: whether numbers lie where they come.
        spend: is called with the length, and refuses too many.
        plain: steps of an element that nobody reads.
        picked: steps of those that are read, by their number.
    """

    prefix: struct.Struct | None
    fixed: int
    least: int
    ros1: bool
    spend: Callable[[int], None]
    plain: Sequence[_Step]
    picked: Mapping[int, Sequence[_Step]]

    def __call__(self, body: memoryview, at: int, found: list[Any]) -> int:
        count = self.fixed
        if self.prefix is not None:
            at = at if self.ros1 else at + 3 & -4
            count = self.prefix.unpack_from(body, at)[0]
            at += 4
        if count * self.least > len(body) - at:
            raise ValueError(f"a list of {count:,} elements at byte {at}, where {len(body) - at:,} bytes are left")
        if self.picked and max(self.picked) >= count:
            raise MessageError(f"expected a list with an element [{max(self.picked)}], got one of {count}")
        if not self.least:  # the structures of ROS 1 may hold nothing
            return at
        self.spend(count)
        for index in range(count):
            for step in self.picked.get(index, self.plain):
                at = step(body, at, found)
        return at


@lru_cache(maxsize=1024)  # a structure may be in each level of a definition twice
def _least_bytes(shape: Shape) -> int:
    """How many bytes a value has at least."""
    if isinstance(shape, Number):
        return struct.calcsize(f"<{shape.letter}")
    if isinstance(shape, Text):
        return 4
    if isinstance(shape, Many):
        return 4 if shape.count is None else shape.count * _least_bytes(shape.item)
    if isinstance(shape, Structure):
        return sum(_least_bytes(inner) for inner in shape.fields.values())
    return 1


def _byte_order(body: memoryview) -> str:
    """The order of the bytes of a number, as the head of the message says."""
    if len(body) < 4 or body[0] or body[1] > 1:
        head = f"{bytes(body[:4]).hex()!r}" if body else "nothing"
        raise MessageError(f"expected a message in plain CDR, which begins with 0000 or 0001, got {head}")
    return "<" if body[1] else ">"


def _too_short(error: Exception, body: memoryview) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "a text that is no UTF-8"
    if isinstance(error, struct.error):
        return f"one of {len(body):,} bytes, which ends early"
    return str(error)

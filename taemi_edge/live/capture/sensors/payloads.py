"""Makes rows of numbers, or words, of the bytes that a sensor sends: a datagram, a message of a broker, a line.

    0.1, 0.0, 9.8                                        numbers with commas, semicolons, tabs or blanks between them
    [0.1, 0.0, 9.8]                                      JSON: a row, a list of rows, a number
    {"time_s": 12.4, "values": [0.1, 0.0, 9.8]}          with the sender's time
    {"accel": {"x": 0.1, "y": 0.0, "z": 9.8}}            with ?field=accel.x,accel.y,accel.z, or ?field=accel
    <3f                                                  numbers that are packed as Python's `struct` writes them

Options of the address say what cannot be seen: `format` (json, csv, or a format of `struct`), `field` (where the
numbers are: names and positions with dots between them, several with commas), `time` (where the sender's time is) and
`unit` (of that time: s, ms, us or ns). The sender's times may be on any clock: they only say how rows follow each
other.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from taemi_edge.live.capture.readers import DecodedWords

#: A message that is longer is no row and no sentence.
MOST_BYTES = 65_536
#: No clock's seconds lie further away.
_FARTHEST_S = 1e12
_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
#: Codes of `struct` that stand for numbers, and the padding between them.
_CODES = frozenset("bBhHiIlLqQefdx0123456789")
_ORDERS = frozenset("<>=!@")
_TIME, _VALUES = ("time_s",), ("values",)

Path = tuple[str, ...]


@dataclass(frozen=True)
class ParsedRows:
    """The rows of one message.

    Attributes:
        times_s: the sender's time of each row in seconds; None where it says none.
        rows: each with as many numbers as the stream has channels.
    """

    times_s: list[float] | None
    rows: list[list[float]]


class RowParser:
    """Reads the rows of messages.

    Args:
        channels: how many numbers a row has.
        options: those of the address; `format`, `field`, `time` and `unit` are read.

    Raises:
        ValueError: an option cannot be used; the message begins with its name.

    Example:
        >>> RowParser(2, {}).read(b"1.5; 2")
        ParsedRows(times_s=None, rows=[[1.5, 2.0]])
        >>> RowParser(2, {"field": "a.x,a.y", "time": "ms", "unit": "ms"}).read(b'{"a": {"y": 2, "x": 1}, "ms": 500}')
        ParsedRows(times_s=[0.5], rows=[[1.0, 2.0]])
        >>> RowParser(2, {"format": "<I2h", "time": "0", "unit": "ms"}).read(struct.pack("<I2h", 250, 3, -4))
        ParsedRows(times_s=[0.25], rows=[[3, -4]])
    """

    def __init__(self, channels: int, options: Mapping[str, str]) -> None:
        self._channels = channels
        self._fields = _paths("field", options.get("field", ""))
        times = _paths("time", options.get("time", ""))
        if len(times) > 1:
            raise ValueError(f"time: expected one place, got {len(times)}")
        self._time = times[0] if times else None
        self._unit_s = _unit_s(options)
        name = options.get("format", "")
        self._packed = None if name in ("", "json", "csv") else _packed(name)
        self._columns = self._positions(name) if name == "csv" or self._packed else None
        self._read: Callable[[bytes], ParsedRows] = self._read_any
        if self._packed is not None:
            self._read = self._read_packed
            self._require_width(len(self._packed.unpack(bytes(self._packed.size))), name)
        elif name:
            self._read = self._read_json if name == "json" else self._read_text

    def read(self, payload: bytes) -> ParsedRows:
        """The rows of a message. Numbers may be NaN or infinite: whoever takes the rows leaves such out.

        Raises:
            ValueError: the message holds something else.
        """
        if len(payload) > MOST_BYTES:
            raise ValueError(f"expected at most {MOST_BYTES} bytes, got {len(payload)}")
        return self._read(payload)

    def _read_any(self, payload: bytes) -> ParsedRows:
        text = payload.lstrip()
        return self._read_json(text) if text[:1] in (b"[", b"{") else self._read_text(text)

    def _read_packed(self, payload: bytes) -> ParsedRows:
        packed = self._packed
        if packed is None or not payload or len(payload) % packed.size:
            wanted = 0 if packed is None else packed.size
            raise ValueError(f"expected {wanted} bytes a row, got {len(payload)} bytes")
        return self._of_columns(list(packed.iter_unpack(payload)))

    def _read_text(self, payload: bytes) -> ParsedRows:
        if b"_" in payload:  # Python takes 1_000 for a number
            raise ValueError(f"expected numbers, got {payload[:60]!r}")
        lines = [line.replace(b",", b" ").replace(b";", b" ").split() for line in payload.splitlines()]
        try:
            rows = [[float(number) for number in line] for line in lines if line]
        except ValueError:
            raise ValueError(f"expected numbers, got {payload[:60]!r}") from None
        if not rows:
            raise ValueError("expected numbers, got nothing")
        return self._of_columns(rows)

    def _of_columns(self, rows: Sequence[Sequence[float]]) -> ParsedRows:
        """Rows of which some positions are wanted, and one may be the time."""
        time, wanted = self._columns or self._positions("csv")
        width = self._channels + (time is not None)
        least = max((*wanted, -1 if time is None else time)) + 1 if wanted else width
        for row in rows:
            if len(row) < least or (not wanted and len(row) != width):
                raise ValueError(self._wrong_width(least, len(row), time))
        if time is None and not wanted:
            return ParsedRows(None, [list(row) for row in rows])
        kept = wanted or tuple(at for at in range(width) if at != time)
        times_s = None if time is None else [self._seconds(row[time]) for row in rows]
        return ParsedRows(times_s, [[row[at] for at in kept] for row in rows])

    def _read_json(self, payload: bytes) -> ParsedRows:
        content = _json(payload)
        several = isinstance(content, list) and bool(content) and isinstance(content[0], dict | list)
        times_s: list[float] = []
        rows: list[list[float]] = []
        for item in content if several else (content,):
            of_times, of_rows = self._rows_of(item)
            times_s += of_times
            rows += of_rows
        if not rows:
            raise ValueError("expected numbers, got an empty list")
        if times_s and len(times_s) != len(rows):
            raise ValueError(f"expected a time for each of {len(rows)} rows or for none, got {len(times_s)}")
        return ParsedRows(times_s or None, rows)

    def _rows_of(self, item: Any) -> tuple[list[float], list[list[float]]]:
        """The times and the rows of one JSON value."""
        if not isinstance(item, dict):
            if self._time is not None or self._fields:
                if not isinstance(item, list):
                    raise ValueError(f"expected an object or a list, got {item!r:.60}")
            else:
                return [], [self._row(item)]
        given = _at(item, self._time or _TIME, required=self._time is not None)
        found = [_at(item, path) for path in self._fields] if self._fields else [self._all_of(item)]
        if len(found) == 1 and isinstance(found[0], list) and found[0] and isinstance(found[0][0], list):
            rows = [self._row(row) for row in found[0]]
        else:
            rows = [self._row(_flat(found))]
        if given is None:
            return [], rows
        return [self._seconds(value) for value in (given if isinstance(given, list) else [given])], rows

    def _all_of(self, item: Any) -> Any:
        """The numbers of an object that stand under "values", or else all that it holds, in their order."""
        if isinstance(item, list):
            return item
        if "values" in item:
            return item["values"]
        left_out = (self._time or _TIME)[0]
        return [value for name, value in item.items() if name != left_out]

    def _row(self, row: Any) -> list[float]:
        if not isinstance(row, list):
            row = [row]
        if len(row) != self._channels:
            raise ValueError(self._wrong_width(self._channels, len(row), None))
        return [_number(value) for value in row]

    def _wrong_width(self, wanted: int, count: int, time: int | None) -> str:
        hint = ": write ?time=0 where the first of them is the time" if time is None and count == wanted + 1 else ""
        return f"expected {wanted} numbers, got {count}{hint}"

    def _require_width(self, count: int, name: str) -> None:
        time, wanted = self._columns or (None, ())
        width = self._channels + (time is not None)
        if not wanted and count != width:
            problem = self._wrong_width(width, count, time).removeprefix("expected ")
            raise ValueError(f"format: expected {name} to hold {problem}")
        if (last := max((*wanted, -1 if time is None else time), default=-1)) >= count:
            raise ValueError(f"format: expected {name} to hold a number {last}, counted from 0, got {count} numbers")

    def _positions(self, name: str) -> tuple[int | None, tuple[int, ...]]:
        """Which column is the time, and which are the numbers; () for all others."""
        wanted = tuple(_position("field", path, name) for path in self._fields)
        if wanted and len(wanted) != self._channels:
            raise ValueError(f"field: expected {self._channels} positions, got {len(wanted)}")
        time = None if self._time is None else _position("time", self._time, name)
        if time is not None and not wanted and time > self._channels:
            raise ValueError(f"time: expected a position up to {self._channels}, or ?field= beside it, got {time}")
        return time, wanted

    def _seconds(self, value: Any) -> float:
        time_s = _number(value) * self._unit_s
        if not abs(time_s) < _FARTHEST_S:
            raise ValueError(f"expected a time in seconds, got {time_s:g}")
        return time_s


class WordParser:
    """Reads the words of messages: plain text, or JSON such as {"text": "so it is", "start": 12.4, "end": 13.1}.

    Args:
        options: those of the address; `format` (json or plain), `field`, `time` (of the end) and `unit` are read.

    Raises:
        ValueError: an option cannot be used; the message begins with its name.

    Example:
        >>> WordParser({}).read(b'{"text": "so it is", "start": 12.0, "end": 13.5}')
        DecodedWords(pts_s=13.5, text='so it is', length_s=1.5)
        >>> WordParser({}).read("so it is".encode()).text
        'so it is'
    """

    def __init__(self, options: Mapping[str, str]) -> None:
        self._format = options.get("format", "")
        if self._format not in ("", "json", "plain"):
            raise ValueError(f"format: expected json or plain for words, got {self._format!r}")
        fields, times = _paths("field", options.get("field", "")), _paths("time", options.get("time", ""))
        if max(len(fields), len(times)) > 1:
            raise ValueError("field: expected one place of the text, and one of its time, got several")
        if (fields or times) and self._format == "plain":
            raise ValueError("field: expected format=json, got format=plain")
        self._field, self._time = fields[0] if fields else ("text",), times[0] if times else ("end",)
        self._only_json = self._format == "json" or bool(fields or times)
        self._unit_s = _unit_s(options)

    def read(self, payload: bytes) -> DecodedWords:
        """The words of a message.

        Raises:
            ValueError: the message holds something else.
        """
        if len(payload) > MOST_BYTES:
            raise ValueError(f"expected at most {MOST_BYTES} bytes, got {len(payload)}")
        if not self._only_json and (self._format == "plain" or payload.lstrip()[:1] != b"{"):
            try:
                return DecodedWords(None, payload.decode())
            except UnicodeDecodeError as error:
                raise ValueError("expected text in UTF-8") from error
        content = _json(payload)
        text = _at(content, self._field)
        if not isinstance(text, str):
            raise ValueError(f"expected a text, got {text!r:.60}")
        end, start = _at(content, self._time, required=False), _at(content, ("start",), required=False)
        if end is None:
            return DecodedWords(None, text)
        end_s = self._seconds(end)
        length_s = None if start is None else end_s - self._seconds(start)
        if length_s is not None and not length_s > 0:
            raise ValueError(f"expected start < end, got {start!r:.30} and {end!r:.30}")
        return DecodedWords(end_s, text, length_s)

    def _seconds(self, value: Any) -> float:
        time_s = _number(value) * self._unit_s
        if not abs(time_s) < _FARTHEST_S:
            raise ValueError(f"expected a time in seconds, got {time_s:g}")
        return time_s


def _paths(option: str, text: str) -> tuple[Path, ...]:
    """The places that an option names: `accel.x,accel.y`."""
    paths = tuple(tuple(place.strip().split(".")) for place in text.split(",")) if text else ()
    if any(not name for path in paths for name in path):
        raise ValueError(f"{option}: expected names with dots between them, got {text!r:.60}")
    return paths


def _position(option: str, path: Path, name: str) -> int:
    if len(path) != 1 or not path[0].isascii() or not path[0].isdigit() or len(path[0]) > 4:
        expected = f"the positions of {'columns' if name == 'csv' else 'numbers'}, counted from 0"
        raise ValueError(f"{option}: expected {expected}, got {'.'.join(path)!r:.60}")
    return int(path[0])


def _packed(name: str) -> struct.Struct:
    """The format of packed numbers."""
    codes = name[1:] if name[:1] in _ORDERS else name
    wrong = ValueError(f"format: expected json, csv or numbers as Python's struct packs them (<3f), got {name!r:.60}")
    if not codes or not set(codes) <= _CODES or len(name) > 200:
        raise wrong
    try:
        packed = struct.Struct(name)
    except (struct.error, OverflowError):
        raise wrong from None
    if not 0 < packed.size <= MOST_BYTES:
        raise ValueError(f"format: expected up to {MOST_BYTES} bytes a row, got {packed.size}")
    return packed


def _unit_s(options: Mapping[str, str]) -> float:
    unit = options.get("unit", "s")
    if unit not in _UNITS:
        raise ValueError(f"unit: expected one of {', '.join(_UNITS)}, got {unit!r:.60}")
    return _UNITS[unit]


def _json(payload: bytes) -> Any:
    """The value that a message holds. Python and others write NaN, which is no JSON, but says what is wrong."""
    try:
        nan = b"NaN" in payload or b"Infinity" in payload
        return json.loads(payload) if nan else msgspec.json.decode(payload)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected JSON: {str(error)[:120]}") from error


def _at(content: Any, path: Path, required: bool = True) -> Any:
    """What stands at a place of a JSON value; None where nothing does and nothing must."""
    for name in path:
        if isinstance(content, dict) and name in content:
            content = content[name]
        elif isinstance(content, list) and name.isascii() and name.isdigit() and int(name[:9]) < len(content):
            content = content[int(name[:9])]
        elif required:
            there = ", ".join(list(content)[:20]) if isinstance(content, dict) else type(content).__name__
            raise ValueError(f"expected {'.'.join(path)}, got {there or 'nothing'}"[:200])
        else:
            return None
    return content


def _flat(found: Sequence[Any]) -> list[Any]:
    """The numbers of several places one after the other; an object stands for all that it holds."""
    flat: list[Any] = []
    for value in found:
        if isinstance(value, dict):
            flat += value.values()
        elif isinstance(value, list):
            flat += value
        else:
            flat.append(value)
    return flat


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"expected numbers, got {value!r:.60}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError("expected finite numbers, got a larger one") from None

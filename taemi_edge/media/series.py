"""Reads series, which are rows of numbers with their times, from CSV, npz and Parquet files.

A table (CSV, Parquet) has a column `time_s`, in seconds, or `timestamp_ns`; see `taemi_edge.media.clocks` for when they
begin. Its other columns are the channels, but for those without a name, or with one that begins with `_`. Where a file
holds several streams, the columns of the stream `imu` are called `imu.0`, `imu.1`, ... or `imu_x`, `imu_y`, ...; a row
may leave the cells of a stream empty.

An npz has an array (rows, channels) under each stream's name, or one that is called `values`, and their times as
`NAME_times_s` or `times_s`, `NAME_timestamp_ns` or `timestamp_ns`; or, for rows at equal distances, `NAME_rate_hz` or
`rate_hz`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.errors import InputError
from taemi_edge.media.clocks import Span, clock_of
from taemi_edge.media.npz_files import read_arrays
from taemi_edge.media.number_tables import TIMESTAMP_NS, NumberTable, read_table
from taemi_edge.media.places import shown_place, what_is_at

ENDINGS = (".csv", ".npz", ".parquet")
#: Columns and arrays with times in seconds.
_SECONDS = ("time_s", "times_s")
_CLOCKS = (*_SECONDS, TIMESTAMP_NS)
#: In seconds, no clock is as late as this: such times are milliseconds or less.
_LATEST_S = 1e11
#: The number of a channel has fewer digits.
_MOST_DIGITS = 10


@dataclass(frozen=True, eq=False)
class Series:
    """One stream as a file holds it.

    Attributes:
        times_s: when each row was measured, float64 (n,), in order; of a file with `timestamp_ns`, since `start_ns`.
        rows: float32 (n, channels), all of them finite.
        start_ns: the time of the first row on the clock of `timestamp_ns`; None where times are `time_s`.
    """

    times_s: Array
    rows: Array
    start_ns: int | None = None

    @property
    def end_s(self) -> float:
        """Where the last row ends: it lasts as long as rows usually do."""
        usual_s = float(np.median(np.diff(self.times_s))) if len(self.times_s) > 1 else 0.0
        return float(self.times_s[-1]) + usual_s

    def span(self, name: str) -> Span:
        """When it begins and ends on the clock of its file, which messages call `name`."""
        start_s, end_s = (float(self.times_s[at]) + self._since_s for at in (0, -1))
        return Span(name, clock_of(start_s, self.start_ns is not None), start_s, end_s)

    def shifted(self, by_s: float) -> Series:
        """The same rows, `by_s` later on the clock of `span`; their times are `time_s` from then on."""
        return Series(self.times_s + (self._since_s + by_s), self.rows)

    @property
    def _since_s(self) -> float:
        return 0.0 if self.start_ns is None else self.start_ns / 1e9


def is_series_file(place: Path | str) -> bool:
    """Whether the ending of a file's name says that it holds series.

    >>> is_series_file("imu.csv"), is_series_file("talk.mp4")
    (True, False)
    """
    return Path(place).suffix.lower() in ENDINGS


def read_streams(
    file: Path, channels: Mapping[str, int], alone: bool = False, needs_times: bool = True
) -> dict[str, Series]:
    """Read all streams that a file holds of some.

    Args:
        channels: how many numbers a row has, by the name of each stream to look for.
        alone: the file belongs to a single stream: its columns may have any names.
        needs_times: whether a file without times is refused; else its rows are taken to lie a second apart.

    Returns:
        The streams that are there, by name, each with at least one row.

    Raises:
        InputError: not there, not readable, without any of the streams, of other channels, with numbers that are not
            finite, or with times that go backwards.
        MissingExtraError: a .parquet without pyarrow.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "imu.csv"
        ...     _ = file.write_text("time_s,x,y\\n0.0,1,2\\n0.5,3,4\\n")
        ...     imu = read_streams(file, {"imu": 2})["imu"]
        >>> imu.times_s.tolist(), imu.rows.tolist()
        ([0.0, 0.5], [[1.0, 2.0], [3.0, 4.0]])
    """
    ending = file.suffix.lower()
    if ending not in ENDINGS:
        raise InputError(f"{shown_place(file)}: expected a series that ends in {', '.join(ENDINGS)}")
    if not os.path.isfile(file):
        raise InputError(f"{shown_place(file)}: expected a series, found {what_is_at(file)}")
    alone = alone or len(channels) == 1
    read = _streams_of_arrays if ending == ".npz" else _streams_of_table
    found = read(file, channels, alone, needs_times)
    if not found:
        raise InputError(f"{file}: expected one of the streams {', '.join(channels)}, found none of them")
    return found


# ------------------------------------------------------------------------------------------------------------- tables


def _streams_of_table(file: Path, wanted: Mapping[str, int], alone: bool, needs_times: bool) -> dict[str, Series]:
    table = read_table(file)
    clock = next((name for name in _CLOCKS if name in table.names), None)
    if clock is None and needs_times:
        named = ", ".join(table.names) or "none"
        raise InputError(f"{file}: expected a column time_s or {TIMESTAMP_NS}, got the columns {named:.200}")
    channels = [name for name in table.names if name and name[0] != "_" and name not in _CLOCKS]
    found = {}
    for name, width in wanted.items():
        own = [column for column in channels if _owner(column, wanted) == name]
        own = _in_order(own, name) if own else channels if alone else []
        if not own:
            continue
        if len(own) != width:
            raise InputError(
                f"{file}: expected {width} columns for the stream {name}, got {len(own)}: {', '.join(own):.200}"
            )
        rows = np.stack([_column(file, table, column) for column in own], axis=1)
        there = ~np.isnan(rows).all(axis=1) if len(own) < len(channels) else np.ones(len(rows), np.bool_)
        chosen = np.flatnonzero(there)
        times = chosen if clock is None else _column(file, table, clock)[chosen]
        found[name] = _series(file, name, times, rows[chosen], clock, partial(_row_name, table, chosen))
    return found


def _column(file: Path, table: NumberTable, name: str) -> Array:
    if name in table.problems:
        raise InputError(f"{file}{table.problems[name]}")
    return table.numbers[name]


def _row_name(table: NumberTable, chosen: Array, at: int) -> str:
    return table.row_name(int(chosen[at]))


def _owner(column: str, streams: Mapping[str, int]) -> str | None:
    """The stream that a column belongs to by its name: of `imu` and `imu_left`, the longer one that fits."""
    fitting = [name for name in streams if column == name or column.startswith((f"{name}.", f"{name}_"))]
    return max(fitting, key=len, default=None)


def _in_order(columns: list[str], name: str) -> list[str]:
    """`imu.0`, `imu.1`, ... in the order of their numbers; other names in the order of the file."""
    numbers = [column[len(name) + 1 :] for column in columns]
    if all(number.isdecimal() and len(number) < _MOST_DIGITS for number in numbers):
        return sorted(columns, key=lambda column: int(column[len(name) + 1 :]))
    return columns


# ------------------------------------------------------------------------------------------------------------- arrays


def _streams_of_arrays(file: Path, wanted: Mapping[str, int], alone: bool, needs_times: bool) -> dict[str, Series]:
    of_times = {key for name in wanted for key in _time_keys(name)}
    arrays = read_arrays(file, {*wanted, *of_times, *(["values"] if alone else [])})
    found = {}
    for name, width in wanted.items():
        rows = arrays.get(name, arrays.get("values") if alone else None)
        if rows is None:
            continue
        rows = rows[:, None] if rows.ndim == 1 and width == 1 else rows
        is_rows = rows.ndim == 2 and rows.dtype.kind in "biuf"
        if not is_rows or rows.shape[1] != width:
            raise InputError(
                f"{file}: expected the stream {name} as numbers (rows, {width}), got {rows.dtype} {rows.shape}"
            )
        times, clock = _times_of_arrays(file, name, arrays, len(rows), needs_times)
        found[name] = _series(file, name, times, rows, clock, lambda at: f"row {at + 1}")
    return found


def _time_keys(name: str) -> list[str]:
    """The arrays that hold the times of a stream, the first that is there."""
    kinds = ("times_s", "time_s", TIMESTAMP_NS, "rate_hz")
    return [key for kind in kinds for key in (f"{name}_{kind}", kind)]


def _times_of_arrays(
    file: Path, name: str, arrays: Mapping[str, Array], count: int, needs_times: bool
) -> tuple[Array, str | None]:
    """The times of a stream's rows, and the name of their clock."""
    key = next((key for key in _time_keys(name) if key in arrays), None)
    if key is None:
        if needs_times:
            raise InputError(
                f"{file}: expected times of {name}: {name}_times_s, times_s, timestamp_ns or rate_hz, found none"
            )
        return np.arange(count), None
    values = arrays[key]
    if key.endswith("rate_hz"):
        if values.size != 1 or values.dtype.kind not in "iuf" or not 0 < float(values.flat[0]) < np.inf:
            raise InputError(f"{file}: expected {key} as one number above 0, got {values!r:.40}")
        return np.arange(count) / float(values.flat[0]), "time_s"
    in_seconds = key.endswith(_SECONDS)
    if values.shape != (count,) or values.dtype.kind not in ("iuf" if in_seconds else "iu"):
        raise InputError(f"{file}: expected {key} as numbers ({count},), got {values.dtype} {values.shape}")
    return values, "time_s" if in_seconds else TIMESTAMP_NS


def _series(
    file: Path, name: str, times: Array, rows: Array, clock: str | None, row_name: Callable[[int], str]
) -> Series:
    """Check the numbers and the times of a stream, and make seconds of them."""
    if not len(times):
        raise InputError(f"{file}: expected at least one row of the stream {name}, found none")
    start_ns = int(times[0]) if clock == TIMESTAMP_NS else None
    times_s: Array = times.astype(np.float64) if start_ns is None else (times.astype(np.int64) - start_ns) / 1e9
    unknown = np.flatnonzero(~np.isfinite(times_s))
    if len(unknown):
        raise InputError(f"{file}, {row_name(int(unknown[0]))}: expected a time, got {times_s[unknown[0]]}")
    back = np.flatnonzero(np.diff(times_s) < 0)
    if len(back):
        at = int(back[0]) + 1
        raise InputError(
            f"{file}, {row_name(at)}: expected times in order, got {times_s[at]:g} s after {times_s[at - 1]:g} s: sort "
            f"the rows of {name} by time"
        )
    if start_ns is None and times_s[-1] > _LATEST_S:
        raise InputError(f"{file}: expected seconds, got {times_s[-1]:.15g}: divide milliseconds by 1000")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
        values = np.ascontiguousarray(rows, np.float32)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, channel = bad[0]
        raise InputError(
            f"{file}, {row_name(int(row))}: expected finite numbers in the stream {name}, got {rows[row, channel]}: "
            f"leave such rows out"
        )
    return Series(times_s, values, start_ns)

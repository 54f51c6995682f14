"""Reads series, which are rows of numbers with their times, from CSV, npz and Parquet files.

A table (CSV, Parquet) has a column `time_s`, in seconds from the beginning of the source, or `timestamp_ns`, on any
clock. Its other columns are the channels. Where a file holds several streams, the columns of the stream `imu` are
called `imu.0`, `imu.1`, ... or `imu_x`, `imu_y`, ...; a row may leave the cells of a stream empty.

An npz has an array (rows, channels) under each stream's name, or one that is called `values`, and their times as
`NAME_times_s` or `times_s`, `NAME_timestamp_ns` or `timestamp_ns`; or, for rows at equal distances, `NAME_rate_hz` or
`rate_hz`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.errors import InputError, MissingExtraError

ENDINGS = (".csv", ".npz", ".parquet")
_TIME_S, _TIMESTAMP_NS = "time_s", "timestamp_ns"


@dataclass(frozen=True, eq=False)
class Series:
    """One stream as a file holds it.

    Attributes:
        times_s: when each row was measured, float64 (n,), in order; of a file with `timestamp_ns`, since `start_ns`.
        rows: float32 (n, channels); a cell that is no number is NaN.
        start_ns: the time of the first row on the clock of `timestamp_ns`; None where times are `time_s`.
    """

    times_s: Array
    rows: Array
    start_ns: int | None = None


def is_series_file(place: Path | str) -> bool:
    """Whether the ending of a file's name says that it holds series.

    >>> is_series_file("imu.csv"), is_series_file("talk.mp4")
    (True, False)
    """
    return Path(place).suffix.lower() in ENDINGS


def read_series(file: Path, stream: str, channels: int) -> tuple[Array, Array]:
    """Read one stream of a file.

    Args:
        file: a .csv, .npz or .parquet.
        stream: its name; only files with several streams need to have it in them.
        channels: how many numbers a row has.

    Returns:
        The times, float64 (n,) in seconds, and the rows, float32 (n, channels); n > 0.

    Raises:
        InputError: not there, not readable, without that stream, of other channels, or with times that go backwards.
        MissingExtraError: a .parquet without pyarrow.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "imu.csv"
        ...     _ = file.write_text("time_s,x,y\\n0.0,1,2\\n0.5,3,4\\n")
        ...     times_s, rows = read_series(file, "imu", 2)
        >>> times_s.tolist(), rows.tolist()
        ([0.0, 0.5], [[1.0, 2.0], [3.0, 4.0]])
    """
    series = read_streams(file, {stream: channels}, alone=True)[stream]
    return series.times_s, series.rows


def read_streams(file: Path, channels: Mapping[str, int], alone: bool = False) -> dict[str, Series]:
    """Read all streams that a file holds of some.

    Args:
        channels: how many numbers a row has, by the name of each stream to look for.
        alone: the file belongs to a single stream: its columns may have any names.

    Raises:
        InputError, MissingExtraError: see `read_series`; without any of the streams as well.
    """
    ending = file.suffix.lower()
    if ending not in ENDINGS:
        raise InputError(f"{file}: expected a series that ends in {', '.join(ENDINGS)}")
    if not file.is_file():
        raise InputError(f"{file}: expected a series, found {'a folder' if file.is_dir() else 'nothing'}")
    alone = alone or len(channels) == 1
    if ending == ".npz":
        found = _streams_of_arrays(file, channels, alone)
    else:
        found = _streams_of_table(file, _read_csv(file) if ending == ".csv" else _read_parquet(file), channels, alone)
    if not found:
        raise InputError(f"{file}: expected one of the streams {', '.join(channels)}, found none of them")
    return found


# ------------------------------------------------------------------------------------------------------------- tables


@dataclass(frozen=True, eq=False)
class _Table:
    """Columns of numbers, float64 (n,) or int64 for timestamps, and what a row is called in messages."""

    columns: Mapping[str, Array]
    row_name: Callable[[int], str]


def _streams_of_table(file: Path, table: _Table, wanted: Mapping[str, int], alone: bool) -> dict[str, Series]:
    clock = next((name for name in (_TIME_S, _TIMESTAMP_NS) if name in table.columns), None)
    if clock is None:
        named = ", ".join(table.columns) or "none"
        raise InputError(f"{file}: expected a column {_TIME_S} or {_TIMESTAMP_NS}, got the columns {named:.200}")
    channels = [name for name in table.columns if name not in (_TIME_S, _TIMESTAMP_NS)]
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
        rows = np.stack([table.columns[column] for column in own], axis=1)
        there = ~np.isnan(rows).all(axis=1) if len(own) < len(channels) else np.ones(len(rows), np.bool_)
        chosen = np.flatnonzero(there)
        times = table.columns[clock][chosen]
        found[name] = _series(file, name, times, rows[chosen], clock, partial(_row_name, table, chosen))
    return found


def _row_name(table: _Table, chosen: Array, at: int) -> str:
    return table.row_name(int(chosen[at]))


def _owner(column: str, streams: Mapping[str, int]) -> str | None:
    """The stream that a column belongs to by its name: of `imu` and `imu_left`, the longer one that fits."""
    fitting = [name for name in streams if column == name or column.startswith((f"{name}.", f"{name}_"))]
    return max(fitting, key=len, default=None)


def _in_order(columns: list[str], name: str) -> list[str]:
    """`imu.0`, `imu.1`, ... in the order of their numbers; other names in the order of the file."""
    numbers = [column[len(name) + 1 :] for column in columns]
    return sorted(columns, key=lambda c: int(c[len(name) + 1 :])) if all(n.isdecimal() for n in numbers) else columns


def _read_csv(file: Path) -> _Table:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            lines = csv.reader(stream)
            header = [name.strip() for name in next(lines, [])]
            _require_header(file, header)
            cells: list[list[str]] = [[] for _ in header]
            at_line: list[int] = []
            for row in lines:
                if not any(cell.strip() for cell in row):
                    continue
                if len(row) != len(header):
                    raise InputError(
                        f"{file}, line {lines.line_num}: expected {len(header)} cells as in the first line, got "
                        f"{len(row)}"
                    )
                at_line.append(lines.line_num)
                for column, cell in zip(cells, row, strict=True):
                    column.append(cell.strip())
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: expected UTF-8, got another encoding: convert the file") from error
    except (OSError, csv.Error) as error:
        raise InputError(f"{file}: expected a CSV file, cannot read it: {error}") from error
    columns = {name: _numbers(file, name, column, at_line) for name, column in zip(header, cells, strict=True)}
    return _Table(columns, lambda at: f"line {at_line[at]}")


def _require_header(file: Path, header: list[str]) -> None:
    if not header:
        raise InputError(f"{file}: expected a first line with the names of the columns, got an empty file")
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise InputError(f"{file}: expected columns of different names, got {twice!r} twice")


def _numbers(file: Path, name: str, cells: list[str], at_line: list[int]) -> Array:
    """The cells of a column as numbers; an empty one is NaN."""
    try:
        if name == _TIMESTAMP_NS:
            return np.array([int(cell) for cell in cells], np.int64)
        return np.array([float(cell) if cell else np.nan for cell in cells], np.float64)
    except (ValueError, OverflowError):
        row = next(i for i, cell in enumerate(cells) if not _is_number(cell, name == _TIMESTAMP_NS))
        wanted = "whole nanoseconds" if name == _TIMESTAMP_NS else "a number"
        raise InputError(
            f"{file}, line {at_line[row]}: expected {wanted} in the column {name}, got {cells[row]!r:.40}"
        ) from None


def _is_number(cell: str, whole: bool) -> bool:
    try:
        _ = np.int64(int(cell)) if whole else float(cell or "nan")
    except (ValueError, OverflowError):
        return False
    return True


def _read_parquet(file: Path) -> _Table:
    try:
        from pyarrow import ArrowException, parquet  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet", f"reading {file}") from error
    try:
        table = parquet.read_table(file)
    except (ArrowException, OSError) as error:
        raise InputError(f"{file}: expected a Parquet file, cannot read it: {error}") from error
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        values = column.to_numpy()
        if name == _TIMESTAMP_NS:
            columns[name] = _whole_nanoseconds(file, values)
        elif np.issubdtype(values.dtype, np.number):
            columns[name] = values.astype(np.float64)
        elif name == _TIME_S:
            raise InputError(f"{file}: expected seconds in the column {name}, got {values.dtype}")
    return _Table(columns, lambda at: f"row {at + 1}")


def _whole_nanoseconds(file: Path, values: Array) -> Array:
    if np.issubdtype(values.dtype, np.datetime64):
        return values.astype("datetime64[ns]").astype(np.int64)
    if not np.issubdtype(values.dtype, np.integer):
        raise InputError(f"{file}: expected whole nanoseconds in {_TIMESTAMP_NS}, got {values.dtype}")
    return values.astype(np.int64)


# ------------------------------------------------------------------------------------------------------------- arrays


def _streams_of_arrays(file: Path, wanted: Mapping[str, int], alone: bool) -> dict[str, Series]:
    try:
        with file.open("rb") as content, np.load(content, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:  # numpy, zipfile and zlib each raise their own
        raise InputError(f"{file}: expected an npz file of arrays of numbers, cannot read it: {error}") from error
    found = {}
    for name, width in wanted.items():
        rows = arrays.get(name, arrays.get("values") if alone else None)
        if rows is None:
            continue
        rows = rows[:, None] if rows.ndim == 1 and width == 1 else rows
        is_rows = rows.ndim == 2 and np.issubdtype(rows.dtype, np.number)
        if not is_rows or rows.shape[1] != width:
            raise InputError(
                f"{file}: expected the stream {name} as numbers (rows, {width}), got {rows.dtype} {rows.shape}"
            )
        times, clock = _times_of_arrays(file, name, arrays, len(rows))
        found[name] = _series(file, name, times, rows, clock, lambda at: f"row {at + 1}")
    return found


def _times_of_arrays(file: Path, name: str, arrays: Mapping[str, Array], count: int) -> tuple[Array, str]:
    """The times of a stream's rows, and the name of their clock."""
    for key in (f"{name}_times_s", "times_s", f"{name}_timestamp_ns", _TIMESTAMP_NS, f"{name}_rate_hz", "rate_hz"):
        if key not in arrays:
            continue
        values = arrays[key]
        if key.endswith("rate_hz"):
            if values.size != 1 or not np.issubdtype(values.dtype, np.number) or not float(values.flat[0]) > 0:
                raise InputError(f"{file}: expected {key} as one number above 0, got {values!r:.40}")
            return np.arange(count) / float(values.flat[0]), _TIME_S
        wanted = np.number if key.endswith("times_s") else np.integer
        if values.shape != (count,) or not np.issubdtype(values.dtype, wanted):
            raise InputError(f"{file}: expected {key} as numbers ({count},), got {values.dtype} {values.shape}")
        return values, _TIME_S if key.endswith("times_s") else _TIMESTAMP_NS
    raise InputError(f"{file}: expected times of {name}: {name}_times_s, times_s, timestamp_ns or rate_hz, found none")


def _series(file: Path, name: str, times: Array, rows: Array, clock: str, row_name: Callable[[int], str]) -> Series:
    """Check the times of a stream, and make seconds of them."""
    if not len(times):
        raise InputError(f"{file}: expected at least one row of the stream {name}, found none")
    start_ns = int(times[0]) if clock == _TIMESTAMP_NS else None
    times_s: Array = times.astype(np.float64) if start_ns is None else (times - start_ns) / 1e9
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
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and the runtime refuses the row
        return Series(times_s, np.ascontiguousarray(rows, np.float32), start_ns)


def shifted_to_one_clock(series: Mapping[Any, Series]) -> dict[Any, Series]:
    """Series of which those with timestamps start at 0 together; those with `time_s` stay where they are."""
    starts = [each.start_ns for each in series.values() if each.start_ns is not None]
    first = min(starts, default=0)
    return {
        name: each if each.start_ns is None else Series(each.times_s + (each.start_ns - first) / 1e9, each.rows, first)
        for name, each in series.items()
    }

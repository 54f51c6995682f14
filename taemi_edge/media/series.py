"""Reads series from files: rows of numbers with their times, as CSV, npz or Parquet.

A CSV or Parquet file has a column of times, `time_s` (seconds) or `timestamp_ns` (nanoseconds), and a column for each
channel. Where a file holds several streams, their columns are called `STREAM.x` or `STREAM_x`. An npz file has the
arrays `times_s` (n,) and `values` (n, channels), or, for several streams, `STREAM` and `STREAM_times_s`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.errors import InputError, MissingExtraError

_TIMES = {"time_s": 1.0, "timestamp_ns": 1e-9}
#: Files with these endings are series.
ENDINGS = (".csv", ".npz", ".parquet")


def is_series_file(path: Path) -> bool:
    """Whether the ending of a file's name says that it holds series.

    >>> is_series_file(Path("imu.csv")), is_series_file(Path("talk.mp4"))
    (True, False)
    """
    return path.suffix.lower() in ENDINGS


def read_series(path: Path, stream: str, channels: int) -> tuple[Array, Array]:
    """Read the rows of one stream.

    Args:
        path: a .csv, .npz or .parquet file.
        stream: its name; only files with several streams need to have it in them.
        channels: how many numbers a row has.

    Returns:
        Times, float64 (n,), in seconds, as they stand in the file and never decreasing; rows, float32 (n, channels).
        A cell that is empty or no finite number is NaN or infinite in them.

    Raises:
        InputError: not there, unreadable, without times or rows, another number of channels, or times that decrease.
        MissingExtraError: Parquet without pyarrow.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "imu.csv"
        ...     _ = file.write_text("time_s,x,y\\n0.0,1,2\\n0.5,3,4\\n")
        ...     times_s, rows = read_series(file, "imu", 2)
        >>> times_s.tolist(), rows.tolist()
        ([0.0, 0.5], [[1.0, 2.0], [3.0, 4.0]])
    """
    readers: dict[str, Callable[[Path, str], tuple[Array, Array]]] = {
        ".csv": lambda file, name: _of_table(file, name, _read_csv(file)),
        ".npz": _read_npz,
        ".parquet": lambda file, name: _of_table(file, name, _read_parquet(file)),
    }
    if path.suffix.lower() not in readers:
        raise InputError(f"{path}: expected a series that ends in {', '.join(ENDINGS)}")
    if not path.is_file():
        raise InputError(f"{path}: expected a series, found {'a folder' if path.is_dir() else 'nothing'}")
    times_s, rows = readers[path.suffix.lower()](path, stream)
    if rows.shape[1] != channels:
        raise InputError(f"{path}: expected {channels} channels of {stream}, got {rows.shape[1]}")
    _check_times(path, times_s)
    return times_s, rows


def _check_times(path: Path, times_s: Array) -> None:
    if not len(times_s):
        raise InputError(f"{path}: expected rows, got none")
    if not np.isfinite(times_s).all():
        raise InputError(
            f"{path}: expected a time in each row, got none in row {int(np.argmin(np.isfinite(times_s))) + 1}"
        )
    back = np.flatnonzero(np.diff(times_s) < 0)
    if len(back):
        row = int(back[0]) + 1
        raise InputError(
            f"{path}: expected times that do not go back, got {times_s[row]:.10g} s in row {row + 1} after "
            f"{times_s[row - 1]:.10g} s: sort the rows by time"
        )


def _of_table(path: Path, stream: str, columns: Mapping[str, Array]) -> tuple[Array, Array]:
    """The times and rows of a stream in a table of columns."""
    time = next((name for name in _TIMES if name in columns), None)
    if time is None:
        raise InputError(f"{path}: expected a column time_s or timestamp_ns, got {_listed(list(columns))}")
    named = [name for name in columns if name.startswith((f"{stream}.", f"{stream}_")) or name == stream]
    chosen = named or [name for name in columns if name not in _TIMES]
    if not chosen:
        raise InputError(f"{path}: expected columns of {stream} beside {time}, got none")
    rows = np.stack([np.asarray(columns[name], np.float32) for name in chosen], axis=1)
    return np.asarray(columns[time], np.float64) * _TIMES[time], rows


def _read_csv(path: Path) -> dict[str, Array]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines)
            names = [name.strip() for name in next(reader, [])]
            table = [_numbers(row, len(names), reader.line_num) for row in reader if row]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: expected a line of names and rows of numbers: {error}") from error
    if len(set(names)) < len(names):
        raise InputError(f"{path}: expected columns of different names, got {_listed(names)}")
    columns = np.array(table, np.float64).reshape(-1, len(names) or 1)
    return {name: columns[:, index] for index, name in enumerate(names)}


def _numbers(row: Sequence[str], count: int, line: int) -> list[float]:
    """The numbers of a row; an empty cell is NaN."""
    if len(row) != count:
        raise ValueError(f"line {line} has {len(row)} cells, and there are {count} names")
    try:
        return [float(cell) if cell.strip() else np.nan for cell in row]
    except ValueError as error:
        raise ValueError(f"line {line}: {error}") from error


def _read_parquet(path: Path) -> dict[str, Array]:
    try:
        import pyarrow  # type: ignore[import-not-found, unused-ignore]
        from pyarrow import parquet  # type: ignore[import-not-found, unused-ignore]
    except ModuleNotFoundError as error:
        raise MissingExtraError("pyarrow", "parquet", str(path)) from error
    try:
        table: Any = parquet.read_table(path)
        return {name: np.asarray(table[name].to_numpy(), np.float64) for name in table.column_names}
    except (OSError, pyarrow.ArrowException, ValueError, TypeError) as error:
        raise InputError(f"{path}: expected a Parquet file of numbers: {str(error)[:200]}") from error


def _read_npz(path: Path, stream: str) -> tuple[Array, Array]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            values = next((name for name in (stream, f"{stream}_values", "values") if name in arrays), None)
            times = next((name for name in (f"{stream}_times_s", "times_s") if name in arrays), None)
            if values is None or times is None:
                raise InputError(
                    f"{path}: expected arrays times_s and values, or {stream}_times_s and {stream}, got "
                    f"{_listed(arrays.files)}"
                )
            times_s, rows = arrays[times], arrays[values]
    except InputError:
        raise
    except Exception as error:  # numpy, zipfile and zlib each raise their own
        raise InputError(f"{path}: expected an npz file of arrays: {error}") from error
    if any(array.dtype.kind not in "fiu" for array in (times_s, rows)):
        raise InputError(f"{path}: expected arrays of numbers, got {times_s.dtype} and {rows.dtype}")
    rows = rows[:, None] if rows.ndim == 1 else rows
    if times_s.ndim != 1 or rows.ndim != 2 or len(times_s) != len(rows):
        raise InputError(
            f"{path}: expected times_s (n,) and values (n, channels), got {times_s.shape} and {rows.shape}"
        )
    return times_s.astype(np.float64), rows.astype(np.float32)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "") if names else "nothing"

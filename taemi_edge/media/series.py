"""Reads series from files: CSV, NumPy's .npz, and Parquet where pyarrow is installed.

A table has a column `time_s`, in seconds, or `timestamp_ns`, in nanoseconds. The other columns are the channels, in
their order. Where a file holds several streams, those of one stream are called NAME.0, NAME.1 and so on, or NAME_x.
An .npz file has arrays `times_s` and `values`, or NAME in place of `values` and, if it has a clock of its own,
NAME_times_s.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from taemi_edge.bundle.streams import SeriesSpec
from taemi_edge.bundle.values import Array
from taemi_edge.errors import InputError, MissingExtraError

#: The endings of files that hold series.
SERIES_SUFFIXES = (".csv", ".npz", ".parquet")
_SECONDS, _NANOSECONDS = "time_s", "timestamp_ns"


def read_series(file: Path, stream: str, spec: SeriesSpec) -> tuple[Array, Array]:
    """Read the rows of one stream.

    Args:
        file: a CSV, .npz or Parquet file.
        stream: the name of the stream, for files that hold several.
        spec: how many channels a row has.

    Returns:
        The time of each row in seconds, float64 (n,), and the rows, float32 (n, channels). A row may hold NaN.

    Raises:
        InputError: no such file, another kind of file, no time, other channels, no rows, or times that go backwards.
        MissingExtraError: a Parquet file, and pyarrow is not installed.

    Example:
        >>> from taemi_edge.bundle.streams import PresenceSpec
        >>> times = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
        >>> _ = Path("imu.csv").write_text("time_s,x,y\\n0.0,1,2\\n0.5,3,4\\n")
        >>> times_s, rows = read_series(Path("imu.csv"), "imu", SeriesSpec(feature_dim=4, channels=2, presence=times))
        >>> times_s.tolist(), rows.tolist()
        ([0.0, 0.5], [[1.0, 2.0], [3.0, 4.0]])
    """
    if not file.is_file():
        raise InputError(f"{file}: expected a file with a series, found {'a folder' if file.is_dir() else 'nothing'}")
    if file.suffix == ".npz":
        times_s, rows = _from_npz(file, stream)
    elif file.suffix in SERIES_SUFFIXES:
        times_s, rows = _from_table(file, stream, _csv_columns(file) if file.suffix == ".csv" else _parquet(file))
    else:
        raise InputError(f"{file}: expected a file that ends in {', '.join(SERIES_SUFFIXES)}")
    if rows.ndim != 2 or rows.shape[1] != spec.channels or times_s.shape != rows.shape[:1] or not len(rows):
        raise InputError(
            f"{file}: expected rows of {spec.channels} channels for {stream!r}, each with a time, got {rows.shape} and "
            f"times {times_s.shape}"
        )
    if not np.isfinite(times_s).all():
        raise InputError(f"{file}: expected times that are numbers, got row {int(np.argmin(np.isfinite(times_s))) + 1}")
    if (back := np.flatnonzero(np.diff(times_s) < 0)).size:
        at = int(back[0]) + 2
        raise InputError(
            f"{file}: expected times that do not go backwards, got {times_s[at - 1]:g} s after {times_s[at - 2]:g} s in "
            f"row {at}"
        )
    return times_s.astype(np.float64), rows.astype(np.float32)


def _from_npz(file: Path, stream: str) -> tuple[Array, Array]:
    try:
        with np.load(file, allow_pickle=False) as stored:
            names = stored.files
            rows_name = stream if stream in names else "values"
            times_name = f"{stream}_times_s" if f"{stream}_times_s" in names else "times_s"
            if rows_name not in names or times_name not in names:
                raise InputError(
                    f"{file}: expected arrays {stream!r} or 'values', and 'times_s', got {', '.join(names) or 'none'}"
                )
            times_s, rows = stored[times_name], stored[rows_name]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{file}: expected arrays of numbers in an .npz file: {error}") from error
    if rows.dtype.kind not in "biuf" or times_s.dtype.kind not in "iuf":
        raise InputError(f"{file}: expected arrays of numbers, got {rows.dtype} and {times_s.dtype}")
    return times_s, rows[:, None] if rows.ndim == 1 else rows


def _from_table(file: Path, stream: str, columns: Mapping[str, Array]) -> tuple[Array, Array]:
    if _SECONDS in columns:
        times_s = columns[_SECONDS]
    elif _NANOSECONDS in columns:
        times_s = (columns[_NANOSECONDS] - columns[_NANOSECONDS][:1]) * 1e-9
    else:
        raise InputError(
            f"{file}: expected a column {_SECONDS} or {_NANOSECONDS}, got {', '.join(columns) or 'no columns'}"
        )
    others = [name for name in columns if name not in (_SECONDS, _NANOSECONDS)]
    own = [name for name in others if name.startswith((f"{stream}.", f"{stream}_")) or name == stream]
    chosen = own or others
    if not chosen:
        raise InputError(f"{file}: expected columns for {stream!r} beside the time, got none")
    return times_s, np.stack([columns[name] for name in chosen], axis=1)


def _csv_columns(file: Path) -> dict[str, Array]:
    """The columns of a CSV file by name; an empty cell is NaN."""
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            reader = csv.reader(stream)
            header = [name.strip() for name in next(reader, [])]
            rows: list[list[float]] = []
            for number, row in enumerate(reader, start=2):
                if not row:
                    continue
                if len(row) != len(header):
                    raise InputError(f"{file}, line {number}: expected {len(header)} cells, got {len(row)}")
                rows.append([float(cell) if cell.strip() else float("nan") for cell in row])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file}: expected a CSV file: {error}") from error
    except ValueError as error:
        raise InputError(f"{file}, line {number}: expected numbers: {error}") from error
    values = np.array(rows, np.float64).reshape(len(rows), len(header))
    return {name: values[:, i] for i, name in enumerate(header)}


def _parquet(file: Path) -> dict[str, Array]:
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError as error:
        raise MissingExtraError("pyarrow", "parquet", f"reading {file}") from error
    try:
        table = parquet.read_table(file)
        return {name: np.asarray(table[name].to_numpy(), np.float64) for name in table.column_names}
    except (ArrowException, OSError, ValueError, TypeError) as error:
        raise InputError(f"{file}: expected a Parquet file with columns of numbers: {error}") from error

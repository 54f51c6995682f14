"""Reads the columns of CSV and Parquet files as numbers.

A table may have columns of other things beside those that are asked for, such as labels: they are not looked at.
"""

from __future__ import annotations

import csv
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.errors import InputError, MissingExtraError

#: A column of whole nanoseconds; all others are read as float64.
TIMESTAMP_NS = "timestamp_ns"


@dataclass(frozen=True, eq=False)
class NumberTable:
    """The columns of a table.

    Attributes:
        names: of all columns, in the order of the file.
        numbers: the columns that hold numbers, float64 (n,); int64 for timestamps. An empty cell is NaN.
        problems: what is wrong with each of the other columns, for a message behind the name of the file.
        row_name: what a row is called in messages.
    """

    names: tuple[str, ...]
    numbers: Mapping[str, Array]
    problems: Mapping[str, str]
    row_name: Callable[[int], str]


def read_table(file: Path) -> NumberTable:
    """Read a table.

    Args:
        file: a .csv or .parquet.

    Raises:
        InputError: it cannot be read, two columns have one name, or a row has another length.
        MissingExtraError: a .parquet without pyarrow.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "pulse.csv"
        ...     _ = file.write_text("time_s,bpm,note\\n0.5,61,first\\n")
        ...     table = read_table(file)
        >>> table.numbers["bpm"].tolist(), table.problems["note"]
        ([61.0], ", line 2: expected a number in the column note, got 'first'")
    """
    return _read_parquet(file) if file.suffix.lower() == ".parquet" else _read_csv(file)


@dataclass
class _CsvColumn:
    """The cells of a column so far, and the first that is no number."""

    name: str
    cells: array[Any] = field(init=False)
    problem: str | None = None

    def __post_init__(self) -> None:
        self.cells = array("q" if self.name == TIMESTAMP_NS else "d")

    def add(self, cell: str, line: int) -> None:
        if self.problem is None:
            try:
                self.cells.append(int(cell) if self.name == TIMESTAMP_NS else float(cell) if cell else np.nan)
            except (ValueError, OverflowError):
                wanted = "whole nanoseconds" if self.name == TIMESTAMP_NS else "a number"
                self.problem = f", line {line}: expected {wanted} in the column {self.name}, got {cell!r:.40}"


def _read_csv(file: Path) -> NumberTable:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            lines = csv.reader(stream)
            names = [name.strip() for name in next(lines, [])]
            require_names(file, names)
            columns = [_CsvColumn(name) for name in names]
            at_line = array("q")
            for row in lines:
                if not any(map(str.strip, row)):
                    continue
                if len(row) != len(names):
                    raise InputError(
                        f"{file}, line {lines.line_num}: expected {len(names)} cells as in the first line, got "
                        f"{len(row)}"
                    )
                at_line.append(lines.line_num)
                for column, cell in zip(columns, row, strict=True):
                    column.add(cell.strip(), lines.line_num)
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: expected a CSV file in UTF-8, got bytes that are no such text") from error
    except (OSError, csv.Error) as error:
        raise InputError(f"{file}: expected a CSV file, cannot read it: {error}") from error
    good = {c.name: np.array(c.cells, c.cells.typecode) for c in columns if c.problem is None}
    bad = {column.name: column.problem for column in columns if column.problem is not None}
    return NumberTable(tuple(names), good, bad, lambda at: f"line {at_line[at]}")


def require_names(file: Path, names: Sequence[str]) -> None:
    """Refuse a table without columns, or with two of one name.

    Raises:
        InputError: there are none, or two are the same.
    """
    if not any(names):
        raise InputError(f"{file}: expected a first line with the names of the columns, got an empty file")
    if twice := sorted(name for name, times in Counter(names).items() if name and times > 1):
        raise InputError(f"{file}: expected columns of different names, got {twice[0]!r} twice")


def _read_parquet(file: Path) -> NumberTable:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet", f"reading {file}") from error
    try:
        table = parquet.read_table(file)
        columns = {n: c.to_numpy() for n, c in zip(table.column_names, table.columns, strict=True)}
    except (ArrowException, OSError, ValueError) as error:
        raise InputError(f"{file}: expected a Parquet file, cannot read it: {error!s:.200}") from error
    require_names(file, table.column_names)
    numbers: dict[str, Array] = {}
    problems: dict[str, str] = {}
    for name, values in columns.items():
        if name == TIMESTAMP_NS and np.issubdtype(values.dtype, np.datetime64):
            numbers[name] = values.astype("datetime64[ns]").astype(np.int64)
        elif np.issubdtype(values.dtype, np.integer if name == TIMESTAMP_NS else np.number):
            numbers[name] = values.astype(np.int64 if name == TIMESTAMP_NS else np.float64)
        else:
            wanted = "whole nanoseconds" if name == TIMESTAMP_NS else "numbers"
            problems[name] = f": expected {wanted} in the column {name}, got {values.dtype}"
    return NumberTable(tuple(columns), numbers, problems, lambda at: f"row {at + 1}")

"""Reading a table of samples, row by row: CSV, or Parquet with pyarrow."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from taemi_edge.corpora.corpus_folder import CorpusFolder
from taemi_edge.errors import CorpusError, MissingExtraError

#: The names that a table has in its folder.
TABLES = ("samples.csv", "samples.parquet")


def table_of(folder: CorpusFolder) -> tuple[CorpusFolder, str] | None:
    """The folder and the name of the table at a place: the file itself, or the one in it; None where there is none."""
    where = folder.where
    if where.name.endswith((".csv", ".parquet")) and where.is_file():
        return CorpusFolder(where.parent), where.name
    return next(((folder, name) for name in TABLES if folder.has_file(name)), None)


def read_table(file: Path) -> Iterator[dict[str, Any]]:
    """Give the rows of a table by column; columns that begin with `_` are left out.

    Raises:
        CorpusError: the file cannot be read, a column has no name or occurs twice, or a row has another length.
        MissingExtraError: a Parquet file needs pyarrow, which is not installed.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile("w", suffix=".csv") as handle:
        ...     _ = handle.write("pulse.0,label/state,_note\\n61,calm,first\\n")
        ...     handle.flush()
        ...     list(read_table(Path(handle.name)))
        [{'pulse.0': '61', 'label/state': 'calm'}]
    """
    for row in _parquet_rows(file) if file.suffix == ".parquet" else _csv_rows(file):
        yield {name: value for name, value in row.items() if not name.startswith("_")}


def _csv_rows(file: Path) -> Iterator[dict[str, Any]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as handle:
            rows = csv.reader(handle)
            names = [name.strip() for name in next(rows, [])]
            _require_names(file, names)
            for row in rows:
                if not row:
                    continue
                if len(row) != len(names):
                    raise CorpusError(f"{file}, line {rows.line_num}: expected {len(names)} cells, got {len(row)}")
                yield {name: cell.strip() for name, cell in zip(names, row, strict=True)}
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise CorpusError(f"{file}: expected comma-separated UTF-8 text: {error}") from error


def _parquet_rows(file: Path) -> Iterator[dict[str, Any]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise MissingExtraError("pyarrow", "parquet", f"reading {file}") from error
    try:
        table = parquet.read_table(file)
    except (OSError, pyarrow.ArrowException) as error:
        raise CorpusError(f"{file}: expected a Parquet file: {error}") from error
    _require_names(file, table.column_names)
    yield from table.to_pylist()


def _require_names(file: Path, names: list[str]) -> None:
    twice = sorted(name for name, times in Counter(names).items() if times > 1)
    if not names or not all(names) or twice:
        got = f"{twice[0]!r} twice" if twice else "a column without a name" if names else "no columns"
        raise CorpusError(f"{file}: expected columns, each with a name of its own, got {got}")

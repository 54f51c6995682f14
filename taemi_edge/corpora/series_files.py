"""Reading a series from a file of its own: rows of numbers with their times, brought to the stream's rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from taemi_edge.bundle.streams import SeriesSpec
from taemi_edge.bundle.values import Array
from taemi_edge.corpora.tables import read_table
from taemi_edge.errors import MediaError

#: Columns and arrays that hold times, and how many of their units make a second.
TIMES = {"time_s": 1.0, "times_s": 1.0, "timestamp_ns": 1e9}


def read_series(file: Path, spec: SeriesSpec, longest_s: float) -> Array:
    """Read a series.

    Args:
        file: CSV or Parquet with a column of times and one for each channel, or `.npz` with `values` and `times_s`.
        spec: what the stream is. Its rows are brought to `rate_hz` by linear interpolation; without a rate they stay.
        longest_s: how much of the file counts, in seconds from its first row.

    Returns:
        float32 (rows, channels); the rows lie on the grid of the rate.

    Raises:
        MediaError: the file holds another number of channels, no times although the stream has a rate, or times that
            go backwards.
    """
    times_s, values = _arrays(file) if file.suffix == ".npz" else _columns(file)
    if values.ndim != 2 or values.shape[1] != spec.channels:
        raise MediaError(f"{file}: expected {spec.channels} channels, got values of shape {values.shape}")
    if times_s is None:
        if spec.rate_hz:
            raise MediaError(f"{file}: expected a column or an array {', '.join(TIMES)}, found none")
        return values.astype(np.float32)
    if not len(times_s):
        return values.astype(np.float32)
    if not (np.isfinite(times_s).all() and np.isfinite(values).all()):
        raise MediaError(f"{file}: expected finite numbers, got NaN or infinity")
    if (np.diff(times_s) < 0).any():
        raise MediaError(
            f"{file}: expected times that never go backwards, row {int(np.argmax(np.diff(times_s) < 0)) + 2}"
            f" is earlier than the one before"
        )
    inside = times_s - times_s[0] <= longest_s
    times_s, values = times_s[inside] - times_s[0], values[inside]
    if not spec.rate_hz:
        rows: Array = values.astype(np.float32)
        return rows
    grid = np.arange(int(np.floor(times_s[-1] * spec.rate_hz + 1e-6)) + 1) / spec.rate_hz
    resampled: Array = np.stack([np.interp(grid, times_s, channel) for channel in values.T], 1).astype(np.float32)
    return resampled


def _arrays(file: Path) -> tuple[Array | None, Array]:
    try:
        with np.load(file, allow_pickle=False) as stored:
            times = next(((stored[name] / unit) for name, unit in TIMES.items() if name in stored.files), None)
            if "values" not in stored.files:
                raise MediaError(f"{file}: expected the arrays values and times_s, got {', '.join(stored.files)}")
            values = stored["values"]
    except (OSError, ValueError, EOFError) as error:
        raise MediaError(f"{file}: expected a file of arrays (.npz): {error}") from error
    return times, values[:, None] if values.ndim == 1 else values


def _columns(file: Path) -> tuple[Array | None, Array]:
    rows = list(read_table(file))
    names = list(rows[0]) if rows else []
    channels = [name for name in names if name not in TIMES]
    try:
        values = np.array([[float(row[name]) for name in channels] for row in rows], np.float64)
        of_time = next((name for name in names if name in TIMES), None)
        times = None if of_time is None else np.array([float(row[of_time]) for row in rows]) / TIMES[of_time]
    except (TypeError, ValueError) as error:
        raise MediaError(f"{file}: expected a table of numbers: {error}") from error
    return times, values.reshape(len(rows), len(channels))

"""Finding the ranges of activations: what each tensor held on real clips, and the magnitude at which its range ends.

The end of a range becomes 127 in INT8 and 448 in FP8.

Memory does not grow with the number of clips: of each tensor, extremes and a fixed number of rows are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.calibration.graphs.grids import GRIDS, Grid
from taemi_edge.errors import CalibrationError

Method = Literal["minmax", "percentile", "entropy"]
METHODS: tuple[Method, ...] = ("minmax", "percentile", "entropy")
_BINS = 2048
_LEAST_BINS = 128  # fewer would be fewer than the numbers of a grid


@dataclass
class TensorStatistics:
    """What one tensor held over all feeds.

    Attributes:
        feature_axis: the axis of its D features; None where no axis has a fixed length, and single values count as
            rows.
        capacity: how many rows are kept.
        rng: draws the rows.
        amax: the largest magnitude.
        low, high: the smallest and the largest value.
        channel_amax: the largest magnitude of each feature, (D,).
        channel_low, channel_high: the smallest and the largest value of each, (D,).
        rows: feature vectors drawn evenly from all that were added, (R, D).
    """

    feature_axis: int | None
    capacity: int
    rng: np.random.Generator
    amax: float = 0.0
    low: float = np.inf
    high: float = -np.inf
    channel_amax: Array = field(default_factory=lambda: np.zeros(0))
    channel_low: Array = field(default_factory=lambda: np.zeros(0))
    channel_high: Array = field(default_factory=lambda: np.zeros(0))
    rows: Array = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    _priorities: Array = field(default_factory=lambda: np.zeros(0))

    @property
    def is_constant(self) -> bool:
        """Whether all values are the same, or there are none."""
        return self.high <= self.low

    def add(self, values: Array) -> None:
        """Add one activation; a reservoir keeps an even sample of all rows (Vitter 1985, by random priorities)."""
        axis = self.feature_axis
        moved = values.reshape(-1, 1) if axis is None else np.moveaxis(values, axis, -1)
        moved = np.atleast_2d(moved)  # one feature vector alone has no other axis
        others = tuple(range(moved.ndim - 1))
        low, high = moved.min(axis=others), moved.max(axis=others)
        channels = np.maximum(high, -low)
        self.channel_amax = np.maximum(self.channel_amax, channels) if self.channel_amax.size else channels
        self.channel_low = np.minimum(self.channel_low, low) if self.channel_low.size else low
        self.channel_high = np.maximum(self.channel_high, high) if self.channel_high.size else high
        self.amax = max(self.amax, float(channels.max()))
        self.low, self.high = min(self.low, float(low.min())), max(self.high, float(high.max()))
        priorities = self.rng.random(moved.size // moved.shape[-1])
        least = self._priorities.min() if len(self._priorities) == self.capacity else -1.0
        better = np.flatnonzero(priorities > least)
        rows = moved[np.unravel_index(better, moved.shape[:-1])]  # the few that stay, not a copy of all
        rows = np.concatenate([self.rows, rows]) if self.rows.size else rows
        priorities = np.concatenate([self._priorities, priorities[better]])
        kept = np.argsort(-priorities, kind="stable")[: self.capacity]
        self.rows, self._priorities = np.ascontiguousarray(rows[kept]), priorities[kept]


@dataclass
class PartStatistics:
    """What the tensors of one part held over all feeds.

    Attributes:
        watched: the tensors that are quantised, by name.
        amax: the largest magnitude of every float tensor.
        elements: how many elements every float tensor had, over all feeds.
        feeds: how many there were.
    """

    watched: dict[str, TensorStatistics]
    amax: dict[str, float] = field(default_factory=dict)
    elements: dict[str, int] = field(default_factory=dict)
    feeds: int = 0


def collect_statistics(
    run: Callable[[Mapping[str, Array]], dict[str, Array]],
    feeds: Iterable[Mapping[str, Array]],
    watched: Mapping[str, int | None],
    rows: int,
    seed: int = 0,
    outputs: Collection[str] = (),
    may_be_constant: Collection[str] = (),
) -> PartStatistics:
    """Run a part over its feeds and keep ranges and a sample of rows.

    Args:
        run: runs the part and gives every tensor of it by name.
        feeds: of the part.
        watched: the feature axis of each tensor that is quantised; None where no axis has a fixed length.
        rows: how many feature vectors (without an axis: values) of each watched tensor are kept.
        seed: draws the rows.
        outputs: the names of the part's outputs, which must be finite as well.
        may_be_constant: the watched tensors that need not vary.

    Raises:
        CalibrationError: an output or a watched tensor held NaN or infinity, or a watched one is constant; the message
            names the first tensor that is not finite. What nothing reads in the end may be NaN, such as a softmax over
            masked steps alone.

    Example:
        >>> feeds = [{"x": np.array([[1.0, -3.0], [2.0, 0.5]], np.float32)}]
        >>> collect_statistics(lambda feed: {}, feeds, {"x": -1}, rows=2).watched["x"].amax
        3.0
    """
    streams = np.random.default_rng(seed).spawn(len(watched))
    statistics = PartStatistics(
        {name: TensorStatistics(axis, rows, rng) for (name, axis), rng in zip(watched.items(), streams, strict=True)}
    )
    for fed in feeds:
        made = {**fed, **run(fed)}
        statistics.feeds += 1
        floats = {n: v for n, v in made.items() if isinstance(v, np.ndarray) and v.dtype == np.float32 and v.size}
        _require_finite(floats, {*watched, *outputs})
        for name, value in floats.items():
            _add_values(statistics, name, value)
    for name, seen in statistics.watched.items():
        if seen.is_constant and name not in may_be_constant:
            raise CalibrationError(
                f"{name}: expected activations that vary, got {seen.low:g} throughout: calibrate on real clips, and "
                f"check that the model was trained"
            )
    return statistics


def _require_finite(values: Mapping[str, Array], wanted: Collection[str]) -> None:
    """Refuse values of one feed where a wanted tensor is not finite; the message names the first that is NaN."""
    largest = {name: _largest(value) for name, value in values.items()}
    bad = [name for name, amax in largest.items() if not np.isfinite(amax)]
    if not any(name in wanted for name in bad):
        return
    name = next((name for name in bad if np.isnan(largest[name]) or name in wanted), bad[0])
    raise CalibrationError(
        f"{name}: expected finite activations, got {'NaN' if np.isnan(largest[name]) else 'infinity'}: the weights or "
        f"the clips are damaged; `taemi-edge parity` names the part"
    )


def _largest(value: Array) -> float:
    return max(float(value.max()), -float(value.min()))  # NaN comes through both


def _add_values(statistics: PartStatistics, name: str, value: Array) -> None:
    amax = _largest(value)
    if not np.isfinite(amax):
        finite = value[np.isfinite(value)]  # a mask may add minus infinity in front of a softmax
        amax = float(np.abs(finite).max(initial=0.0))
    statistics.amax[name] = max(statistics.amax.get(name, 0.0), amax)
    statistics.elements[name] = statistics.elements.get(name, 0) + value.size
    if name in statistics.watched:
        statistics.watched[name].add(value)


def range_by(method: Method, rows: Array, amax: float, percentile: float, grid: Grid = GRIDS["int8"]) -> float:
    """Give the magnitude that becomes the largest number of a grid.

    Args:
        method: "minmax" takes `amax`; "percentile" leaves the rarest magnitudes out; "entropy" takes the magnitude at
            which the quantised distribution loses least information (Migacz 2017, 8-bit inference with TensorRT).
        rows: a sample of the values, of any shape.
        amax: the largest magnitude of all values.
        percentile: of the magnitudes, 0 to 100.
        grid: the numbers that values are rounded to.

    Example:
        >>> range_by("minmax", np.array([1.0, -2.0]), 4.0, 99.0)
        4.0
        >>> round(range_by("percentile", np.arange(101.0), 100.0, 99.0), 3)
        99.0
    """
    if method == "minmax":
        return amax
    magnitudes = np.abs(rows).ravel()
    if method == "percentile":
        return float(np.percentile(magnitudes, percentile)) or amax
    return _entropy_range(magnitudes, amax, grid)


def _entropy_range(magnitudes: Array, amax: float, grid: Grid) -> float:
    counts, edges = np.histogram(magnitudes, bins=_BINS, range=(0.0, amax))
    best, least = amax, np.inf
    for stop in range(_LEAST_BINS, _BINS + 1, 32):
        p = counts[:stop].astype(np.float64)
        q = _quantised_histogram(p, grid)
        p[-1] += counts[stop:].sum()
        divergence = _divergence(p, q)
        if divergence < least:
            best, least = float(edges[stop]), divergence
    return best


def _quantised_histogram(counts: Array, grid: Grid) -> Array:
    """Merge a histogram into the grid's levels and spread each over those of its bins that were not empty."""
    level = grid.levels(len(counts))
    filled = counts > 0
    sums, members = np.bincount(level, counts), np.bincount(level, filled)
    spread: Array = np.where(filled, (sums / np.maximum(members, 1))[level], 0.0)
    return spread


def _divergence(p: Array, q: Array) -> float:
    """Give the Kullback-Leibler divergence of two histograms; empty bins of `q` count as 1e-9."""
    if not q.sum():
        return float("inf")
    p, q = p / p.sum(), q / q.sum()
    filled = p > 0
    return float(np.sum(p[filled] * np.log(p[filled] / np.maximum(q[filled], 1e-9))))

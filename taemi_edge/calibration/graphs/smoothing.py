"""SmoothQuant: moving outliers from an activation, whose features share one scale, into the weights that read it.

Xiao et al. 2022, arXiv 2211.10438, equation 4: x W = (x / s) (s W), with s_j = max|x_j|^a / max|W_j|^(1-a). Several
strengths a are tried for each group of Linears that read one tensor; the error of what they give decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.calibration.graphs.grids import GRIDS, MIN_SCALE, Grid
from taemi_edge.calibration.graphs.ranges import Method, TensorStatistics, range_by

_INT8 = GRIDS["int8"]


@dataclass(frozen=True, eq=False)
class Scaling:
    """How one tensor is quantised: it is divided by its smoothing, then by its scale, and rounded to a grid.

    Attributes:
        amax: the magnitude that becomes the grid's largest number, after smoothing.
        method: the method that found it.
        alpha: the strength of smoothing; None without.
        smoothing: what each feature is divided by, (D,); None without.
        error, held_out_error: the error of what the readers give relative to FP32, on the rows that chose the scaling
            and on rows that did not.
    """

    amax: float
    method: Method
    alpha: float | None
    smoothing: Array | None
    error: float
    held_out_error: float


def smoothing_vector(channel_amax: Array, weights: Sequence[Array], alpha: float) -> Array:
    """Give the smoothing s of a tensor.

    Args:
        channel_amax: the largest magnitude of each of its K features, (K,).
        weights: (K, N) of each Linear that reads it.
        alpha: the strength, 0 to 1.

    Returns:
        float32 (K,). Its geometric mean is 1, so that magnitudes stay.

    Example:
        >>> smoothing_vector(np.array([4.0, 1.0]), [np.ones((2, 3))], 0.5).round(3).tolist()
        [1.4140000343322754, 0.7070000171661377]
    """
    of_weights = np.max([np.abs(weight).max(1) for weight in weights], axis=0)
    usable = (channel_amax > 1e-5) & (of_weights > 1e-5)
    logs = np.where(
        usable,
        alpha * np.log(np.maximum(channel_amax, 1e-5)) - (1 - alpha) * np.log(np.maximum(of_weights, 1e-5)),
        0.0,
    )
    centred = np.where(usable, logs - logs[usable].mean(), 0.0) if usable.any() else logs
    smoothing: Array = np.exp(np.clip(centred, -8, 8)).astype(np.float32)
    return smoothing


def choose_scaling(
    statistics: TensorStatistics,
    weights: Sequence[Array],
    alphas: Sequence[float],
    methods: Sequence[Method],
    percentile: float,
    grid: Grid = _INT8,
) -> Scaling:
    """Choose the smoothing and the range with the smallest error on half of the rows.

    Args:
        statistics: of the tensor; its rows are (R, K).
        weights: (K, N) of each Linear that reads the tensor. Empty for other readers: the error is then the tensor's
            own.
        alphas: the strengths that are tried besides none.
        methods: the methods that find ranges.
        percentile: for the method of that name.
        grid: the numbers that values are rounded to.

    Returns:
        The scaling, with its error on the other half of the rows.
    """
    choosing, held_out = statistics.rows[::2], statistics.rows[1::2]
    exact = [choosing @ w for w in weights]
    candidates: list[Scaling] = []
    for alpha in (None, *(alphas if weights else ())):
        smoothing = None if alpha is None else smoothing_vector(statistics.channel_amax, weights, alpha)
        rows = choosing if smoothing is None else choosing / smoothing
        amax = statistics.amax if smoothing is None else float((statistics.channel_amax / smoothing).max())
        smoothed = [w if smoothing is None else w * smoothing[:, None] for w in weights]
        quantised = [fake_quantise_weight(w, grid) for w in smoothed]
        for method in methods:
            limit = range_by(method, rows, amax, percentile, grid)
            error = _error(fake_quantise(rows, limit, grid), rows, quantised, exact)
            candidates.append(Scaling(limit, method, alpha, smoothing, error, 0.0))
    best = min(candidates, key=lambda candidate: candidate.error)
    return _with_held_out_error(best, held_out, weights, grid)


def _with_held_out_error(chosen: Scaling, rows: Array, weights: Sequence[Array], grid: Grid) -> Scaling:
    smoothing = chosen.smoothing
    smoothed_rows = rows if smoothing is None else rows / smoothing
    quantised = [fake_quantise_weight(w if smoothing is None else w * smoothing[:, None], grid) for w in weights]
    exact = [rows @ w for w in weights]
    error = _error(fake_quantise(smoothed_rows, chosen.amax, grid), smoothed_rows, quantised, exact)
    return Scaling(chosen.amax, chosen.method, chosen.alpha, smoothing, chosen.error, error)


def _error(quantised_rows: Array, rows: Array, weights: Sequence[Array], exact: Sequence[Array]) -> float:
    """Give the root of squared error over squared signal: of the outputs or, without weights, of the rows."""
    pairs = [(quantised_rows @ w, y) for w, y in zip(weights, exact, strict=True)] or [(quantised_rows, rows)]
    lost = sum(float(((got - want) ** 2).sum()) for got, want in pairs)
    signal = sum(float((want**2).sum()) for _, want in pairs)
    return float(np.sqrt(lost / signal)) if signal else 0.0


def fake_quantise(values: Array, amax: float, grid: Grid = _INT8) -> Array:
    """Round values to a grid with one scale, and give them in the type that they came in.

    Args:
        values: of any shape.
        amax: the magnitude that becomes the grid's largest number.
        grid: the numbers that values are rounded to.

    Example:
        >>> fake_quantise(np.array([0.4, 126.6, 500.0]), 127.0).tolist()
        [0.0, 127.0, 127.0]
    """
    scale = grid.scale(amax)
    rounded: Array = grid.round(values / scale) * np.float32(scale)
    return rounded


def fake_quantise_weight(weight: Array, grid: Grid = _INT8) -> Array:
    """Round a weight (K, N) to a grid with one scale for each of its N outputs."""
    scale = weight_scale(weight, 1, grid)
    rounded: Array = grid.round(weight / scale) * scale
    return rounded


def weight_scale(weight: Array, axis: int, grid: Grid = _INT8) -> Array:
    """Give the scale of each channel along `axis`, float32 (channels,)."""
    others = tuple(i for i in range(weight.ndim) if i != axis % weight.ndim)
    scale: Array = np.maximum(np.abs(weight).max(axis=others) / grid.largest, MIN_SCALE).astype(np.float32)
    return scale

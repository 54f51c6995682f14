"""What a Linear was fed in, its smoothing vector out: outliers move from activations, which share a scale, to weights.

SmoothQuant (Xiao et al. 2022, arXiv 2211.10438, equation 4): x W = (x / s) (s W), s_j = max|x_j|^a / max|W_j|^(1-a).
The strength a is swept for each group of Linears that share an input, and chosen by the error of what they give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from taemi_edge.bundle.spec import Array
from taemi_edge.calibration.graphs.ranges import QMAX, Method, Seen, range_by

#: Scales below this are not numbers of FP16 any more.
MIN_SCALE = 2.0**-20


@dataclass(frozen=True, eq=False)
class Scaling:
    """How one tensor is brought to INT8: divided by `smoothing` (D,), then by `amax` / 127.

    `error` and `held_out_error` are of what its readers give, relative to FP32, on rows that chose and on rows that
    did not.
    """

    amax: float
    method: Method
    alpha: float | None
    smoothing: Array | None
    error: float
    held_out_error: float


def smoothing_vector(channel_amax: Array, weights: Sequence[Array], alpha: float) -> Array:
    """s (K,) for weights (K, N) that read the same K features; its geometric mean is 1, so that magnitudes stay."""
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
    seen: Seen,
    weights: Sequence[Array],
    alphas: Sequence[float],
    methods: Sequence[Method],
    percentile: float,
) -> Scaling:
    """The alpha and the range with the smallest error on half of the rows, with its error on the other half.

    Args:
        weights: (K, N) of each Linear that reads the tensor; empty for other readers, whose error is the tensor's own.
        alphas: strengths to try besides none at all.
    """
    choosing, held_out = seen.rows[::2], seen.rows[1::2]
    exact = [choosing @ w for w in weights]
    candidates: list[Scaling] = []
    for alpha in (None, *(alphas if weights else ())):
        smoothing = None if alpha is None else smoothing_vector(seen.channel_amax, weights, alpha)
        rows = choosing if smoothing is None else choosing / smoothing
        amax = seen.amax if smoothing is None else float((seen.channel_amax / smoothing).max())
        smoothed = [w if smoothing is None else w * smoothing[:, None] for w in weights]
        quantised = [fake_quantise_weight(w) for w in smoothed]
        for method in methods:
            limit = range_by(method, rows, amax, percentile)
            error = _error(fake_quantise(rows, limit), rows, quantised, exact)
            candidates.append(Scaling(limit, method, alpha, smoothing, error, 0.0))
    best = min(candidates, key=lambda candidate: candidate.error)
    return _with_held_out_error(best, held_out, weights)


def _with_held_out_error(chosen: Scaling, rows: Array, weights: Sequence[Array]) -> Scaling:
    smoothing = chosen.smoothing
    smoothed_rows = rows if smoothing is None else rows / smoothing
    quantised = [fake_quantise_weight(w if smoothing is None else w * smoothing[:, None]) for w in weights]
    exact = [rows @ w for w in weights]
    error = _error(fake_quantise(smoothed_rows, chosen.amax), smoothed_rows, quantised, exact)
    return Scaling(chosen.amax, chosen.method, chosen.alpha, smoothing, chosen.error, error)


def _error(quantised_rows: Array, rows: Array, weights: Sequence[Array], exact: Sequence[Array]) -> float:
    """Root of the squared error over the squared signal, of the outputs or, without weights, of the rows."""
    pairs = [(quantised_rows @ w, y) for w, y in zip(weights, exact, strict=True)] or [(quantised_rows, rows)]
    lost = sum(float(((got - want) ** 2).sum()) for got, want in pairs)
    signal = sum(float((want**2).sum()) for _, want in pairs)
    return float(np.sqrt(lost / signal)) if signal else 0.0


def fake_quantise(values: Array, amax: float) -> Array:
    """Values as symmetric INT8 holds them, one scale for all."""
    scale = max(amax / QMAX, MIN_SCALE)
    rounded: Array = np.clip(np.rint(values / scale), -QMAX - 1, QMAX) * np.float32(scale)
    return rounded


def fake_quantise_weight(weight: Array) -> Array:
    """A weight (K, N) as symmetric INT8 holds it, one scale an output."""
    scale = weight_scale(weight, axis=1)
    rounded: Array = np.clip(np.rint(weight / scale), -QMAX - 1, QMAX) * scale
    return rounded


def weight_scale(weight: Array, axis: int) -> Array:
    """The scale of each channel along `axis`, float32 (channels,)."""
    others = tuple(i for i in range(weight.ndim) if i != axis % weight.ndim)
    scale: Array = np.maximum(np.abs(weight).max(axis=others) / QMAX, MIN_SCALE).astype(np.float32)
    return scale

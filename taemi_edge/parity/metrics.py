"""Metrics of predicted intensities: Pearson correlation, mean squared error and calibration slope.

A figure that is undefined is None, never 0.
"""

from __future__ import annotations

import numpy as np

from taemi_edge.bundle.spec import EMOTIONS
from taemi_edge.bundle.values import Array, Frozen


class Interval(Frozen, frozen=True):
    """A 95 % interval."""

    low: float
    high: float


class Score(Frozen, frozen=True):
    """How good predictions are over a whole split. Nothing is averaged over batches.

    Attributes:
        mean_pearson: the mean over the emotions whose correlation is defined; None where none is.
        interval: the 95 % bootstrap interval of the mean.
        pearson: the correlation of each emotion, None where it is undefined.
        mse: the mean squared error.
        slope: the calibration slope, of the labels on the predictions: 1 where a predicted intensity of .4 means .4.
        clips: how many clips there are.
    """

    mean_pearson: float | None
    interval: Interval | None
    pearson: dict[str, float | None]
    mse: float | None
    slope: float | None
    clips: int


def score(predicted: Array, labels: Array, resamples: int = 1000, seed: int = 0) -> Score:
    """Score predictions against labels.

    Args:
        predicted: intensities, (N, 6).
        labels: true intensities, (N, 6).
        resamples: bootstrap samples over clips for the interval of the mean; 0 leaves the interval out.
        seed: of the bootstrap.

    Example:
        >>> labels = np.eye(6)[np.arange(12) % 6]
        >>> score(labels * 0.5 + 0.1, labels, resamples=0).mean_pearson
        1.0
    """
    columns = [pearson_of(predicted[:, i], labels[:, i]) for i in range(len(EMOTIONS))]
    return Score(
        mean_pearson=_mean(columns),
        interval=_bootstrap(predicted, labels, resamples, seed) if resamples and len(labels) > 2 else None,
        pearson=dict(zip(EMOTIONS, columns, strict=True)),
        mse=float(np.mean((predicted.astype(np.float64) - labels) ** 2)) if len(labels) else None,
        slope=_slope(predicted, labels),
        clips=len(labels),
    )


def pearson_of(x: Array, y: Array) -> float | None:
    """Pearson correlation of two vectors; None where it is undefined because one of them is constant.

    Example:
        >>> pearson_of(np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 1.0])) is None
        True
    """
    if not len(x):
        return None
    a, b = (_varying(values.astype(np.float64)) for values in (x, y))
    if a is None or b is None:
        return None
    # the clip keeps rounding from giving 1.0000000000000002
    return float(np.clip(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)), -1, 1))


def mean_pearson(predicted: Array, labels: Array) -> float | None:
    """The mean over the emotions of the Pearson correlation over all clips, the metric of Hume-Vidmimic2.

    Args:
        predicted: intensities, (N, 6).
        labels: true intensities, (N, 6).

    Returns:
        None where labels are NaN or no correlation is defined.

    Example:
        >>> labels = np.eye(6)[np.arange(12) % 6]
        >>> mean_pearson(1 - labels, labels)
        -1.0
    """
    if np.isnan(labels).any():
        return None
    return _mean([pearson_of(predicted[:, i], labels[:, i]) for i in range(len(EMOTIONS))])


def paired_interval(differences: Array) -> Interval:
    """The 95 % interval of the mean of paired differences (N,), by Student's t, which suits few values.

    Example:
        >>> paired_interval(np.array([0.25, 0.25, 0.25])).low
        0.25
    """
    count = len(differences)
    mean = float(np.mean(differences))
    if count < 2:
        return Interval(low=float("-inf"), high=float("inf"))
    half = _T_975.get(count - 1, 1.96) * float(np.std(differences, ddof=1)) / count**0.5
    return Interval(low=mean - half, high=mean + half)


#: Student's t at .975 by degrees of freedom.
_T_975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228}


def _varying(values: Array) -> Array | None:
    """Values around their mean; None where they vary by no more than float32's rounding."""
    centred: Array = values - values.mean()
    constant = np.linalg.norm(centred) <= 1e-6 * np.linalg.norm(values) + 1e-12
    return None if constant else centred


def _bootstrap(predicted: Array, labels: Array, resamples: int, seed: int) -> Interval | None:
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(resamples):
        chosen = rng.integers(len(labels), size=len(labels))
        if (mean := mean_pearson(predicted[chosen], labels[chosen])) is not None:
            means.append(mean)
    if not means:
        return None
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(low=float(low), high=float(high))


def _slope(predicted: Array, labels: Array) -> float | None:
    if not len(labels):
        return None
    x, y = predicted.astype(np.float64), labels.astype(np.float64)
    x = x - x.mean(0)
    variance = float((x**2).sum())
    return float((x * (y - y.mean(0))).sum() / variance) if variance > 1e-12 else None


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None

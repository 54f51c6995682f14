"""Named metrics of predictions: how good they are, over all rows of a split at once.

`METRICS` holds them by name. Each has one protocol: it takes what a metric reads of the head's output
(`OutputSpec.values`), (N, n), and what is true, (N, n), or (N, 1) with the number of the class where classes exclude
each other. It gives a figure for the whole output and one for each name. A figure that is undefined is None, never 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from taemi_edge.bundle.outputs import PRESENT_FROM
from taemi_edge.bundle.values import Array, Frozen


class Interval(Frozen, frozen=True):
    """A 95 % interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Metric:
    """A named metric.

    Attributes:
        name: by which manifests and commands know it.
        kind: the outputs that it fits.
        higher_is_better: its direction.
        by_name: the figure of each number or class, from (N, n) predicted and (N, n) or (N, 1) true.
        whole: the figure of the output where it is not the mean over names.
    """

    name: str
    kind: Literal["regression", "classes"]
    higher_is_better: bool
    by_name: Callable[[Array, Array], list[float | None]]
    whole: Callable[[Array, Array], float | None] | None = None

    def value(self, predicted: Array, true: Array) -> float | None:
        """The figure of one output; None where it is undefined.

        Args:
            predicted: (N, n).
            true: (N, n), or (N, 1) with the number of the class where classes exclude each other.
        """
        if not len(true):
            return None
        return self.whole(predicted, true) if self.whole else mean_of(self.by_name(predicted, true))


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
    """The mean over the columns of the Pearson correlation over all rows, the metric of Hume-Vidmimic2.

    Args:
        predicted: (N, n).
        labels: what is true, (N, n).

    Returns:
        None where labels are NaN or no correlation is defined.

    Example:
        >>> labels = np.eye(6)[np.arange(12) % 6]
        >>> mean_pearson(1 - labels, labels)
        -1.0
    """
    if np.isnan(labels).any():
        return None
    return mean_of([pearson_of(predicted[:, i], labels[:, i]) for i in range(labels.shape[1])])


def ccc_of(x: Array, y: Array) -> float | None:
    """Lin's concordance correlation coefficient of two vectors (https://doi.org/10.2307/2532051).

    It is Pearson's correlation, lowered where scale or offset differ; None where both are constant and equal.

    Example:
        >>> ccc_of(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0]))
        1.0
    """
    a, b = x.astype(np.float64), y.astype(np.float64)
    if not len(a):
        return None
    spread = float(a.var() + b.var() + (a.mean() - b.mean()) ** 2)
    return float(np.clip(2 * np.mean((a - a.mean()) * (b - b.mean())) / spread, -1, 1)) if spread > 1e-12 else None


def decisions(predicted: Array, true: Array) -> tuple[Array, Array]:
    """Which classes were predicted and which are true, bool (N, n) each.

    Args:
        predicted: probabilities, (N, n).
        true: (N, 1) with the number of the class where classes exclude each other, else (N, n) of 0 and 1.
    """
    if _exclusive(predicted, true):
        count = np.arange(predicted.shape[1])
        return predicted.argmax(1)[:, None] == count, np.rint(true) == count
    return predicted >= PRESENT_FROM, true >= PRESENT_FROM


def average_precision_of(scores: Array, positive: Array) -> float | None:
    """The area under precision over recall, without interpolation; None where nothing is positive.

    Args:
        scores: (N,); equal scores share one threshold.
        positive: bool (N,).

    Example:
        >>> average_precision_of(np.array([0.9, 0.8, 0.1]), np.array([True, False, True])).__round__(3)
        0.833
    """
    if not positive.any():
        return None
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(positive[order])
    last = np.append(np.diff(scores[order]) != 0, True)  # the last row of each threshold
    precision = hits[last] / (np.flatnonzero(last) + 1)
    recall = hits[last] / hits[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def f1_of(predicted: Array, true: Array) -> float | None:
    """The harmonic mean of precision and recall, of bool (N,) each; None where a class is neither true nor predicted.

    Example:
        >>> f1_of(np.array([True, True]), np.array([True, False])).__round__(3)
        0.667
    """
    all_of_both = int(predicted.sum() + true.sum())
    return 2 * int((predicted & true).sum()) / all_of_both if all_of_both else None


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
    half = _t_975(count - 1) * float(np.std(differences, ddof=1)) / count**0.5
    return Interval(low=mean - half, high=mean + half)


#: Student's t at .975 by degrees of freedom.
_T_975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228}


def _t_975(freedom: int) -> float:
    """Student's t at .975; beyond the table by its expansion around the normal quantile (Abramowitz, Stegun 26.7.5).

    >>> _t_975(2), round(_t_975(11), 3), round(_t_975(10**6), 3)
    (4.303, 2.201, 1.96)
    """
    if freedom in _T_975:
        return _T_975[freedom]
    return 1.959964 + 2.372271 / freedom + 2.822498 / freedom**2 + 2.555853 / freedom**3


def mean_of(values: list[float | None]) -> float | None:
    """The mean of those values that are defined; None where none is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def calibration_slope(predicted: Array, labels: Array) -> float | None:
    """The slope of labels on predictions, (N, n) each: 1 where a predicted .4 means .4; None where nothing varies."""
    if not len(labels):
        return None
    x, y = predicted.astype(np.float64), labels.astype(np.float64)
    x = x - x.mean(0)
    variance = float((x**2).sum())
    return float((x * (y - y.mean(0))).sum() / variance) if variance > 1e-12 else None


def _varying(values: Array) -> Array | None:
    """Values around their mean; None where they vary by no more than float32's rounding."""
    centred: Array = values - values.mean()
    constant = np.linalg.norm(centred) <= 1e-6 * np.linalg.norm(values) + 1e-12
    return None if constant else centred


def _exclusive(predicted: Array, true: Array) -> bool:
    return bool(true.shape[1] == 1 < predicted.shape[1])


def _each(figure: Callable[[Array, Array], float | None]) -> Callable[[Array, Array], list[float | None]]:
    """The figure of each column."""
    return lambda predicted, true: [figure(predicted[:, i], true[:, i]) for i in range(true.shape[1])]


def _recalls(predicted: Array, true: Array) -> list[float | None]:
    """The share of each class's rows that were recognised; for classes that may be together, of right decisions."""
    got, want = decisions(predicted, true)
    if not _exclusive(predicted, true):
        return [float(np.mean(got[:, i] == want[:, i])) for i in range(want.shape[1])]
    return [float(np.mean(got[rows, i])) if (rows := want[:, i]).any() else None for i in range(want.shape[1])]


def _accuracy(predicted: Array, true: Array) -> float | None:
    """The share of rows whose best class is right; for classes that may be together, of rows without a mistake."""
    got, want = decisions(predicted, true)
    return float(np.mean((got == want).all(1)))


def _f1s(predicted: Array, true: Array) -> list[float | None]:
    got, want = decisions(predicted, true)
    return [f1_of(got[:, i], want[:, i]) for i in range(want.shape[1])]


def _average_precisions(predicted: Array, true: Array) -> list[float | None]:
    _, want = decisions(predicted, true)
    return [average_precision_of(predicted[:, i], want[:, i]) for i in range(want.shape[1])]


def _mae(predicted: Array, true: Array) -> float | None:
    return float(np.mean(np.abs(predicted.astype(np.float64) - true)))


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("pearson", "regression", True, _each(pearson_of)),
        Metric("ccc", "regression", True, _each(ccc_of)),
        Metric("mae", "regression", False, _each(_mae)),
        Metric("accuracy", "classes", True, _recalls, _accuracy),
        Metric("macro_f1", "classes", True, _f1s),
        Metric("average_precision", "classes", True, _average_precisions),
    )
}
#: What judges an output where nobody says otherwise.
USUAL_METRIC = {"regression": "pearson", "classes": "accuracy"}
#: Correlations with the labels: one that is undefined, because all predictions are equal, is worth no more than 0.
CORRELATIONS = ("pearson", "ccc")

"""Counting what a precision costs: the model's own metric on labels, and how many labels change.

The metric is the one that the manifest names, or a function of the user's. Predictions and labels are arrays by output:
(N, n) for numbers and for classes that do not exclude each other; labels of classes that do are their numbers, (N,).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from taemi_edge.bundle.outputs import PRESENT_FROM, ClassesSpec, OutputSpec
from taemi_edge.bundle.values import Array
from taemi_edge.errors import CalibrationError
from taemi_edge.parity.metrics import pearson_of

#: A metric of one output: what the head gives as a metric reads it, (N, n), and the labels.
OutputMetric = Callable[[OutputSpec, Array, Array], float | None]
#: A user's metric: predictions and labels of the only output, or of each output by name.
UserMetric = Callable[..., float | None]


@dataclass(frozen=True, eq=False)
class Scorer:
    """The metric that a calibration counts.

    Attributes:
        name: what reports call it.
        outputs: of the model.
        higher_is_better: whether a loss is a fall or a rise of it.
        follows_pearson: whether the correlation with FP32 bounds its loss, so that labels add nothing but their noise
            where blocks are chosen on few clips.
        per_output: the metric of one output; the mean over outputs counts. None with `function`.
        function: a user's own metric.
    """

    name: str
    outputs: Mapping[str, OutputSpec]
    higher_is_better: bool = True
    follows_pearson: bool = False
    per_output: OutputMetric | None = None
    function: UserMetric | None = None

    @property
    def counts_rows(self) -> bool:
        """Whether the metric moves in steps of single clips, because it counts labels."""
        return any(isinstance(spec, ClassesSpec) for spec in self.outputs.values())

    def score(self, raw: Mapping[str, Array], labels: Sequence[Mapping[str, Array]]) -> float | None:
        """Score predictions; None where there are no labels, or the metric is undefined.

        Args:
            raw: what the head gave, (N, n) by output.
            labels: of each of the N clips, by output; NaN where a clip has none.

        Raises:
            CalibrationError: the user's metric raises, or gives no number.
        """
        predicted, true = {}, {}
        for name, spec in self.outputs.items():
            stacked = np.array([clip[name] for clip in labels])
            known = ~np.isnan(stacked.reshape(len(stacked), -1)).any(1) if len(stacked) else np.zeros(0, bool)
            if not known.any():
                continue
            predicted[name], true[name] = spec.values(raw[name][known]), stacked[known]
        if not true:
            return None
        if self.function is not None:
            return self._by_user(self.function, predicted, true)
        of_output = self.per_output or _pearson
        found = [of_output(self.outputs[name], predicted[name], true[name]) for name in true]
        defined = [value for value in found if value is not None]
        return float(np.mean(defined)) if defined else None

    def loss(self, before: float | None, after: float | None) -> float | None:
        """How much worse `after` is than `before`, in the metric's unit; below 0 where it is better."""
        if before is None or after is None:
            return None
        return before - after if self.higher_is_better else after - before

    def _by_user(self, function: UserMetric, predicted: dict[str, Array], true: dict[str, Array]) -> float | None:
        single = len(self.outputs) == 1
        arguments = [next(iter(each.values())) if single else each for each in (predicted, true)]
        try:
            value = function(*arguments)
            return None if value is None or not np.isfinite(float(value)) else float(value)
        except Exception as error:
            raise CalibrationError(
                f"expected a number from the metric {self.name}(predicted, true), it raised {type(error).__name__}: "
                f"{error}"
            ) from error


def count_flips(outputs: Mapping[str, OutputSpec], want: Mapping[str, Array], got: Mapping[str, Array]) -> float | None:
    """Give the share of rows whose label differs: the best class, or a class that is present or not.

    Args:
        outputs: of the model.
        want, got: what the head gave, (N, n) by output.

    Returns:
        The largest share of any group of classes; None where the model has none.

    Example:
        >>> outputs = {"valve": ClassesSpec(names=("open", "shut"))}
        >>> count_flips(outputs, {"valve": np.array([[1.0, 0.0], [0.0, 1.0]])}, {"valve": np.array([[1.0, 0], [1, 0]])})
        0.5
    """
    shares = [
        float((labels_of(spec, want[name]) != labels_of(spec, got[name])).any(1).mean())
        for name, spec in outputs.items()
        if isinstance(spec, ClassesSpec) and len(want[name])
    ]
    return max(shares, default=None)


def labels_of(spec: ClassesSpec, raw: Array) -> Array:
    """The labels of rows (N, n): the best class, (N, 1), or which classes are present, (N, n)."""
    if spec.exclusive:
        best: Array = raw.argmax(1)[:, None]
        return best
    present: Array = spec.values(raw) >= PRESENT_FROM
    return present


def _pearson(spec: OutputSpec, predicted: Array, true: Array) -> float | None:
    if true.ndim == 1:
        return None
    found = [pearson_of(predicted[:, i], true[:, i]) for i in range(true.shape[1])]
    known = [value for value in found if value is not None]
    return float(np.mean(known)) if known else None


def _mae(spec: OutputSpec, predicted: Array, true: Array) -> float | None:
    return None if true.ndim == 1 else float(np.abs(predicted - true).mean())


def _accuracy(spec: OutputSpec, predicted: Array, true: Array) -> float | None:
    if not isinstance(spec, ClassesSpec):
        return None
    if true.ndim == 1:
        return float((predicted.argmax(1) == true).mean())
    return float(((predicted >= PRESENT_FROM) == (true >= PRESENT_FROM)).all(1).mean())


_NAMED: dict[str, tuple[OutputMetric, bool]] = {
    "pearson": (_pearson, True),
    "mae": (_mae, False),
    "accuracy": (_accuracy, True),
}
_CORRELATIONS = ("pearson", "ccc")


def scorer_of(outputs: Mapping[str, OutputSpec], metric: str | UserMetric) -> Scorer:
    """Give the scorer of a metric.

    Args:
        outputs: of the model.
        metric: the name of a metric, or a function `metric(predicted, true)` of the user's; the larger its value the
            better, unless it has an attribute `higher_is_better` that is False.

    Raises:
        CalibrationError: there is no metric of that name.
    """
    if not isinstance(metric, str):
        better = bool(getattr(metric, "higher_is_better", True))
        return Scorer(getattr(metric, "__name__", "own"), outputs, better, function=metric)
    if metric not in _NAMED:
        known = ", ".join(_NAMED)
        raise CalibrationError(
            f"expected one of {known}, or --metric FILE.py:FUNCTION, got the metric {metric!r}"
            + (": the model's own metric is a function; name it" if metric == "own" else "")
        )
    function, better = _NAMED[metric]
    return Scorer(metric, outputs, better, metric in _CORRELATIONS, per_output=function)

"""Judging the predictions of a model by its own metric: a named one, or a function of the user's.

`Judge` knows the outputs of the model. Labels are arrays by output: (N, n) for numbers and for classes that may be
together, (N, 1) with the number of the class where classes exclude each other; NaN where a row has no label.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from taemi_edge.bundle.outputs import ClassesSpec, OutputSpec, RegressionSpec
from taemi_edge.bundle.values import Array, Frozen
from taemi_edge.errors import UsageError
from taemi_edge.parity.metrics import METRICS, USUAL_METRIC, Interval, Metric, calibration_slope, mean_of

#: A function of predicted and true values: arrays where the model has one output, else dicts of arrays by output.
#: The larger its value the better, unless it has an attribute `higher_is_better` that is False.
UserMetric = Callable[[Any, Any], float | None]
#: How a manifest calls a metric that is a function of the user's.
OWN_METRIC = "own"


class OutputScore(Frozen, frozen=True):
    """How good one output is.

    Attributes:
        metric: by which metric it is judged.
        value: the figure of the whole output; None where it is undefined.
        by_name: of each number or class.
        others: the figures of further metrics that the output declares, by metric.
        mse: of numbers, the mean squared error.
        slope: of numbers, the slope of the labels on the predictions: 1 where a predicted .4 means .4.
        rows: how many rows have a label.
    """

    metric: str
    value: float | None
    by_name: dict[str, float | None]
    others: dict[str, float | None]
    mse: float | None
    slope: float | None
    rows: int


class Score(Frozen, frozen=True):
    """How good predictions are over a whole split. Nothing is averaged over batches.

    Attributes:
        metric: what `value` is measured in.
        value: the mean over the outputs that the metric fits; None where it is undefined for all.
        interval: the 95 % bootstrap interval of `value`; None where there are too few rows.
        outputs: of each output.
        clips: how many rows there are.
    """

    metric: str
    value: float | None
    interval: Interval | None
    outputs: dict[str, OutputScore]
    clips: int


@dataclass(frozen=True, eq=False)
class Judge:
    """Judges predictions by a metric.

    Args:
        outputs: of the model.
        metric: the name of a metric, or a function of predicted and true values. A named metric counts for the
            outputs that it fits; the others are judged by the first metric that they declare, or by what is usual.

    Raises:
        UsageError: there is no metric of that name.

    Example:
        >>> judge = Judge({"door": ClassesSpec(names=("open", "shut"))}, "accuracy")
        >>> judge.value({"door": np.array([[2.0, 1.0], [0.5, 0.1]])}, {"door": np.array([[0.0], [1.0]])})
        0.5
    """

    outputs: Mapping[str, OutputSpec]
    metric: str | UserMetric

    def __post_init__(self) -> None:
        declared = [(name, output) for output, spec in self.outputs.items() for name in spec.metrics]
        for name, output in ([(self.metric, "")] if isinstance(self.metric, str) else []) + declared:
            if output and name in METRICS and not fits(METRICS[name], self.outputs[output]):
                raise UsageError(
                    f"output {output!r}: expected another metric, {name!r} is one for {METRICS[name].kind}"
                )
            if name not in METRICS:
                own = ": this model's metric is a function of its maker's, name it" if name == OWN_METRIC else ""
                raise UsageError(
                    f"expected the metric {', '.join(METRICS)} or a function of predicted and true values, got "
                    f"{name!r}{own}"
                )

    @cached_property
    def name(self) -> str:
        """What reports call the metric."""
        return self._headline.name if self._headline else getattr(self.metric, "__name__", OWN_METRIC)

    @property
    def higher_is_better(self) -> bool:
        """Whether a loss is a fall of the metric."""
        if self._headline:
            return self._headline.higher_is_better
        return bool(getattr(self.metric, "higher_is_better", True))

    @cached_property
    def _headline(self) -> Metric | None:
        """The metric of `value`; None for a function of the user's."""
        if not isinstance(self.metric, str):
            return None
        wanted = METRICS[self.metric]
        if any(fits(wanted, spec) for spec in self.outputs.values()):
            return wanted
        return self.metric_of(next(iter(self.outputs)))

    def metric_of(self, output: str) -> Metric:
        """The named metric of one output."""
        spec = self.outputs[output]
        kind = "regression" if isinstance(spec, RegressionSpec) else "classes"
        names = [self.metric] if isinstance(self.metric, str) else []
        return next(METRICS[n] for n in (*names, *spec.metrics, USUAL_METRIC[kind]) if fits(METRICS[n], spec))

    def loss(self, before: float | None, after: float | None) -> float | None:
        """How much worse `after` is than `before`, in the metric's unit; below 0 where it is better."""
        if before is None or after is None:
            return None
        return before - after if self.higher_is_better else after - before

    def value(self, raw: Mapping[str, Array], true: Mapping[str, Array]) -> float | None:
        """The metric over all rows; None where no row has a label, or it is undefined.

        Args:
            raw: what the head gave, (N, n) by output.
            true: the labels, by output.

        Raises:
            UsageError: the user's function raises, or gives no number.
        """
        return self._value(*self._pairs(raw, true))

    def score(self, raw: Mapping[str, Array], true: Mapping[str, Array], resamples: int = 1000, seed: int = 0) -> Score:
        """Judge predictions.

        Args:
            raw: what the head gave, (N, n) by output.
            true: the labels, by output.
            resamples: bootstrap samples over rows for the interval; 0 leaves the interval out.
            seed: of the bootstrap.
        """
        predicted, labels = self._pairs(raw, true)
        count = len(next(iter(labels.values())))
        bootstrap = resamples and count > 2
        return Score(
            metric=self.name,
            value=self._value(predicted, labels),
            interval=self._bootstrap(predicted, labels, resamples, seed) if bootstrap else None,
            outputs={name: self._output_score(name, predicted[name], labels[name]) for name in self.outputs},
            clips=count,
        )

    def _pairs(self, raw: Mapping[str, Array], true: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        """What a metric reads of both sides, (N, n) by output."""
        predicted = {name: spec.values(raw[name]) for name, spec in self.outputs.items()}
        return predicted, {n: np.reshape(true[n], (len(predicted[n]), label_size(s))) for n, s in self.outputs.items()}

    def _value(self, predicted: Mapping[str, Array], true: Mapping[str, Array]) -> float | None:
        if self._headline is None:
            return self._users_value(predicted, true)
        found = [
            self._headline.value(*labelled(predicted[name], true[name]))
            for name in self.outputs
            if self.metric_of(name).name == self._headline.name
        ]
        return mean_of(found)

    def _users_value(self, predicted: Mapping[str, Array], true: Mapping[str, Array]) -> float | None:
        """The user's metric on the rows that have every label."""
        known = np.all([~np.isnan(true[name]).any(1) for name in self.outputs], axis=0)
        if not known.any():
            return None
        sides = []
        for side in (predicted, true):
            rows = {name: side[name][known] for name in self.outputs}
            if side is true:
                exclusive = [n for n, spec in self.outputs.items() if isinstance(spec, ClassesSpec) and spec.exclusive]
                rows |= {name: np.rint(rows[name][:, 0]).astype(np.int64) for name in exclusive}
            sides.append(next(iter(rows.values())) if len(rows) == 1 else rows)
        assert callable(self.metric)  # noqa: S101  (a function: there is no named metric)
        try:
            value = self.metric(*sides)
            number = float("nan") if value is None else float(value)
        except Exception as error:
            raise UsageError(
                f"expected a number from the metric {self.name}(predicted, true), it raised {type(error).__name__}: "
                f"{error}"
            ) from error
        return number if np.isfinite(number) else None

    def _bootstrap(
        self, predicted: Mapping[str, Array], true: Mapping[str, Array], resamples: int, seed: int
    ) -> Interval | None:
        rng = np.random.default_rng(seed)
        count = len(next(iter(true.values())))
        values = []
        for _ in range(resamples):
            chosen = rng.integers(count, size=count)
            drawn = [{name: side[name][chosen] for name in self.outputs} for side in (predicted, true)]
            if (value := self._value(*drawn)) is not None:
                values.append(value)
        if not values:
            return None
        low, high = np.quantile(values, [0.025, 0.975])
        return Interval(low=float(low), high=float(high))

    def _output_score(self, output: str, predicted: Array, true: Array) -> OutputScore:
        metric, spec = self.metric_of(output), self.outputs[output]
        numbers = isinstance(spec, RegressionSpec)
        predicted, true = labelled(predicted, true)
        columns = metric.by_name(predicted, true) if len(true) else [None] * spec.size
        return OutputScore(
            metric=metric.name,
            value=metric.value(predicted, true),
            by_name=dict(zip(spec.names, columns, strict=True)),
            others={n: METRICS[n].value(predicted, true) for n in spec.metrics if n != metric.name},
            mse=float(np.mean((predicted.astype(np.float64) - true) ** 2)) if numbers and len(true) else None,
            slope=calibration_slope(predicted, true) if numbers else None,
            rows=len(true),
        )


def fits(metric: Metric, spec: OutputSpec) -> bool:
    """Whether a metric can judge an output."""
    return (metric.kind == "regression") == isinstance(spec, RegressionSpec)


def labelled(predicted: Array, true: Array) -> tuple[Array, Array]:
    """The rows that have a label."""
    known = ~np.isnan(true).any(1)
    return predicted[known], true[known]


def label_size(spec: OutputSpec) -> int:
    """How many numbers the label of one row has: 1 where classes exclude each other, else one for each name."""
    return 1 if isinstance(spec, ClassesSpec) and spec.exclusive else spec.size


def split_labels(flat: Array, outputs: Mapping[str, OutputSpec]) -> dict[str, Array]:
    """Take labels (N, L), the outputs' numbers side by side, apart by output."""
    sizes = [label_size(spec) for spec in outputs.values()]
    parts = np.split(np.asarray(flat, np.float64).reshape(-1, sum(sizes)), np.cumsum(sizes)[:-1], axis=1)
    return dict(zip(outputs, parts, strict=True))

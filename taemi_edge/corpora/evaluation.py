"""What an evaluation found: scores by set of streams, and how they are written as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from taemi_edge.bundle.values import Frozen
from taemi_edge.parity.judge import Score
from taemi_edge.parity.metrics import Interval, mean_of

Tokens = Literal["learned", "zeros"]
#: What the JSON of an evaluation begins with; they follow from the rest.
_FIRST = ("value", "mean_over_patterns", "worst_pattern")


class Evaluation(Frozen, frozen=True):
    """The result of evaluating one model on one split.

    A figure is None where it is undefined, because predictions or labels are constant; `remarks` say so.

    Attributes:
        artefact: what was evaluated.
        trained_on: what its head was trained on; empty where it was not trained.
        data: the name of the corpus.
        synthetic: whether the corpus is synthetic.
        split: train, valid, test or all.
        tokens: what was bound for missing streams.
        metric: by which metric `value` judges; `outputs` of each score say which metric each output has.
        higher_is_better: whether a higher value is a better one.
        clean: the score of the clips that have every stream.
        natural: the score of the whole split as it is.
        patterns: the score of the whole split with only the named streams left, by the name of the pattern.
        streams: of the model, in its order.
        remarks: what is undefined and why, and which clips were left out.
    """

    artefact: str
    trained_on: str
    data: str
    synthetic: bool
    split: str
    tokens: Tokens
    metric: str
    higher_is_better: bool
    clean: Score
    natural: Score
    patterns: dict[str, Score]
    streams: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def value(self) -> float | None:
        """The metric on clean data: on the clips that have every stream."""
        return self.clean.value

    @property
    def mean_over_patterns(self) -> float | None:
        """The mean of the metric over all sets of streams but the empty one."""
        return mean_of(list(self._by_pattern().values()))

    @property
    def worst_pattern(self) -> str | None:
        """The set of streams, but for the empty one, in which the metric is worst; None where it is undefined."""
        known = {name: value for name, value in self._by_pattern().items() if value is not None}
        if not known:
            return None
        return (min if self.higher_is_better else max)(known, key=lambda name: known[name])

    def _by_pattern(self) -> dict[str, float | None]:
        lost = {name: score.value for name, score in self.patterns.items() if name != "none"}
        return {"natural": self.natural.value, **lost}


class PearsonScore(Frozen, frozen=True):
    """A score as JSON, where the only output is numbers judged by Pearson's correlation.

    Attributes:
        mean_pearson: the mean over the numbers; None where it is undefined for all.
        interval: its 95 % bootstrap interval; None where there are too few clips.
        pearson: of each number.
        mse: the mean squared error.
        slope: that of the labels on the predictions: 1 where a predicted .4 means .4.
        clips: how many there are.
    """

    mean_pearson: float | None
    interval: Interval | None
    pearson: dict[str, float | None]
    mse: float | None
    slope: float | None
    clips: int


class PearsonEvaluation(Frozen, frozen=True):
    """`evaluate --json` of a model whose only output is numbers judged by Pearson's correlation.

    Attributes:
        mean_pearson: on clean data, the clips that have every stream.
        artefact: what was evaluated.
        trained_on: what its head was trained on; empty where it was not trained.
        data: the name of the corpus.
        synthetic: whether the corpus is synthetic.
        split: train, valid, test or all.
        tokens: what was bound for missing streams.
        clean: the score of the clips that have every stream.
        natural: the score of the whole split as it is.
        patterns: the score of the whole split with only the named streams left, by the name of the pattern.
        remarks: what is undefined and why, and which clips were left out.
    """

    mean_pearson: float | None
    artefact: str
    trained_on: str
    data: str
    synthetic: bool
    split: str
    tokens: Tokens
    clean: PearsonScore
    natural: PearsonScore
    patterns: dict[str, PearsonScore]
    remarks: tuple[str, ...]


class AnyEvaluation(Frozen, frozen=True):
    """`evaluate --json` of any other model: four figures first, and then what an `Evaluation` has.

    Attributes:
        metric: by which metric the model is judged; each output of a score has one of its own.
        value: the metric on clean data, the clips that have every stream.
        mean_over_patterns: the mean of the metric over all sets of streams but the empty one.
        worst_pattern: the set of streams, but for the empty one, in which the metric is worst.
    """

    metric: str
    value: float | None
    mean_over_patterns: float | None
    worst_pattern: str | None
    artefact: str
    trained_on: str
    data: str
    synthetic: bool
    split: str
    tokens: Tokens
    higher_is_better: bool
    clean: Score
    natural: Score
    patterns: dict[str, Score]
    streams: tuple[str, ...]
    remarks: tuple[str, ...]


def evaluation_json(evaluation: Evaluation) -> dict[str, Any]:
    """What `evaluate --json` writes: a `PearsonEvaluation` or an `AnyEvaluation`, in the order of its fields."""
    content = {name: getattr(evaluation, name) for name in (*Evaluation.__struct_fields__, *_FIRST)}
    if evaluation.metric == "pearson" and len(evaluation.clean.outputs) == 1:
        content["mean_pearson"] = evaluation.value
        content |= {name: _pearson_score(content[name]) for name in ("clean", "natural")}
        content["patterns"] = {name: _pearson_score(score) for name, score in evaluation.patterns.items()}
        return _as_json(PearsonEvaluation, content)
    return _as_json(AnyEvaluation, content)


def _as_json(kind: type[Frozen], content: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(kind(**{name: content[name] for name in kind.__struct_fields__}))
    return found


def _pearson_score(score: Score) -> PearsonScore:
    [output] = score.outputs.values()
    return PearsonScore(
        mean_pearson=score.value,
        interval=score.interval,
        pearson=output.by_name,
        mse=output.mse,
        slope=output.slope,
        clips=score.clips,
    )


def undefined_figures(scores: Mapping[str, Score]) -> list[str]:
    """A remark for each set of streams in which a figure is undefined, with the reason."""
    remarks = []
    for name, score in scores.items():
        for output, found in score.outputs.items():
            undefined = [label for label, value in found.by_name.items() if value is None]
            of_output = "" if len(score.outputs) == 1 else f" of {output}"
            figure = f"{_FIGURES.get(found.metric, found.metric)}{of_output}"
            if len(undefined) == len(found.by_name):
                why = "every prediction is the same" if found.rows else "there is no clip"
                why = "no clip has a label" if score.clips and not found.rows else why
                remarks.append(f"{'no signal' if name == 'none' else name}: {figure} is undefined, {why}")
            elif undefined and found.metric in _OF_CONSTANTS:
                remarks.append(f"{name}: {figure} is undefined for {', '.join(undefined)}, which do not vary")
    return remarks


#: How remarks call metrics.
_FIGURES = {"pearson": "Pearson"}
#: Metrics that are undefined where predictions or labels are constant; others are where a class has no row.
_OF_CONSTANTS = ("pearson", "ccc")

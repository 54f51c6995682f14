"""What an evaluation found: scores by set of streams, and how they are written as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from taemi_edge.bundle.values import Frozen
from taemi_edge.parity.judge import Score
from taemi_edge.parity.metrics import mean_of

Tokens = Literal["learned", "zeros"]


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


def evaluation_json(evaluation: Evaluation) -> dict[str, Any]:
    """What `evaluate --json` writes.

    A model whose only output is numbers judged by Pearson's correlation has `mean_pearson` first, and scores of
    `mean_pearson`, `pearson`, `mse` and `slope`. Any other model has `metric` and `value` first.
    """
    described = msgspec.to_builtins(evaluation)
    scores = {"clean": evaluation.clean, "natural": evaluation.natural}
    if evaluation.metric == "pearson" and len(evaluation.clean.outputs) == 1:
        del described["metric"], described["higher_is_better"], described["streams"]
        described |= {name: _pearson_json(score) for name, score in scores.items()}
        described["patterns"] = {name: _pearson_json(score) for name, score in evaluation.patterns.items()}
        return {"mean_pearson": evaluation.value, **described}
    summary = {"metric": evaluation.metric, "value": evaluation.value}
    summary |= {"mean_over_patterns": evaluation.mean_over_patterns, "worst_pattern": evaluation.worst_pattern}
    return {**summary, **described}


def _pearson_json(score: Score) -> dict[str, Any]:
    [output] = score.outputs.values()
    interval = msgspec.to_builtins(score.interval)
    figures = {"mean_pearson": score.value, "interval": interval, "pearson": output.by_name}
    return {**figures, "mse": output.mse, "slope": output.slope, "clips": score.clips}


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

"""Drawing evaluations of a model side by side, such as with learned tokens and with zeros."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from taemi_edge.bundle.atomic import new_file
from taemi_edge.bundle.streams import lost_name
from taemi_edge.bundle.training_data import training_mark
from taemi_edge.bundle.values import Array
from taemi_edge.corpora.evaluation import Evaluation
from taemi_edge.palette import series_colours
from taemi_edge.pictures import add_note, literal, new_figure, short_label

#: The colour of a bar that stands for all evaluations, and its place in the legend.
_ALIKE_COLOUR = "0.55"
#: More names than these are written upright, and make the picture wider.
_MANY_NAMES = 20


@dataclass(frozen=True, eq=False)
class _Bars:
    """What is drawn of one evaluation: a value for each name, and how far its interval reaches below and above."""

    values: Array
    low: Array
    high: Array

    @classmethod
    def of_scores(cls, evaluation: Evaluation) -> _Bars:
        """The metric of each set of streams, 0 where it is undefined."""
        scores = [evaluation.clean, evaluation.natural, *evaluation.patterns.values()]
        values = np.array([score.value or 0.0 for score in scores])
        ends = [
            (s.interval.low, s.interval.high) if s.interval else (v, v) for v, s in zip(values, scores, strict=True)
        ]
        low, high = np.array(ends).T
        return cls(values, np.maximum(values - low, 0), np.maximum(high - values, 0))

    @classmethod
    def of_names(cls, evaluation: Evaluation) -> _Bars:
        """The metric of each number and class, on clips with every stream."""
        outputs = evaluation.clean.outputs.values()
        values = np.array([value or 0.0 for output in outputs for value in output.by_name.values()])
        return cls(values, np.zeros_like(values), np.zeros_like(values))


def plot_evaluation(evaluations: Sequence[Evaluation], file: Path) -> None:
    """Draw the metric of each set of streams with its interval, and that of each number and class.

    Each evaluation has its own colour. Where all of them are the same, as with every stream, where nothing stands for a
    missing one, there is one bar for all.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    first = evaluations[0]
    names = ["clean", "natural", *(lost_name(pattern, first.streams) for pattern in first.patterns)]
    labels = [short_label(label) for output in first.clean.outputs.values() for label in output.by_name]
    figure = new_figure((max(11.0, 4 + 0.16 * (len(names) + len(labels))), 4.5 if len(names) < _MANY_NAMES else 6.0))
    by_pattern, by_name = figure.subplots(1, 2, width_ratios=[max(len(names), 8), max(len(labels), 6)])
    called = [_called(evaluation) for evaluation in evaluations]
    _draw(by_pattern, [_Bars.of_scores(evaluation) for evaluation in evaluations], names, called)
    _draw(by_name, [_Bars.of_names(evaluation) for evaluation in evaluations], labels, called)
    metric = "mean Pearson" if first.metric == "pearson" else first.metric.replace("_", " ")
    metrics = dict.fromkeys(output.metric.replace("_", " ") for output in first.clean.outputs.values())
    by_pattern.set(ylabel=f"{metric} (lines: 95 % interval)", title=literal(f"{first.data}, split {first.split}"))
    by_pattern.legend(frameon=False, fontsize=8)
    by_name.set(
        ylabel=f"{', '.join(metrics)}, clean".replace("pearson", "Pearson"), title="by output, every stream there"
    )
    add_note(figure, "; ".join(dict.fromkeys(filter(None, (training_mark(e.trained_on) for e in evaluations)))))
    with new_file(file) as draft:
        figure.savefig(draft, dpi=110)


def _called(evaluation: Evaluation) -> str:
    label = literal(f"{evaluation.artefact}, {evaluation.tokens} tokens")
    return label.replace("zeros tokens", "zeros for tokens")


def _draw(axis: Any, bars: Sequence[_Bars], names: Sequence[str], called: Sequence[str]) -> None:
    """Draw a bar of each evaluation for each name, or one for all of them where they do not differ."""
    alike = np.array([_same(bars, at) for at in range(len(names))], bool)
    width, places = 0.8 / len(bars), np.arange(len(names))
    for number, (one, colour) in enumerate(zip(bars, series_colours(len(bars)), strict=True)):
        if not alike.all():
            offset = (number - (len(bars) - 1) / 2) * width
            _draw_bars(axis, one, ~alike, places + offset, (width, colour, called[number]))
    if alike.any():
        shown = "both" if len(bars) == 2 else f"all {len(bars)}"
        label = called[0] if len(bars) == 1 else f"the same with {shown}"
        colour = series_colours(1)[0] if len(bars) == 1 else _ALIKE_COLOUR
        _draw_bars(axis, bars[0], alike, places, (0.5, colour, label))
    many = len(names) >= _MANY_NAMES
    axis.set_xticks(range(len(names)), names, rotation=90 if many else 35, ha="right")
    axis.axhline(0, color="0.3", linewidth=0.8)
    axis.grid(axis="y", alpha=0.25)


def _same(bars: Sequence[_Bars], at: int) -> bool:
    rows = [(one.values[at], one.low[at], one.high[at]) for one in bars]
    return bool(np.allclose(rows, rows[0], rtol=1e-6, atol=1e-9))


def _draw_bars(axis: Any, bars: _Bars, chosen: Array, places: Array, look: tuple[float, str, str]) -> None:
    width, colour, label = look
    errors = np.array([bars.low[chosen], bars.high[chosen]])
    lines = errors.tolist() if errors.any() else None  # an array of one column: DeprecationWarning in matplotlib 3.10
    axis.bar(places[chosen], bars.values[chosen], width, yerr=lines, color=colour, label=label, capsize=2)

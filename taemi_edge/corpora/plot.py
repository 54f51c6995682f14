"""Drawing evaluations of a model side by side, such as with learned tokens and with zeros."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from taemi_edge.bundle.atomic import new_file
from taemi_edge.bundle.streams import lost_name
from taemi_edge.corpora.evaluation import Evaluation
from taemi_edge.pictures import SERIES_COLOURS, literal, new_figure, short_label


def plot_evaluation(evaluations: Sequence[Evaluation], file: Path) -> None:
    """Draw the metric of each set of streams with its interval, and that of each number and class.

    Each evaluation has its own colour.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    first = evaluations[0]
    names = ["clean", "natural", *(lost_name(pattern, first.streams) for pattern in first.patterns)]
    labels = [short_label(label) for output in first.clean.outputs.values() for label in output.by_name]
    figure = new_figure((max(11.0, 4 + 0.16 * (len(names) + len(labels))), 4.5 if len(names) < 20 else 6.0))
    shares = [max(len(names), 8), max(len(labels), 6)]
    by_pattern, by_name = figure.subplots(1, 2, width_ratios=shares)
    width = 0.8 / len(evaluations)
    for number, (evaluation, colour) in enumerate(zip(evaluations, SERIES_COLOURS, strict=False)):
        scores = [evaluation.clean, evaluation.natural, *evaluation.patterns.values()]
        offset = (number - (len(evaluations) - 1) / 2) * width
        label = literal(f"{evaluation.artefact}, {evaluation.tokens} tokens")
        label = label.replace("zeros tokens", "zeros for tokens")
        values = [found.value or 0.0 for found in scores]
        low = [v - (s.interval.low if s.interval else v) for v, s in zip(values, scores, strict=True)]
        high = [(s.interval.high if s.interval else v) - v for v, s in zip(values, scores, strict=True)]
        errors = np.clip([low, high], 0, None)
        at = np.arange(len(names)) + offset
        by_pattern.bar(at, values, width, yerr=errors, color=colour, label=label, capsize=2)
        found = [value or 0.0 for output in evaluation.clean.outputs.values() for value in output.by_name.values()]
        by_name.bar(np.arange(len(labels)) + offset, found, width, color=colour)
    metric = "mean Pearson" if first.metric == "pearson" else first.metric.replace("_", " ")
    metrics = dict.fromkeys(output.metric.replace("_", " ") for output in first.clean.outputs.values())
    by_pattern.set(ylabel=f"{metric} (bars: 95 % interval)", title=literal(f"{first.data}, split {first.split}"))
    by_pattern.set_xticks(range(len(names)), names, rotation=35 if len(names) < 20 else 90, ha="right")
    by_pattern.legend(frameon=False, fontsize=8)
    by_name.set(ylabel=f"{', '.join(metrics)}, clean".replace("pearson", "Pearson"), title="by output")
    by_name.set_xticks(range(len(labels)), labels, rotation=35 if len(labels) < 20 else 90, ha="right")
    for axis in (by_pattern, by_name):
        axis.axhline(0, color="0.3", linewidth=0.8)
        axis.grid(axis="y", alpha=0.25)
    with new_file(file) as draft:
        figure.savefig(draft, dpi=110)

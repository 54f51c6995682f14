"""Drawing evaluations of a model side by side, such as with learned tokens and with zeros."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from taemi_edge.bundle.atomic import new_file
from taemi_edge.bundle.spec import EMOTIONS
from taemi_edge.bundle.streams import lost_name
from taemi_edge.corpora.evaluate import Evaluation
from taemi_edge.pictures import EMOTION_COLOURS, new_figure


def plot_evaluation(evaluations: Sequence[Evaluation], file: Path) -> None:
    """Draw the mean Pearson of each set of streams with its interval, and the Pearson of each emotion.

    Each evaluation has its own colour.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure = new_figure((11, 4.5))
    by_pattern, by_emotion = figure.subplots(1, 2)
    first = evaluations[0]
    names = ["clean", "natural", *map(lost_name, first.patterns)]
    width = 0.8 / len(evaluations)
    for number, (evaluation, colour) in enumerate(zip(evaluations, EMOTION_COLOURS, strict=False)):
        scores = [evaluation.clean, evaluation.natural, *evaluation.patterns.values()]
        offset = (number - (len(evaluations) - 1) / 2) * width
        label = f"{evaluation.artefact}, {evaluation.tokens} tokens".replace("zeros tokens", "zeros for tokens")
        means = [found.mean_pearson or 0.0 for found in scores]
        low = [m - (s.interval.low if s.interval else m) for m, s in zip(means, scores, strict=True)]
        high = [(s.interval.high if s.interval else m) - m for m, s in zip(means, scores, strict=True)]
        errors = np.clip([low, high], 0, None)
        by_pattern.bar(np.arange(len(names)) + offset, means, width, yerr=errors, color=colour, label=label, capsize=2)
        pearson = [evaluation.clean.pearson[emotion] or 0.0 for emotion in EMOTIONS]
        by_emotion.bar(np.arange(len(EMOTIONS)) + offset, pearson, width, color=colour)
    by_pattern.set(ylabel="mean Pearson (bars: 95 % interval)", title=f"{first.data}, split {first.split}")
    by_pattern.set_xticks(range(len(names)), names, rotation=35, ha="right")
    by_pattern.legend(frameon=False, fontsize=8)
    by_emotion.set(ylabel="Pearson, clean", title="by emotion")
    by_emotion.set_xticks(range(len(EMOTIONS)), [e.replace("_", " ") for e in EMOTIONS], rotation=35, ha="right")
    for axis in (by_pattern, by_emotion):
        axis.axhline(0, color="0.3", linewidth=0.8)
        axis.grid(axis="y", alpha=0.25)
    with new_file(file) as draft:
        figure.savefig(draft, dpi=110)

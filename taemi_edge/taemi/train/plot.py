"""Drawing the loss and the score of a training run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from taemi_edge.bundle.atomic import new_file
from taemi_edge.pictures import SERIES_COLOURS, new_figure
from taemi_edge.taemi.train.trainer import EpochMetrics


def plot_training(history: Sequence[EpochMetrics], file: Path) -> None:
    """Draw the training loss and, where there is a valid split, its mean Pearson over the epochs.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure = new_figure((7, 4))
    losses = figure.subplots()
    epochs = [line.epoch for line in history]
    losses.plot(epochs, [line.loss for line in history], color=SERIES_COLOURS[0], label="training loss")
    losses.set(xlabel="epoch", ylabel="loss")
    losses.grid(alpha=0.25)
    handles, _ = losses.get_legend_handles_labels()
    scored = [(line.epoch, line.valid_mean_pearson) for line in history if line.valid_mean_pearson is not None]
    if scored:
        right = losses.twinx()
        right.plot(*zip(*scored, strict=True), color=SERIES_COLOURS[1], label="valid mean Pearson")
        best = max(scored, key=lambda pair: pair[1])
        right.plot(*best, "o", color=SERIES_COLOURS[1], label=f"best: {best[1]:.3f} in epoch {best[0]}")
        right.set(ylabel="mean Pearson")
        handles += right.get_legend_handles_labels()[0]
    losses.legend(handles=handles, loc="center right", frameon=False)
    with new_file(file) as draft:
        figure.savefig(draft, dpi=110)

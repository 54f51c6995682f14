"""Plots a run's predictions over time, above the presence of each stream."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from taemi_edge.bundle.atomic import new_file
from taemi_edge.bundle.spec import EMOTIONS, MODALITIES
from taemi_edge.pictures import (
    SERIES_COLOURS,
    STATE_COLOURS,
    new_figure,
)
from taemi_edge.runtime.prediction import Prediction


def plot_timeline(predictions: Sequence[Prediction], file: Path, title: str = "") -> None:
    """Plot six intensities over time, and below them a band for each stream, coloured by its presence.

    Args:
        predictions: at least one, in the order of time.
        file: where to write the picture; its ending is the format.
        title: above the plot.

    Raises:
        OutputError: the file cannot be written.
    """
    figure = new_figure((10, 5))
    curves, bands = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    times = [p.time_s for p in predictions]
    for emotion, colour in zip(EMOTIONS, SERIES_COLOURS, strict=True):
        label = emotion.replace("_", " ")
        curves.plot(times, [p.intensities[emotion] for p in predictions], color=colour, label=label, linewidth=1.8)
    curves.set(ylabel="intensity", title=title)
    curves.grid(alpha=0.25)
    curves.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    hop_s = times[1] - times[0] if len(times) > 1 else 1.0
    edges = [*times, times[-1] + hop_s]  # a prediction holds until the next one
    for row, modality in enumerate(MODALITIES):
        for index, prediction in enumerate(predictions):
            span = (edges[index], edges[index + 1] - edges[index])
            bands.broken_barh([span], (row - 0.4, 0.8), color=STATE_COLOURS[prediction.presence[modality]], linewidth=0)
    bands.set(yticks=range(len(MODALITIES)), yticklabels=MODALITIES, xlabel="time (s)", xlim=(edges[0], edges[-1]))
    bands.invert_yaxis()
    from matplotlib.patches import Patch

    swatches = [Patch(color=colour, label=state) for state, colour in STATE_COLOURS.items()]
    bands.legend(handles=swatches, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    with new_file(file) as draft:
        figure.savefig(draft, dpi=120)

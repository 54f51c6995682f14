"""Plots a run's predictions over time, above the presence of each stream.

Each group of outputs has a plot of its own: curves for a few numbers or classes, and for many a heat map with a row for
each. Numbers that are alone in their groups share a plot where they have the same range.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from taemi_edge.bundle.atomic import new_file
from taemi_edge.bundle.outputs import ClassesSpec, OutputSpec, RegressionSpec
from taemi_edge.bundle.training_data import SYNTHETIC_MARK
from taemi_edge.bundle.values import Array
from taemi_edge.pictures import STATE_COLOURS, add_note, literal, new_figure, series_line, short_label
from taemi_edge.runtime.panel_rows import in_words
from taemi_edge.runtime.prediction import Prediction

#: More numbers or classes than this are drawn as a heat map.
MOST_CURVES = 8
#: Heights in inches: of curves, of a row of a heat map, of a stream's band, and of what stands around a plot.
CURVES_IN, ROW_IN, BAND_IN, AROUND_IN = 3.2, 0.21, 0.27, 0.4


@dataclass(frozen=True)
class OutputPlot:
    """What one plot shows: the names, and the values (names, times), NaN where there is no prediction."""

    title: str
    label: str
    names: tuple[str, ...]
    values: Array
    range: tuple[float, float] | None

    @property
    def is_map(self) -> bool:
        return len(self.names) > MOST_CURVES

    @property
    def height_in(self) -> float:
        return max(CURVES_IN, ROW_IN * len(self.names)) if self.is_map else CURVES_IN


def plot_timeline(
    predictions: Sequence[Prediction], file: Path, title: str = "", outputs: Mapping[str, OutputSpec] | None = None
) -> None:
    """Plot the outputs over time, and below them a band for each stream, coloured by its presence.

    Args:
        predictions: at least one, in the order of time.
        file: where to write the picture; its ending is the format.
        title: above the plot.
        outputs: the groups of outputs as the manifest has them, which gives numbers their range. Without them, what a
            group is follows from the predictions, and axes follow from the values.

    Raises:
        OutputError: the file cannot be written.
    """
    plots = _merged(output_plots(predictions, outputs or outputs_of(predictions)))
    streams = list(predictions[0].presence)
    heights = [*(plot.height_in for plot in plots), max(0.8, BAND_IN * len(streams))]
    figure = new_figure((10, sum(heights) + AROUND_IN * len(heights)))
    *axes, bands = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    times = [p.time_s for p in predictions]
    hop_s = times[1] - times[0] if len(times) > 1 else 1.0
    edges = [*times, times[-1] + hop_s]  # a prediction holds until the next one
    for axis, plot in zip(axes, plots, strict=True):
        (_draw_map if plot.is_map else _draw_curves)(figure, axis, plot, edges)
        axis.set_title(plot.title if len(plots) > 1 else "", loc="left", fontsize=10)
    figure.suptitle(literal(title), fontsize=12)
    _draw_presence(bands, predictions, streams, edges)
    add_note(figure, mark_of(predictions))
    with new_file(file) as draft:
        figure.savefig(draft, dpi=120)


def mark_of(predictions: Sequence[Prediction]) -> str:
    """The mark of a model that was trained on synthetic data; "" where no prediction is of such a one."""
    said = dict.fromkeys(prediction.trained_on for prediction in predictions if prediction.synthetic)
    return f"{SYNTHETIC_MARK}: {'; '.join(said)}" if said else ""


def outputs_of(predictions: Sequence[Prediction]) -> dict[str, OutputSpec]:
    """What the groups of outputs are, by the first prediction that has each of them."""
    found: dict[str, OutputSpec] = {}
    for prediction in predictions:
        for name, described in prediction.outputs.items():
            if described is not None and name not in found:
                classes = described.get("probabilities")
                is_classes = isinstance(classes, Mapping)
                found[name] = (
                    ClassesSpec(names=tuple(classes), exclusive="present" not in described)
                    if is_classes and classes
                    else RegressionSpec(names=tuple(described))
                )
    return found


def output_plots(predictions: Sequence[Prediction], outputs: Mapping[str, OutputSpec]) -> list[OutputPlot]:
    """What is plotted of each group of outputs, in their order."""
    plots = []
    for name, spec in outputs.items():
        classes = isinstance(spec, ClassesSpec)
        values = np.full((spec.size, len(predictions)), np.nan)
        for at, prediction in enumerate(predictions):
            described: Mapping[str, Any] = prediction.outputs.get(name) or {}
            by_name = described.get("probabilities", {}) if classes else described
            values[:, at] = [by_name.get(output, np.nan) for output in spec.names]
        bounds = (0.0, 1.0) if isinstance(spec, ClassesSpec) else spec.range
        label = "probability" if classes else in_words(name)
        plots.append(OutputPlot(in_words(name), label, spec.names, values, bounds))
    return plots


def _merged(plots: Sequence[OutputPlot]) -> list[OutputPlot]:
    """The plots, with neighbours of one number and the same range put together under the names of their groups."""
    merged: list[OutputPlot] = []
    for (alone, bounds), group in groupby(plots, key=lambda plot: (len(plot.names) == 1, plot.range)):
        members = list(group)
        if not alone or len(members) == 1:
            merged += members
            continue
        names = tuple(plot.title for plot in members)
        merged.append(OutputPlot("", "value", names, np.concatenate([plot.values for plot in members]), bounds))
    return merged


def _draw_curves(figure: Any, axis: Any, plot: OutputPlot, edges: Sequence[float]) -> None:
    for index, (name, values) in enumerate(zip(plot.names, plot.values, strict=True)):
        axis.plot(edges[:-1], values, label=short_label(name), linewidth=1.8, **series_line(index, len(plot.names)))
    if len(edges) == 2:  # a single prediction is no line
        for line in axis.lines:
            line.set_marker("o")
    axis.set(ylabel=plot.label)
    if plot.range is not None and plot.range[0] < 0 < plot.range[1]:
        axis.axhline(0.0, color="0.6", linewidth=0.8, zorder=0)
    axis.grid(alpha=0.25)
    axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def _draw_map(figure: Any, axis: Any, plot: OutputPlot, edges: Sequence[float]) -> None:
    """A row for each name; where values have two signs, white is zero."""
    known = plot.values[np.isfinite(plot.values)]
    low, high = plot.range or ((float(known.min()), float(known.max())) if known.size else (0.0, 1.0))
    signed = low < 0 < high
    if signed:
        high = max(-low, high)
        low = -high
    rows = np.arange(len(plot.names) + 1) - 0.5
    mesh = axis.pcolormesh(
        edges, rows, np.ma.masked_invalid(plot.values), vmin=low, vmax=high, cmap="PuOr_r" if signed else "viridis"
    )
    axis.set(yticks=range(len(plot.names)), yticklabels=[short_label(name) for name in plot.names])
    axis.tick_params(axis="y", labelsize=8)
    axis.invert_yaxis()
    figure.colorbar(mesh, ax=axis, label=plot.label, aspect=40, pad=0.01)


def _draw_presence(
    axis: Any, predictions: Sequence[Prediction], streams: Sequence[str], edges: Sequence[float]
) -> None:
    """A band for each stream."""
    for row, stream in enumerate(streams):
        draw_band(axis, [prediction.presence[stream] for prediction in predictions], edges, row - 0.4, 0.8)
    finish_bands(axis, streams, edges)


def draw_band(axis: Any, states: Sequence[str], edges: Sequence[float], low: float, height: float) -> None:
    """Draw the states of a stream; neighbours of one state are one piece, since a run may have thousands of hops."""
    at = 0
    for state, group in groupby(states):
        end = at + len(list(group))
        place = (edges[at], edges[end] - edges[at])
        axis.broken_barh([place], (low, height), color=STATE_COLOURS.get(state, "0.8"), linewidth=0)
        at = end


def finish_bands(axis: Any, streams: Sequence[str], edges: Sequence[float]) -> None:
    """Name the bands, the first above, and what their colours mean."""
    from matplotlib.patches import Patch

    axis.set(yticks=range(len(streams)), xlabel="time (s)", xlim=(edges[0], edges[-1]))
    axis.set_yticklabels([short_label(stream) for stream in streams], fontsize=10 if len(streams) <= 4 else 8)
    axis.invert_yaxis()
    swatches = [Patch(color=colour, label=state) for state, colour in STATE_COLOURS.items()]
    axis.legend(handles=swatches, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)

"""Plots the predictions of two models on the same hops: both curves, below them their difference, and presence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from taemi_edge.bundle.atomic import new_file
from taemi_edge.bundle.outputs import OutputSpec
from taemi_edge.bundle.values import Array
from taemi_edge.parity.replay import ReplayedHop
from taemi_edge.pictures import add_note, literal, new_figure, series_line, short_label
from taemi_edge.runtime.timeline import MOST_CURVES, draw_band, finish_bands, mark_of, output_plots, outputs_of

#: Heights in inches: of both curves, of their difference, of a stream's two bands, and of what stands around a plot.
_CURVES_IN, _DIFFERENCE_IN, _BANDS_IN, _AROUND_IN = 2.6, 1.4, 0.36, 0.4


@dataclass(frozen=True, eq=False)
class _Pair:
    """The numbers of a group of outputs that both have: the names, and the values (names, times)."""

    title: str
    label: str
    names: tuple[str, ...]
    recorded: Array
    new: Array

    @property
    def difference(self) -> Array:
        return self.new - self.recorded


def plot_replay(
    hops: Sequence[ReplayedHop], file: Path, title: str = "", outputs: Mapping[str, OutputSpec] | None = None
) -> None:
    """Plot both predictions of each hop.

    Of a group with many numbers, those that are furthest apart are drawn.

    Args:
        hops: at least one, in the order of time.
        file: where to write the picture; its ending is the format.
        title: above the plot.
        outputs: the groups of outputs of the new model; by default what follows from its predictions.

    Raises:
        OutputError: the file cannot be written.
    """
    pairs = _pairs(hops, outputs or outputs_of([hop.new for hop in hops]))
    streams = [name for name in hops[0].new.presence if name in hops[0].recorded.presence]
    times = [hop.new.time_s for hop in hops]
    edges = [*times, times[-1] + (times[1] - times[0] if len(times) > 1 else 1.0)]
    heights = [*(h for _ in pairs for h in (_CURVES_IN, _DIFFERENCE_IN)), max(0.8, _BANDS_IN * len(streams))]
    figure = new_figure((10, sum(heights) + _AROUND_IN * len(heights)))
    *axes, bands = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    for pair, above, below in zip(pairs, axes[::2], axes[1::2], strict=True):
        _draw_pair(pair, above, below, times)
        above.set_title(pair.title if len(pairs) > 1 else "", loc="left", fontsize=10)
    figure.suptitle(literal(title), fontsize=12)
    for row, stream in enumerate(streams):
        draw_band(bands, [hop.recorded.presence[stream] for hop in hops], edges, row - 0.42, 0.4)
        draw_band(bands, [hop.new.presence[stream] for hop in hops], edges, row + 0.02, 0.4)
    finish_bands(bands, streams, edges)
    add_note(figure, mark_of([each for hop in hops for each in (hop.recorded, hop.new)]))
    bands.set_xlabel("time (s); of each stream above as recorded, below as replayed")
    with new_file(file) as draft:
        figure.savefig(draft, dpi=120)


def _pairs(hops: Sequence[ReplayedHop], outputs: Mapping[str, OutputSpec]) -> list[_Pair]:
    both = zip(
        output_plots([hop.recorded for hop in hops], outputs),
        output_plots([hop.new for hop in hops], outputs),
        strict=True,
    )
    pairs = []
    for before, after in both:
        apart = np.abs(after.values - before.values)
        known = np.isfinite(apart)
        furthest = np.where(known, apart, 0.0).sum(axis=1)
        usable = [index for index in np.argsort(-furthest, kind="stable").tolist() if known[index].any()]
        chosen = sorted(usable[:MOST_CURVES])
        if chosen:
            names = tuple(after.names[index] for index in chosen)
            pairs.append(_Pair(after.title, after.label, names, before.values[chosen], after.values[chosen]))
    return pairs


def _draw_pair(pair: _Pair, above: Any, below: Any, times: Sequence[float]) -> None:
    marker = {"marker": "o"} if len(times) == 1 else {}  # a single prediction is no line
    for index, name in enumerate(pair.names):
        line = series_line(index, len(pair.names))
        above.plot(times, pair.new[index], label=short_label(name), linewidth=1.8, **line, **marker)
        above.plot(times, pair.recorded[index], color=line["color"], linewidth=3.5, alpha=0.3, **marker)
        below.plot(times, pair.difference[index], linewidth=1.4, **line, **marker)
    above.plot([], [], color="0.4", linewidth=3.5, alpha=0.4, label="as recorded")
    above.set(ylabel=pair.label)
    below.set(ylabel="difference")
    below.axhline(0.0, color="0.6", linewidth=0.8, zorder=0)
    for axis in (above, below):
        axis.grid(alpha=0.25)
    above.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)

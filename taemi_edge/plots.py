"""Reports and predictions in, pictures out (the `plot` extra)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from taemi_edge.errors import MissingExtraError, UsageError
from taemi_edge.folders import new_file
from taemi_edge.parity import Pairs, ParityReport
from taemi_edge.runtime.pipeline import Prediction
from taemi_edge.spec import EMOTIONS, MODALITIES

#: Okabe and Ito's colours, which colour-blind readers tell apart.
EMOTION_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
STATE_COLOURS = {"live": "#2e9e5b", "stale": "#d9a400", "missing": "#c8453b", "recovering": "#3f7fd0"}
PICTURE_ENDINGS = (".png", ".svg", ".pdf", ".jpg")


def check_plot_file(file: Path | None, option: str = "--plot") -> None:
    """Refuse a picture that could not be written, before the long work starts.

    Raises:
        UsageError: an ending that is no picture's. MissingExtraError: matplotlib is not installed.
    """
    if file is None:
        return
    if file.suffix.lower() not in PICTURE_ENDINGS:
        raise UsageError(f"{option} {file}: expected a file that ends in {', '.join(PICTURE_ENDINGS)}")
    _new_figure((1, 1), option)


def plot_parity(report: ParityReport, pairs: Pairs, file: Path) -> None:
    """A scatter of B over A and a histogram of the errors, a row a stage."""
    figure = _new_figure((9, 2.6 * len(report.stages)))
    figure.suptitle(f"A: {report.a}\nB: {report.b}", fontsize=10)
    rows = figure.subplots(len(report.stages), 2)
    for (scatter, histogram), stage in zip(rows, report.stages, strict=True):
        x, y = pairs.by_stage[stage.stage]
        step = max(1, len(x) // 20_000)
        colour = STATE_COLOURS["live" if stage.ok else "missing"]
        scatter.plot(x[::step], y[::step], ".", markersize=2, color=colour, rasterized=True)
        scatter.axline((float(x.mean()), float(x.mean())), slope=1, color="0.6", linewidth=0.8, zorder=0)
        scatter.set(xlabel="A", ylabel="B", title=f"{stage.stage}: {'ok' if stage.ok else 'outside its tolerance'}")
        error = np.abs(x.astype(np.float64) - y)
        floor = max(float(error[error > 0].min()) if (error > 0).any() else 1e-12, 1e-12)
        top = max(float(error.max()), stage.tolerance.max_abs) * 2
        histogram.hist(np.maximum(error, floor), bins=np.geomspace(floor, top, 60), color=colour)
        histogram.axvline(stage.tolerance.max_abs, color="0.2", linestyle="--", linewidth=1)
        histogram.set(xscale="log", yscale="log", xlabel="absolute error (dashed: tolerance)", ylabel="values")
    with new_file(file) as draft:
        figure.savefig(draft, dpi=110)


def plot_timeline(predictions: Sequence[Prediction], file: Path, title: str = "") -> None:
    """Six intensities over time above a band a stream, coloured by its presence."""
    figure = _new_figure((10, 5))
    curves, bands = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    times = [p.time_s for p in predictions]
    for emotion, colour in zip(EMOTIONS, EMOTION_COLOURS, strict=True):
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


def _new_figure(size_inches: tuple[float, float], option: str = "--plot") -> Any:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "plot", option) from error
    return Figure(figsize=size_inches, layout="constrained")

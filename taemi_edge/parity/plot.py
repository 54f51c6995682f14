"""Drawing a parity report as scatters and histograms of errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from taemi_edge.bundle.atomic import new_file
from taemi_edge.bundle.training_data import training_mark
from taemi_edge.parity.comparison import Pairs, ParityReport
from taemi_edge.pictures import STATE_COLOURS, add_note, literal, new_figure


def plot_parity(report: ParityReport, pairs: Pairs, file: Path) -> None:
    """Draw one row for each stage: a scatter of B over A, and a histogram of the absolute errors.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure = new_figure((9, 2.6 * len(report.stages)))
    figure.suptitle(literal(f"A: {report.a}\nB: {report.b}"), fontsize=10)
    rows = figure.subplots(len(report.stages), 2)
    for (scatter, histogram), stage in zip(rows, report.stages, strict=True):
        x, y = pairs.by_stage[stage.stage]
        step = max(1, len(x) // 20_000)
        colour = STATE_COLOURS["live" if stage.ok else "missing"]
        scatter.plot(x[::step], y[::step], ".", markersize=2, color=colour, rasterized=True)
        scatter.axline((float(x.mean()), float(x.mean())), slope=1, color="0.6", linewidth=0.8, zorder=0)
        flips = "" if stage.most_flips is None else f", {stage.most_flips:.2%} of labels differ"
        verdict = "ok" if stage.ok else "outside its tolerance"
        scatter.set(xlabel="A", ylabel="B", title=f"{stage.stage}: {verdict}{flips}")
        error = np.abs(x.astype(np.float64) - y)
        floor = max(float(error[error > 0].min()) if (error > 0).any() else 1e-12, 1e-12)
        top = max(float(error.max()), stage.tolerance.max_abs) * 2
        histogram.hist(np.maximum(error, floor), bins=np.geomspace(floor, top, 60), color=colour)
        histogram.axvline(stage.tolerance.max_abs, color="0.2", linestyle="--", linewidth=1)
        histogram.set(xscale="log", yscale="log", xlabel="absolute error (dashed: tolerance)", ylabel="values")
    add_note(figure, training_mark(pairs.trained_on))
    with new_file(file) as draft:
        figure.savefig(draft, dpi=110)

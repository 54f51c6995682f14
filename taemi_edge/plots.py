"""Reports and predictions in, pictures out (the `plot` extra)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from taemi_edge.errors import MissingExtraError, UsageError
from taemi_edge.folders import new_file
from taemi_edge.parity import Pairs, ParityReport
from taemi_edge.runtime.pipeline import Prediction
from taemi_edge.spec import EMOTIONS, MODALITIES, lost_name

if TYPE_CHECKING:  # what is drawn may come from modules that import torch; drawing it needs none
    from taemi_edge.ablate import Ablation
    from taemi_edge.evaluate import Evaluation
    from taemi_edge.sensitivity import PartSensitivity
    from taemi_edge.spec import Candidate
    from taemi_edge.train import EpochMetrics

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
    new_figure((1, 1), option)


def plot_parity(report: ParityReport, pairs: Pairs, file: Path) -> None:
    """A scatter of B over A and a histogram of the errors, a row a stage."""
    figure = new_figure((9, 2.6 * len(report.stages)))
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
    figure = new_figure((10, 5))
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


def plot_training(history: Sequence[EpochMetrics], file: Path) -> None:
    """The training loss and, where there is a valid split, its mean Pearson, over the epochs."""
    figure = new_figure((7, 4))
    losses = figure.subplots()
    epochs = [line.epoch for line in history]
    losses.plot(epochs, [line.loss for line in history], color=EMOTION_COLOURS[0], label="training loss")
    losses.set(xlabel="epoch", ylabel="loss")
    losses.grid(alpha=0.25)
    handles, _ = losses.get_legend_handles_labels()
    scored = [(line.epoch, line.valid_mean_pearson) for line in history if line.valid_mean_pearson is not None]
    if scored:
        right = losses.twinx()
        right.plot(*zip(*scored, strict=True), color=EMOTION_COLOURS[1], label="valid mean Pearson")
        best = max(scored, key=lambda pair: pair[1])
        right.plot(*best, "o", color=EMOTION_COLOURS[1], label=f"best: {best[1]:.3f} in epoch {best[0]}")
        right.set(ylabel="mean Pearson")
        handles += right.get_legend_handles_labels()[0]
    losses.legend(handles=handles, loc="center right", frameon=False)
    with new_file(file) as draft:
        figure.savefig(draft, dpi=110)


def plot_evaluation(evaluations: Sequence[Evaluation], file: Path) -> None:
    """Mean Pearson with its interval for each set of streams, and Pearson an emotion; one colour an evaluation."""
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


def plot_ablation(ablation: Ablation, file: Path) -> None:
    """A dot a seed and a bar a variant, natural and lost streams; the paper's figure as a mark beside it."""
    figure = new_figure((10, 0.42 * len(ablation.rows) + 1.4))
    axis = figure.subplots()
    for row, found in enumerate(ablation.rows):
        for measure, shift, colour in (("natural", -0.18, EMOTION_COLOURS[0]), ("lost", 0.18, EMOTION_COLOURS[1])):
            label = {"natural": "natural losses", "lost": "streams lost"}[measure] if row == 0 else None
            axis.barh(row + shift, found.mean(measure) or 0.0, 0.34, color=colour, alpha=0.55, label=label)
            axis.plot(found.paired(measure), [row + shift] * ablation.seeds, ".", color=colour, markersize=5)
        if found.variant.paper is not None:
            label = "the paper, Hume-Vidmimic2" if row == 0 else None
            axis.plot(found.variant.paper, row, "k|", markersize=14, label=label)
    axis.set_yticks(range(len(ablation.rows)), [found.variant.name for found in ablation.rows])
    axis.invert_yaxis()
    axis.set(xlabel="mean Pearson", title=f"{ablation.seeds} seeds on {ablation.data}", xlim=(0, None))
    axis.grid(axis="x", alpha=0.25)
    axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    with new_file(file) as draft:
        figure.savefig(draft, dpi=110)


def new_figure(size_inches: tuple[float, float], option: str = "--plot") -> Any:
    """A figure without a window.

    Raises:
        MissingExtraError: matplotlib is not installed; `option` is what asked for a picture.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "plot", option) from error
    return Figure(figsize=size_inches, layout="constrained")


def plot_sensitivity(sensitivities: Mapping[str, PartSensitivity], title: str, file: Path) -> None:
    """Each part's blocks by what INT8 saves and what it costs, and the way from all of them to those that stayed."""
    figure = new_figure((12, 8), "taemi-edge calibrate")
    figure.suptitle(title)
    for axis, (part, found) in zip(figure.subplots(2, 2).flat, sensitivities.items(), strict=True):
        for kept, colour, label in ((True, EMOTION_COLOURS[0], "INT8"), (False, EMOTION_COLOURS[1], "left out")):
            blocks = [b for b in found.blocks if (b.excluded is None) == kept]
            shares = [100 * b.macs_share for b in blocks]
            costs = [max(b.cost, 1e-7) for b in blocks]
            axis.scatter(shares, costs, 22, color=colour, label=f"{label}: {len(blocks)} blocks", zorder=3)
        for block in sorted(found.blocks, key=lambda b: -b.cost)[:6]:
            place = (100 * block.macs_share, max(block.cost, 1e-7))
            axis.annotate(block.block, place, fontsize=7, xytext=(4, 3), textcoords="offset points")
        way = [(100 * share, max(cost, 1e-7)) for share, cost in found.steps]
        axis.plot(*zip(*way, strict=True), "k.--", linewidth=1, label="the part as blocks leave INT8")
        axis.set(yscale="log", title=part, xlabel="multiply-accumulates in INT8, %", ylabel="1 - Pearson with FP32")
        axis.grid(alpha=0.25)
        axis.legend(frameon=False, fontsize=8)
    with new_file(file) as draft:
        figure.savefig(draft, dpi=110)


def plot_choice(candidates: Sequence[Candidate], title: str, file: Path) -> None:
    """The time of every candidate, part by part: what was kept, what was rejected, and why."""
    timed = [c for c in candidates if c.median_ms is not None]
    figure = new_figure((11, 0.45 * len(timed) + 1.6), "taemi-edge build-engine --precision auto")
    axis = figure.subplots()
    for row, found in enumerate(timed):
        median = found.median_ms or 0.0
        colour = EMOTION_COLOURS[2] if found.kept else "0.75"
        axis.barh(row, median, color=colour)
        axis.plot([median, found.p95_ms or median], [row, row], color="0.3", linewidth=1)
        axis.annotate(f"  {median:.3g} ms: {found.reason}", (found.p95_ms or median, row), va="center", fontsize=8)
    axis.set_yticks(range(len(timed)), [f"{c.part} {c.precision}" for c in timed])
    axis.invert_yaxis()
    longest = max((c.p95_ms or 0.0) for c in timed)
    axis.set(xlabel="median ms of the usual shape (line: to the 95th percentile)", title=title, xlim=(0, 1.9 * longest))
    axis.grid(axis="x", alpha=0.25)
    with new_file(file) as draft:
        figure.savefig(draft, dpi=110)

"""Prints the report of `taemi-edge bench --sweep` as a table, and draws it as a picture of four panels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from taemi_edge.bench.sweep import AXES, Axis, SweepPoint, SweepReport
from taemi_edge.bundle.atomic import new_file
from taemi_edge.cli.bench_report import marked, note_noise
from taemi_edge.cli.tables import make_console, new_table
from taemi_edge.palette import series_colours
from taemi_edge.pictures import literal, new_figure

_LABELS = {"window": "window, seconds", "hop": "hop, seconds", "sources": "sources in one call", "threads": "threads"}


def print_sweep(report: SweepReport) -> None:
    """Print one row for each value: a hop, its parts, and a hop that encodes its whole window anew."""
    parts = _part_names(report.points)
    title = "how the cost of a hop grows: wall ms, median (95th percentile)"
    table = new_table(marked(title, report.noise), ("", "value", "a hop", *parts, "whole window anew"), left=("",))
    for point in report.points:
        wall = point.wall
        hop = "-" if wall is None else f"{wall.median:.3g} ({wall.p95:.3g})"
        of_parts = [f"{point.parts_ms[name]:.3g}" if name in point.parts_ms else "-" for name in parts]
        anew = "" if point.anew_ms is None else f"{point.anew_ms:.3g}"
        own = " *" if point.value == report.own[point.axis] else ""
        table.add_row(_LABELS[point.axis], f"{point.value:g}{own}", hop, *of_parts, anew)
    make_console().print(table)
    note_noise(report.noise)
    typer.echo("* the model's own value, at which the others are varied")
    for point in report.points:
        if point.failure:
            typer.echo(f"not run: {point.axis} {point.value:g}: {point.failure}", err=True)


def plot_sweep(report: SweepReport, file: Path) -> None:
    """Draw a panel for each of window, hop, sources and threads.

    Args:
        file: the picture to write; its ending names the format.
    """
    figure = new_figure((11, 8), "taemi-edge bench --sweep")
    machine = report.machine.get("gpu") or report.machine.get("processor") or report.machine["architecture"]
    title = f"{report.model} on {machine}: how the cost of a hop grows"
    figure.suptitle(literal(marked(title, report.noise)))
    for axis, panel in zip(AXES, figure.subplots(2, 2).flat, strict=True):
        _draw(report, axis, panel)
    with new_file(file) as draft:
        figure.savefig(draft, dpi=110)


def _draw(report: SweepReport, axis: Axis, panel: Any) -> None:
    points = [point for point in report.points if point.axis == axis and point.wall is not None]
    panel.set(xlabel=_LABELS[axis], ylabel="ms")
    if not points:
        panel.set_title("not timed", fontsize=9)
        return
    values = [point.value for point in points]
    medians = [point.wall.median for point in points if point.wall is not None]
    panel.plot(values, medians, "o-", color="0.15", linewidth=2, label="a hop, all parts")
    parts = _part_names(points)
    for part, colour in zip(parts, series_colours(len(parts)), strict=True):
        found = [point.parts_ms.get(part, 0.0) for point in points]
        panel.plot(values, found, ".-", color=colour, label=literal(part))
    anew = [(point.value, point.anew_ms) for point in points if point.anew_ms is not None]
    if anew:
        panel.plot(*zip(*anew, strict=True), "s--", color="0.6", label="the whole window anew")
    panel.set(ylim=(0, None), xticks=values)
    panel.legend(frameon=False, fontsize=7)


def _part_names(points: Sequence[SweepPoint]) -> list[str]:
    return list(dict.fromkeys(name for point in points for name in point.parts_ms))

"""Prints the report of `taemi-edge bench --host` as a table, and draws it as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from taemi_edge.bench.host.report import HostReport, HostTimes, Microseconds
from taemi_edge.bundle.atomic import new_file
from taemi_edge.cli.bench_report import marked, note_noise
from taemi_edge.cli.tables import make_console, new_table
from taemi_edge.palette import series_colours
from taemi_edge.pictures import literal, new_figure


def print_host(report: HostReport) -> None:
    """Print one row for each number of sources: `execute`, its parts, what is before and after, and it repeated."""
    names = _part_names(report.sources)
    title = "the host's part of a hop, on a device that does nothing: median (99th percentile) us; repeated: (least)"
    table = new_table(marked(title, report.noise), ("sources", "execute", *names, "rows", "prediction", "repeated"))
    for row in report.sources:
        parts = [_cell(row.parts_us.get(name)) for name in names]
        around = [_cell(row.rows_us), _cell(row.prediction_us)]
        repeated = f"{_short(row.repeated_us.median)} ({_short(row.repeated_us.least)})"
        table.add_row(str(row.sources), _cell(row.execute_us), *parts, *around, repeated)
    make_console().print(table)
    note_noise(report.noise)
    if report.synthetic:
        typer.echo(f"note: the data of {', '.join(report.synthetic)} is synthetic", err=True)


def plot_host(reports: Mapping[str, HostReport], file: Path) -> None:
    """Draw the time of `execute` by the number of sources, and what its parts take.

    Args:
        reports: by the name that the picture gives them; several are set side by side.
        file: the picture to write; its ending names the format.
    """
    figure = new_figure((12, 5), "taemi-edge bench --host")
    some = next(iter(reports.values()))
    processor = some.machine.get("processor") or some.machine["architecture"]
    noise = next((report.noise for report in reports.values() if report.noise is not None and report.noise.busy), None)
    title = f"{some.model}: host time of a hop on a device that does nothing, {processor}"
    figure.suptitle(literal(marked(title, noise)))
    whole, parts = figure.subplots(1, 2)
    _draw_whole(reports, whole)
    _draw_parts(reports, parts)
    with new_file(file) as draft:
        figure.savefig(draft, dpi=110)


def _draw_whole(reports: Mapping[str, HostReport], axis: Any) -> None:
    for (name, report), colour in zip(reports.items(), series_colours(len(reports)), strict=True):
        counts = [row.sources for row in report.sources]
        medians = [row.execute_us.median for row in report.sources]
        axis.plot(counts, medians, "o-", color=colour, label=literal(name))
        repeated = [row.repeated_us.median for row in report.sources]
        axis.plot(counts, repeated, "o:", color=colour, markersize=3, label=literal(f"{name}, repeated"))
        for count, median in zip(counts, medians, strict=True):
            axis.annotate(f"{median:.0f}", (count, median), xytext=(4, 4), textcoords="offset points", fontsize=8)
    axis.set(
        xlabel="sources",
        ylabel="microseconds a hop",
        title="all of execute, median",
        ylim=(0, None),
        xticks=_counts(reports),
    )
    axis.legend(frameon=False, fontsize=8)


def _draw_parts(reports: Mapping[str, HostReport], axis: Any) -> None:
    rows = [(name, row) for name, report in reports.items() for row in report.sources]
    rows.sort(key=lambda named: named[1].sources)
    left = [0.0] * len(rows)
    parts = _part_names([row for _, row in rows])
    for part, colour in zip(parts, series_colours(len(parts)), strict=True):
        values = [row.parts_us[part].median if part in row.parts_us else 0.0 for _, row in rows]
        axis.barh(range(len(rows)), values, left=left, color=colour, label=part)
        left = [begin + value for begin, value in zip(left, values, strict=True)]
    axis.set_yticks(range(len(rows)), [literal(f"{name}, {row.sources}") for name, row in rows], fontsize=8)
    axis.invert_yaxis()
    axis.set(xlabel="microseconds a hop", title="its parts, medians of other hops")
    axis.legend(frameon=False, fontsize=8)


def _part_names(rows: Sequence[HostTimes]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.parts_us))


def _counts(reports: Mapping[str, HostReport]) -> list[int]:
    return sorted({row.sources for report in reports.values() for row in report.sources})


def _cell(times: Microseconds | None) -> str:
    return "-" if times is None else f"{_short(times.median)} ({_short(times.p99)})"


def _short(us: float) -> str:
    """Microseconds with a decimal where it says something.

    >>> _short(8.26), _short(1070.4)
    ('8.3', '1,070')
    """
    return f"{us:.1f}" if us < 100 else f"{us:,.0f}"

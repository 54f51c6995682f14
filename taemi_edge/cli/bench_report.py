"""Prints the report of `taemi-edge bench` as tables, and draws it as a picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import typer

from taemi_edge.bench.noise import Noise
from taemi_edge.bench.report import OURS, BenchReport, Timing, find
from taemi_edge.bundle.atomic import new_file
from taemi_edge.bundle.streams import lost_name
from taemi_edge.bundle.values import HEAD
from taemi_edge.cli.options import note
from taemi_edge.cli.tables import make_console, new_table
from taemi_edge.palette import series_colours
from taemi_edge.pictures import SERIES_COLOURS, literal, new_figure

#: A presence pattern with a longer name is shown by what it lacks.
_LONGEST_PATTERN = 24


def print_bench(report: BenchReport) -> None:
    """Print tables of parts, of whole windows by presence pattern and of several sources, then the ratios."""
    _print_parts(report)
    _print_windows(report)
    _print_sources(report)
    for name, ratio in report.ratios.items():
        typer.echo(f"a hop with all streams takes {name} {ratio:.2f} x as long")
    for name, ratio in report.script_ratios.items():
        typer.echo(f"a script of {name} that encodes its window again takes {ratio:.2f} x as long as a hop")
    if report.overhead_ms is not None:
        typer.echo(f"the runtime adds {1e3 * report.overhead_ms:.0f} microseconds to a hop beyond its parts")
    for stream, share in report.saved.items():
        way = "less" if share >= 0 else "more"
        typer.echo(f"without {stream} the encoders take {abs(share):.0%} of its encoder's time {way}")
    if report.ceilings:
        ceilings = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in report.ceilings.items())
        typer.echo(f"measured ceilings: {ceilings}")
    power = report.power
    if power.told_by:
        typer.echo(
            f"{power.told_by}: {_rounded(power.median_power_w)} W (at most {_rounded(power.highest_power_w)}), "
            f"{_rounded(power.median_clock_mhz)} MHz (at least {_rounded(power.lowest_clock_mhz)}), "
            f"at most {_rounded(power.highest_temperature_c)} C"
        )
        for reason in power.throttled_by:
            typer.echo(f"note: the device was slowed down by its {reason}", err=True)
    note_noise(report.noise)
    _print_failures(report)
    for name, reason in report.not_run.items():
        typer.echo(f"not run: {name}: {reason}", err=True)


def plot_bench(report: BenchReport, file: Path) -> None:
    """Draw five charts: each part and a hop by contender, a hop by pattern, parts against limits, several sources.

    Args:
        file: the picture to write; its ending names the format.
    """
    rows = max(len(report.parts), sum(window.kind == "hop" for window in report.windows))
    figure = new_figure((13, max(13.0, 0.7 * rows)), "taemi-edge bench")
    gpu = report.machine.get("gpu") or report.machine.get("processor") or report.machine["architecture"]
    figure.suptitle(literal(marked(f"{report.model} on {gpu}", report.noise)))
    grid = figure.add_gridspec(3, 2)
    _draw_parts(report, figure.add_subplot(grid[0, :]))
    hops, patterns, limits, sources = (figure.add_subplot(grid[row, column]) for row in (1, 2) for column in (0, 1))
    _draw_contenders(report, hops)
    _draw_patterns(report, patterns)
    _draw_limits(report, limits)
    _draw_sources(report, sources)
    with new_file(file) as draft:
        figure.savefig(draft, dpi=110)


def _print_parts(report: BenchReport) -> None:
    names = list(report.contenders)
    title = marked("parts, feeds on the device: median (95th percentile) ms", report.noise)
    columns = ("part", "batch", *names, "limit", "share of it", "of FP32's")
    table = new_table(title, columns, left=("part",), no_wrap=("part",))
    for part in report.parts:
        limit = "" if part.limit_ms is None else f"{part.limit_ms:.3g}"
        shares = [_share(share, report.noise) for share in (part.share, part.fp32_share)]
        cells = [_cell(find(part.timings, name)) for name in names]
        table.add_row(part.part, str(part.batch), *cells, limit, *shares)
    make_console().print(table)
    _print_nearness(report)


def marked(title: str, noise: Noise | None) -> str:
    """A title that says so where its figures are noise.

    >>> marked("parts: ms", None)
    'parts: ms'
    """
    return f"{title} [NOISE: the machine was busy]" if noise is not None and noise.busy else title


def note_noise(noise: Noise | None) -> None:
    """Say on standard error why figures are noise, where they are."""
    if noise is not None and noise.busy:
        note(noise.in_words)


def _share(share: float | None, noise: Noise | None) -> str:
    if noise is not None and noise.busy:
        return "not judged"
    return "" if share is None else f"{share:.1%}"


def _print_nearness(report: BenchReport) -> None:
    """Print how near each contender's outputs are to the model's: a time says little without it."""
    names = list(report.contenders)
    title = "parts, against the model in FP32: Pearson correlation (largest error)"
    table = new_table(title, ("part", "batch", *names), left=("part",), no_wrap=("part",))
    for part in report.parts:
        table.add_row(part.part, str(part.batch), *(_nearness(find(part.timings, name)) for name in names))
    make_console().print(table)


def _nearness(timing: Timing | None) -> str:
    """How near a contender's outputs are; rounded down, so that 1 is written only where all digits agree.

    >>> _nearness(Timing(contender="torch", pearson=0.999996, max_abs=0.0123))
    '.99999 (1.2e-02)'
    """
    if timing is None or timing.max_abs is None:
        return "-"
    correlation = "-" if timing.pearson is None else f"{math.floor(timing.pearson * 1e5) / 1e5:.5f}"
    return f"{correlation.replace('0.', '.', 1)} ({timing.max_abs:.1e})"


def _print_windows(report: BenchReport) -> None:
    titles = {
        "hop": "a hop, from arrays on the host to outputs: wall ms",
        "window": "the same with the whole window encoded anew: wall ms",
    }
    for kind, title in titles.items():
        columns = ("streams", *report.contenders, "max error")
        table = new_table(marked(title, report.noise), columns, left=("streams",), no_wrap=("streams",))
        rows = [window for window in report.windows if window.kind == kind]
        for window in rows:
            ours = find(window.timings, OURS)
            error = "" if ours is None or ours.max_abs is None else f"{ours.max_abs:.1e}"
            cells = [_cell(find(window.timings, name), wall=True) for name in report.contenders]
            table.add_row(_shown(window.pattern, report), *cells, error)
        make_console().print(table)


def _print_sources(report: BenchReport) -> None:
    columns = ("sources", "latency ms", "p99 ms", "predictions a second", "throughput", "latency", "max error")
    table = new_table(marked("several sources in one call", report.noise), columns)
    for row in report.sources:
        wall = row.timing.wall
        table.add_row(
            str(row.sources),
            "" if wall is None else f"{wall.median:.3g}",
            "" if wall is None else f"{wall.p99:.3g}",
            "" if row.predictions_per_s is None else f"{row.predictions_per_s:.0f}",
            "" if row.throughput_ratio is None else f"{row.throughput_ratio:.2f} x",
            "" if row.latency_ratio is None else f"{row.latency_ratio:.2f} x",
            "" if row.timing.max_abs is None else f"{row.timing.max_abs:.1e}",
        )
    make_console().print(table)


def _print_failures(report: BenchReport) -> None:
    """Print why a contender has no time, once for each reason, with the first thing that it failed on."""
    timings = [(f"{p.part}, batch {p.batch}", t) for p in report.parts for t in p.timings]
    timings += [(f"{w.kind}, {w.pattern}", t) for w in report.windows for t in w.timings]
    timings += [(f"{row.sources} sources", row.timing) for row in report.sources]
    failed: dict[tuple[str, str], list[str]] = {}
    for what, timing in timings:
        if timing.failure:
            failed.setdefault((timing.contender, timing.failure), []).append(what)
    for (contender, failure), (first, *others) in failed.items():
        also = f" (and {len(others)} more)" if others else ""
        typer.echo(f"not run: {first}{also}, {contender}: {failure}", err=True)


def _shown(pattern: str, report: BenchReport) -> str:
    """A presence pattern in a table: its name, or, where that is long, which streams it lacks."""
    if len(pattern) <= _LONGEST_PATTERN:
        return pattern
    return lost_name(pattern, dict.fromkeys(part.part for part in report.parts if part.part != HEAD))


def _cell(timing: Timing | None, wall: bool = False) -> str:
    """A timing in a table: by the device's own clock where it has one, unless the wall is asked for."""
    stats = None if timing is None else timing.wall if wall else timing.best
    return "-" if stats is None else f"{stats.median:.3g} ({stats.p95:.3g})"


def _rounded(value: float | None) -> str:
    return "?" if value is None else f"{value:.0f}"


def _draw_parts(report: BenchReport, axis: Any) -> None:
    """Each part by contender, in times of the bundle's own: parts differ by orders of magnitude."""
    names = list(report.contenders)
    width, colours = 0.8 / len(names), series_colours(len(names))
    for index, name in enumerate(names):
        places, ratios = [], []
        for row, part in enumerate(report.parts):
            ours, theirs = find(part.timings, OURS), find(part.timings, name)
            if ours is not None and ours.best is not None and theirs is not None and theirs.best is not None:
                places.append(row - 0.4 + (index + 0.5) * width)
                ratios.append(theirs.best.median / ours.best.median)
        axis.bar(places, ratios, width, color=colours[index], label=literal(name))
        for place, ratio in zip(places, ratios, strict=True):
            axis.annotate(f"{ratio:.2f}", (place, ratio), ha="center", va="bottom", fontsize=7)
    axis.set_xticks(range(len(report.parts)), [f"{p.part}, batch {p.batch}" for p in report.parts])
    axis.set(ylabel=f"times of {OURS}", title="each part by contender")
    axis.margins(y=0.12)
    axis.legend(frameon=False, fontsize=8)


def _draw_contenders(report: BenchReport, axis: Any) -> None:
    hop = next(w for w in report.windows if w.kind == "hop")
    rows = [(t.contender, t.wall) for t in hop.timings if t.wall is not None]
    for row, (name, wall) in enumerate(rows):
        axis.barh(row, wall.median, color=SERIES_COLOURS[2] if name.startswith(OURS) else "0.7")
        axis.annotate(f" {wall.median:.3g} ms", (wall.median, row), va="center", fontsize=8)
    axis.set_yticks(range(len(rows)), [name for name, _ in rows])
    axis.invert_yaxis()
    longest = max((wall.median for _, wall in rows), default=1.0)
    axis.set(xlabel="ms, by the wall", title="a hop with all streams", xlim=(0, 1.25 * longest))


def _draw_patterns(report: BenchReport, axis: Any) -> None:
    hops = [w for w in report.windows if w.kind == "hop"]
    names = [name for name in report.contenders if name.startswith(OURS)]
    for index, (name, colour) in enumerate(zip(names, series_colours(len(names)), strict=True)):
        found = [find(w.timings, name) for w in hops]
        values = [t.wall.median if t is not None and t.wall is not None else 0.0 for t in found]
        places = [row + 0.35 * index for row in range(len(hops))]
        axis.barh(places, values, 0.34, color=colour, label=name)
    axis.set_yticks(range(len(hops)), [_shown(w.pattern, report) for w in hops])
    axis.invert_yaxis()
    axis.set(xlabel="ms, by the wall", title="a hop by the streams that are there")
    axis.legend(frameon=False, fontsize=8)


def _draw_limits(report: BenchReport, axis: Any) -> None:
    if report.noise is not None and report.noise.busy:
        axis.set(title="not judged: the machine is busy", xticks=[], yticks=[])
        return
    rows = [p for p in report.parts if p.share is not None]
    shares = [100 * (p.share or 0.0) for p in rows]
    of_fp32 = [100 * (p.fp32_share or 0.0) for p in rows]
    differ = of_fp32 != shares and any(of_fp32)
    for index, (label, values) in enumerate((("limit", shares), ("limit of FP32", of_fp32))[: 1 + differ]):
        places = [row + (0.4 * index - 0.2 if differ else 0.0) for row in range(len(rows))]
        axis.barh(places, values, 0.38 if differ else 0.8, color=SERIES_COLOURS[3 * index], label=label)
        for place, share in zip(places, values, strict=True):
            axis.annotate(f" {share:.1f} %", (share, place), va="center", fontsize=8)
    if differ:
        axis.legend(frameon=False, fontsize=8)
    axis.set_yticks(range(len(rows)), [f"{p.part}, batch {p.batch}" for p in rows])
    axis.invert_yaxis()
    axis.set(
        xlabel="% of the measured ceilings",
        title="how near a part is to its limit",
        xlim=(0, 1.15 * max((*shares, *of_fp32), default=1)),
    )


def _draw_sources(report: BenchReport, axis: Any) -> None:
    rows = [(r.sources, r.timing.wall, r.predictions_per_s) for r in report.sources]
    known = [(n, wall.median, rate) for n, wall, rate in rows if wall is not None and rate is not None]
    if not known:
        return
    counts, latencies, rates = zip(*known, strict=True)
    axis.plot(counts, rates, "o-", color=SERIES_COLOURS[0])
    axis.set(xlabel="sources in one call", title="several sources", ylim=(0, None), xticks=counts)
    axis.set_ylabel("predictions a second", color=SERIES_COLOURS[0])
    other = axis.twinx()
    other.plot(counts, latencies, "s--", color=SERIES_COLOURS[4])
    other.set_ylabel("latency, ms", color=SERIES_COLOURS[4])
    other.set_ylim(0, None)

"""What the commands print: tables and lines about parity, engines, calibration and bundles.

Nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from taemi_edge.bundle.precisions import FLAVOURS_OF, QUANTISED
from taemi_edge.errors import in_one_line

if TYPE_CHECKING:
    from rich.table import Table

    from taemi_edge.bundle.describe import BundleDescription
    from taemi_edge.bundle.records import CalibrationRecord, PatternScores, QuantisedRecord
    from taemi_edge.bundle.spec import Manifest
    from taemi_edge.calibration.calibrate import CalibrationResult
    from taemi_edge.engines.build import BuildResult
    from taemi_edge.parity.comparison import ParityReport


def make_console(stderr: bool = False) -> Any:
    """A rich `Console` on standard output, or on standard error.

    In a pipe or a file the lines are 160 characters wide.
    """
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False, soft_wrap=True)
    if not made.is_terminal:
        made.width = 160  # a file or a pipe has no width to keep to
    return made


def new_table(title: str, columns: Sequence[str], left: Sequence[str] = (), no_wrap: Sequence[str] = ()) -> Table:
    """An empty rich table.

    Args:
        title: the line above the table.
        columns: the heads of the columns.
        left: the columns that are aligned to the left; all others are aligned to the right.
        no_wrap: the columns whose cells stay on one line.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for name in columns:
        table.add_column(name, justify="left" if name in left else "right", no_wrap=name in no_wrap)
    return table


def as_text(words: str) -> str:
    """Words for a cell as they are: rich would take brackets, as in `taemi-edge[export]`, for a style.

    Signs that are not printable are spelled out: a file from anybody may have put them there.
    """
    from rich.markup import escape

    return escape("\n".join(map(in_one_line, words.split("\n"))))


def number(value: float | None, digits: int = 3) -> str:
    """A figure with so many decimals; "undefined" for None.

    >>> number(0.98765), number(None)
    ('0.988', 'undefined')
    """
    return "undefined" if value is None else f"{value:.{digits}f}"


def print_parity(report: ParityReport) -> None:
    """Print a row for each part, and each case that is outside its tolerance."""
    flips = ("flips",) if any(stage.flips is not None for stage in report.stages) else ()
    columns = ("part", "cases", "max error", "p99 error", "cosine", "Pearson", *flips, "limit", "")
    table = new_table(f"{report.a}  against  {report.b}", columns, left=("part", ""), no_wrap=("part",))
    for stage in report.stages:
        pearson = stage.lowest_pearson
        table.add_row(
            stage.stage,
            str(len(stage.cases)),
            f"{stage.max_abs:.2e}",
            f"{stage.p99_abs:.2e}",
            f"{stage.cosine:.6f}",
            "" if stage.pearson is None else "undefined" if pearson is None else f"{pearson:.6f}",
            *(("" if stage.most_flips is None else f"{stage.most_flips:.2%}",) if flips else ()),
            f"{stage.tolerance.max_abs:.0e}",
            "[green]ok[/green]" if stage.ok else "[red]outside[/red]",
        )
    make_console().print(table)
    for stage in report.stages:
        for case in stage.cases:
            if not case.ok:
                typer.echo(
                    f"{stage.stage}, {case.case}: max error {case.max_abs:.3g} (at most {stage.limit_of(case):.3g}), "
                    f"cosine {case.cosine:.6f}",
                    err=True,
                )
        if stage.tolerance.flips is not None and (stage.most_flips or 0) > stage.tolerance.flips:
            typer.echo(
                f"{stage.stage}: {stage.most_flips:.2%} of labels differ, expected at most {stage.tolerance.flips:.2%}",
                err=True,
            )


def print_head(manifest: Manifest) -> None:
    """Print what was measured of a head: how it reads stand-ins of another length, and steps that its masks hide."""
    for name, spec in manifest.streams.items():
        missing = spec.missing
        if missing.length_error is not None:
            steps = f"{missing.kind}, {missing.steps} step{'s' if missing.steps > 1 else ''}"
            typer.echo(f"missing       {name}: {steps}; another length moves the outputs by {missing.length_error:.1e}")
    head = manifest.head
    for name in head.unread:
        typer.echo(f"unread        {name}: no output depends on its features; leave the stream out to save its encoder")
    if head.masks and head.padding_error is not None:
        then = "share a call" if head.takes_padding else "never share a call"
        typer.echo(f"padding       moves the outputs by {head.padding_error:.1e}: windows of several lengths {then}")


def print_build(result: BuildResult) -> None:
    """Print each engine that was tried, how far parity passed, and whether the bundle is verified."""
    from taemi_edge.bundle.records import TIMED

    record = result.record
    device = record.machine.get("gpu") or record.machine["architecture"]
    columns = ("part", "precision", "median ms", "p95 ms", "size", "built in", "", "why")
    left = ("part", "precision", "", "why")
    table = new_table(f"{record.target}: {record.library} on {device}", columns, left)
    last = ""
    for c in record.candidates:
        table.add_row(
            c.part if c.part != last else "",
            as_text(c.name),
            number(c.median_ms, 3) if c.median_ms is not None else "",
            number(c.p95_ms, 3) if c.p95_ms is not None else "",
            f"{c.bytes / 1e6:.1f} MB" if c.bytes else "",
            f"{c.build_s:.1f} s" if c.bytes else "",
            "[green]kept[/green]" if c.kept else "[dim]rejected[/dim]",
            as_text(c.reason),
        )
        last = c.part
    make_console().print(table)
    for flag, words in record.flags.items():
        if flag.startswith(TIMED):
            typer.echo(f"{flag} at {words}")
    if record.host:
        typer.echo(f"threads: {record.host.how}")
    if result.from_cache:
        typer.echo("built before from the same graphs, target and device: taken from the cache")
    for verdict in record.verification:
        pearson = "" if verdict.pearson is None else f", Pearson {verdict.pearson:.5f}"
        flips = "" if verdict.flips is None else f", {verdict.flips:.4f} of the labels differ"
        state = "ok" if verdict.ok else "OUTSIDE its tolerance"
        figures = f"max error {verdict.max_abs:.2e}, cosine {verdict.cosine:.6f}{pearson}{flips}"
        typer.echo(f"parity {verdict.stage}: {figures} in {verdict.cases} cases: {state}")
    typer.echo("verified" if result.bundle.manifest.verified else f"not verified: {record.failure}")


def print_calibration(result: CalibrationResult) -> None:
    """Print how close each graph stays to FP32, and how its ranges were found."""
    from taemi_edge.calibration.budget import metric_words

    record = result.record
    if not record.closeness:
        typer.echo(f"made by the ranges of {record.clips} clips of {record.data}, and not judged: name --data to do so")
        return
    title = f"{record.held_out} held-out clips of {record.data}; ranges from {record.clips} others"
    flips = ("flips",) if any(f.flips is not None for by in record.closeness.values() for f in by.values()) else ()
    columns = ("part", "graph", "Pearson", "max error", "cosine", "worst step", "labels", *flips, "left out")
    table = new_table(title, columns, left=("part", "graph", "left out"))
    left_out: dict[str, dict[str, dict[str, str]]] = {
        FLAVOURS_OF[precision][0]: record.excluded_from(precision) for precision in QUANTISED
    }
    left_out.update({str(flavour): parts for flavour, parts in (record.host_excluded or {}).items()})
    for part, flavours in record.closeness.items():
        for flavour, found in flavours.items():
            table.add_row(
                part if flavour == "fp16" else "",
                flavour,
                number(found.pearson, 5),
                f"{found.max_abs:.3g}",
                f"{found.cosine:.5f}",
                f"{found.min_cosine:.4f}",
                number(found.score, 4),
                *([] if found.flips is None else [f"{found.flips:.4f}"]),
                as_text(", ".join(left_out.get(flavour, {}).get(part, {}))),
            )
    make_console().print(table)
    on_labels = ", ".join(f"{k} {number(v, 4)}" for k, v in record.scores.items() if v is not None)
    words = metric_words(record)
    typer.echo(f"{words} on labels, all parts: {on_labels or 'the clips have none: judged against FP32 alone'}")
    if on_labels:
        print_pattern_scores(record.pattern_scores)
    if "bf16" in record.scores:
        typer.echo("bf16 was judged by an emulation: each value in FP32, rounded to BF16 wherever the graph holds BF16")
    _print_ranges(record, "")
    for precision, further in (record.further or {}).items():
        _print_ranges(further, f"{precision} ")
    typer.echo(f"{record.seconds:.0f} s")
    for clip, problem in list(result.problems.items())[:5]:
        typer.echo(f"clip {clip} left out: {problem}", err=True)


def _print_ranges(found: CalibrationRecord | QuantisedRecord, name: str) -> None:
    """Print how the ranges of a quantised precision were found, and what its layers lose by them."""
    methods = {part: method for part, method in found.methods.items() if method}  # a part without products has none
    typer.echo(f"{name}ranges by {', '.join(f'{part}: {method}' for part, method in methods.items())}")
    for part, (chosen, held_out) in found.layer_error.items():
        if part not in methods:
            continue
        alphas = ", ".join(f"{alpha} {count} x" for alpha, count in found.alphas[part].items())
        errors = f"{chosen:.4f} where alpha was swept, {held_out:.4f} held out"
        typer.echo(f"{part}: {name}layers err by {errors}; alpha {alphas}")


def print_pattern_scores(scores: Mapping[str, PatternScores]) -> None:
    """Print how each precision does over the presence patterns, and in which it loses most."""
    for precision, found in scores.items():
        worst = f", {found.worst_loss:.4f} worse than FP32 in {found.worst_pattern}" if found.worst_pattern else ""
        flips = "" if found.flips is None else f", {found.flips:.4f} of the labels differ from FP32's"
        lost = "" if precision == "fp32" else f"{worst}{flips}"
        typer.echo(f"{precision}: {number(found.mean, 4)} on average over the presence patterns{lost}")


def print_description(description: BundleDescription) -> None:
    """Print a row for each part of a bundle, its streams and outputs, and where the bundle comes from."""
    from rich.table import Table

    from taemi_edge.bundle.in_words import output_in_words, stream_in_words
    from taemi_edge.bundle.records import form_in_words

    manifest = description.manifest
    table = Table(title=f"{description.name}  ({description.folder})", title_justify="left")
    for name in ("part", "file", "size", "precision", "opset", "parameters", "inputs", "outputs"):
        table.add_column(name, justify="right" if name in ("size", "opset", "parameters") else "left")
    for part in description.parts:
        table.add_row(
            part.part,
            part.file,
            f"{part.bytes / 1e6:.1f} MB",
            as_text(form_in_words(part.precision, part.form)),
            str(part.opset),
            f"{part.parameters / 1e6:.2f} M" if part.parameters >= 1e5 else str(part.parameters),
            as_text("\n".join(part.inputs)),
            as_text("\n".join(part.outputs)),
        )
    make_console().print(table)
    for name, stream in manifest.streams.items():
        typer.echo(f"stream        {name}: {stream_in_words(stream)}")
    for name, output in manifest.outputs.items():
        typer.echo(f"output        {name}: {output_in_words(output)}")
    source = manifest.provenance
    trained_on = f"trained on {manifest.trained_on}" if manifest.trained_on else "trained"
    typer.echo(f"fusion head   {trained_on if description.trained else 'untrained'}")
    if flavours := dict.fromkeys(flavour for files in manifest.graphs.values() for flavour in files):
        typer.echo(f"graphs        {', '.join(flavours)}")
    if (record := manifest.calibration) is not None:
        found = ", ".join(f"{precision} {number(value, 4)}" for precision, value in record.scores.items())
        typer.echo(
            f"calibrated    on {record.clips} clips of {record.data} by {record.quantiser}: {found or 'not judged'}"
        )
    if (engine := manifest.engine) is not None:
        device = engine.machine.get("gpu") or engine.machine["architecture"]
        state = "verified" if manifest.verified else f"NOT verified: {engine.failure}"
        typer.echo(f"engines       for {engine.target}, {engine.library} on {device}: {state}")
    typer.echo("token lengths " + ", ".join(f"{m} {norm:.3f}" for m, norm in description.token_norms.items()))
    print_head(manifest)
    typer.echo(f"window        {manifest.window.length_s:g} s every {manifest.window.hop_s:g} s")
    if source.weights:
        typer.echo("weights       " + ", ".join(f"{m}: {w}" for m, w in source.weights.items()))
    typer.echo(f"made          {source.made_at} by {source.made_by} from {source.source}")
    typer.echo("versions      " + ", ".join(f"{name} {v}" for name, v in source.versions.items()))
    typer.echo(f"integrity     {description.hashes_verified} hashes verified, {description.total_bytes / 1e6:.1f} MB")

"""Results in, tables and lines on standard output out: what the commands say; nothing is computed here."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from taemi_edge.bundle.describe import BundleDescription
    from taemi_edge.calibration.calibrate import CalibrationResult
    from taemi_edge.cli.demo import DemoResult
    from taemi_edge.cli.doctor import Report
    from taemi_edge.corpora.evaluate import Evaluation
    from taemi_edge.corpora.extract import ExtractResult
    from taemi_edge.engines.build import BuildResult
    from taemi_edge.live.run import LiveSummary
    from taemi_edge.parity.comparison import ParityReport
    from taemi_edge.parity.metrics import Score
    from taemi_edge.runtime.files import FleetSummary, RunSummary
    from taemi_edge.runtime.prediction import Prediction
    from taemi_edge.taemi.ablation import Ablation
    from taemi_edge.taemi.train.run import TrainResult
    from taemi_edge.taemi.train.trainer import EpochMetrics


def make_console(stderr: bool = False) -> Any:
    """A terminal or a pipe, without colours of its own making."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False, soft_wrap=True)
    if not made.is_terminal:
        made.width = 160  # a file or a pipe has no width to keep to
    return made


def print_parity(report: ParityReport) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=f"{report.a}  against  {report.b}", title_justify="left", box=SIMPLE_HEAD)
    for name in ("part", "cases", "max error", "p99 error", "cosine", "Pearson", "limit", ""):
        table.add_column(name, justify="left" if name in ("part", "") else "right", no_wrap=name == "part")
    for stage in report.stages:
        pearson = stage.lowest_pearson
        table.add_row(
            stage.stage,
            str(len(stage.cases)),
            f"{stage.max_abs:.2e}",
            f"{stage.p99_abs:.2e}",
            f"{stage.cosine:.6f}",
            "" if stage.pearson is None else "undefined" if pearson is None else f"{pearson:.6f}",
            f"{stage.tolerance.max_abs:.0e}",
            "[green]ok[/green]" if stage.ok else "[red]outside[/red]",
        )
    make_console().print(table)
    for stage in report.stages:
        for case in stage.cases:
            if not case.ok:
                typer.echo(
                    f"{stage.stage}, {case.case}: max error {case.max_abs:.3g}, cosine {case.cosine:.6f}", err=True
                )


def print_build(result: BuildResult) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    record = result.record
    device = record.machine.get("gpu") or record.machine["architecture"]
    table = Table(title=f"{record.target}: {record.library} on {device}", title_justify="left", box=SIMPLE_HEAD)
    for name in ("part", "precision", "median ms", "p95 ms", "size", "built in", "", "why"):
        table.add_column(name, justify="left" if name in ("part", "precision", "", "why") else "right")
    last = ""
    for c in record.candidates:
        table.add_row(
            c.part if c.part != last else "",
            c.precision,
            _number(c.median_ms, 3) if c.median_ms is not None else "",
            _number(c.p95_ms, 3) if c.p95_ms is not None else "",
            f"{c.bytes / 1e6:.1f} MB",
            f"{c.build_s:.1f} s",
            "[green]kept[/green]" if c.kept else "[dim]rejected[/dim]",
            c.reason,
        )
        last = c.part
    make_console().print(table)
    if result.from_cache:
        typer.echo("built before of just the same graphs, target and device: taken from the cache")
    for verdict in record.verification:
        pearson = "" if verdict.pearson is None else f", Pearson {verdict.pearson:.5f}"
        state = "ok" if verdict.ok else "OUTSIDE its tolerance"
        figures = f"max error {verdict.max_abs:.2e}, cosine {verdict.cosine:.6f}{pearson}"
        typer.echo(f"parity {verdict.stage}: {figures} in {verdict.cases} cases: {state}")
    typer.echo("verified" if result.bundle.manifest.verified else f"not verified: {record.failure}")


def print_calibration(result: CalibrationResult) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    record = result.record
    if not record.closeness:
        typer.echo(f"made by the ranges of {record.clips} clips of {record.data}, and not judged: name --data to do so")
        return
    title = f"{record.held_out} held-out clips of {record.data}; ranges from {record.clips} others"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for name in ("part", "graph", "Pearson", "max error", "cosine", "worst step", "labels", "left out"):
        table.add_column(name, justify="left" if name in ("part", "graph", "left out") else "right")
    for part, flavours in record.closeness.items():
        for flavour, found in flavours.items():
            table.add_row(
                part if flavour == "fp16" else "",
                flavour,
                _number(found.pearson, 5),
                f"{found.max_abs:.3g}",
                f"{found.cosine:.5f}",
                f"{found.min_cosine:.4f}",
                _number(found.mean_pearson, 4),
                ", ".join(record.excluded.get(part, {})) if flavour == "int8" else "",
            )
    make_console().print(table)
    on_labels = ", ".join(f"{k} {_number(v, 4)}" for k, v in record.mean_pearson.items() if v is not None)
    typer.echo(f"mean Pearson on labels, all parts: {on_labels or 'the clips have none: judged against FP32 alone'}")
    typer.echo(
        f"ranges by {', '.join(f'{part}: {method}' for part, method in record.methods.items())}; {record.seconds:.0f} s"
    )
    for part, (chosen, held_out) in record.layer_error.items():
        alphas = ", ".join(f"{alpha} {count} x" for alpha, count in record.alphas[part].items())
        typer.echo(f"{part}: layers err by {chosen:.4f} where alpha was swept, {held_out:.4f} held out; alpha {alphas}")
    for clip, problem in list(result.problems.items())[:5]:
        typer.echo(f"clip {clip} left out: {problem}", err=True)


def _number(value: float | None, digits: int) -> str:
    return "undefined" if value is None else f"{value:.{digits}f}"


def print_summary(source: Path, summary: RunSummary) -> None:
    lost = sum(p.status != "ok" for p in summary.predictions)
    parts = [f"{source}: {len(summary.predictions)} predictions", f"real-time factor {summary.real_time_factor:.2f}"]
    parts += [f"{lost} without any signal"] if lost else []
    parts += [f"{summary.damaged_packets} damaged packets skipped"] if summary.damaged_packets else []
    parts += [_backends(summary.predictions)]
    typer.echo(", ".join(parts), err=True)
    if summary.lost:
        typer.echo(f"note: {summary.lost}", err=True)


def print_fleet_summary(summary: FleetSummary) -> None:
    for source, one in summary.sources.items():
        print_summary(source, one)
    predictions = [p for one in summary.sources.values() for p in one.predictions]
    latencies_ms = sorted(p.latency_ms["total"] for p in predictions)
    typer.echo(
        f"{len(summary.sources)} sources: {len(predictions)} predictions in {summary.calls} calls, "
        f"{len(predictions) / summary.wall_s:.1f} a second, median latency "
        f"{latencies_ms[len(latencies_ms) // 2]:.1f} ms",
        err=True,
    )
    if summary.lost:
        typer.echo(f"note: {summary.lost}", err=True)


def print_doctor(report: Report) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    signs = {"ok": "[green]ok[/green]", "absent": "[dim]absent[/dim]", "note": "[yellow]note[/yellow]"}
    table = Table(box=SIMPLE_HEAD)
    for name in ("what", "", "found", "what to type"):
        table.add_column(name, overflow="fold")
    for finding in report.findings:
        sign = signs.get(finding.status, "[red]problem[/red]")
        table.add_row(finding.name, sign, escape(finding.found), escape(finding.advice))
    make_console().print(table)
    works = ", ".join(f"{device} {'yes' if runs else 'no'}" for device, runs in report.runs_on.items())
    typer.echo(f"runs on: {works}")


def print_live_summary(summary: LiveSummary) -> None:
    counts = summary.counts
    share = counts.late / counts.made if counts.made else 0.0
    parts = [
        f"{counts.made} hops in {summary.seconds:.1f} s",
        f"{counts.late} late ({share:.1%})",
        f"{counts.missed} missed",
        f"{summary.reconnects} reconnects after {summary.failures} failures",
    ]
    parts += [f"{what}: {count}" for what, count in summary.losses.items() if count]
    typer.echo(", ".join(parts), err=True)
    if summary.lost:
        typer.echo(f"note: {summary.lost}", err=True)


def _backends(predictions: Sequence[Prediction]) -> str:
    """Where predictions were made, and how many where there are several places: `tensorrt+graph 30, tensorrt 2`."""
    counts: dict[str, int] = {}
    for prediction in predictions:
        counts[prediction.backend] = counts.get(prediction.backend, 0) + 1
    if len(counts) == 1:
        return f"on {next(iter(counts))}"
    return "on " + ", ".join(f"{backend} {count}" for backend, count in counts.items())


def print_description(description: BundleDescription) -> None:
    from rich.table import Table

    manifest = description.manifest
    table = Table(title=f"{description.name}  ({description.folder})", title_justify="left")
    for name in ("part", "file", "size", "precision", "opset", "parameters", "inputs", "outputs"):
        table.add_column(name, justify="right" if name in ("size", "opset", "parameters") else "left")
    for part in description.parts:
        table.add_row(
            part.part,
            part.file,
            f"{part.bytes / 1e6:.1f} MB",
            part.precision,
            str(part.opset),
            f"{part.parameters / 1e6:.2f} M",
            "\n".join(part.inputs),
            "\n".join(part.outputs),
        )
    make_console().print(table)
    source = manifest.provenance
    trained_on = f"trained on {manifest.trained_on}" if manifest.trained_on else "trained"
    typer.echo(f"fusion head   {trained_on if description.trained else 'untrained'}")
    if (record := manifest.calibration) is not None:
        found = ", ".join(f"{precision} {_number(value, 4)}" for precision, value in record.mean_pearson.items())
        typer.echo(
            f"calibrated    on {record.clips} clips of {record.data} by {record.quantiser}: {found or 'not judged'}"
        )
    if (engine := manifest.engine) is not None:
        device = engine.machine.get("gpu") or engine.machine["architecture"]
        state = "verified" if manifest.verified else f"NOT verified: {engine.failure}"
        typer.echo(f"engines       for {engine.target}, {engine.library} on {device}: {state}")
    typer.echo("token lengths " + ", ".join(f"{m} {norm:.3f}" for m, norm in description.token_norms.items()))
    typer.echo(f"window        {manifest.window.length_s:g} s every {manifest.window.hop_s:g} s")
    typer.echo("weights       " + ", ".join(f"{m}: {w}" for m, w in source.weights.items()))
    typer.echo(f"made          {source.made_at} by {source.made_by} from {source.source}")
    typer.echo("versions      " + ", ".join(f"{name} {v}" for name, v in source.versions.items()))
    typer.echo(f"integrity     {description.hashes_verified} hashes verified, {description.total_bytes / 1e6:.1f} MB")


def print_demo(result: DemoResult) -> None:
    state = "exported" if result.built else "already built and unchanged"
    typer.echo(f"{result.bundle.folder}  {state}")
    print_parity(result.report)
    lost = ", ".join(str(drop) for drop in result.drops)
    typer.echo(f"{len(result.summary.predictions)} predictions while these were taken away: {lost}")
    typer.echo(f"real-time factor {result.summary.real_time_factor:.2f}")
    if result.evaluations:
        print_evaluations(result.evaluations)
    manifest = result.bundle.manifest
    if not manifest.trained:
        typer.echo("The fusion head is untrained: the curves show the way working, not what the face feels.")
    elif "synthetic" in manifest.trained_on:
        typer.echo(f"The head was trained on {manifest.trained_on}: on real people its intensities mean nothing.")
    for file in result.files:
        typer.echo(f"  {file}")


def print_extraction(result: ExtractResult) -> None:
    """What was encoded; what was noticed, counted; what could not be read, each with its reason."""
    index = result.store.index
    typer.echo(f"{result.store.folder}: {len(index.clips)} clips in {len(index.shards)} shards, {result.encoded} new")
    counts: dict[str, list[str]] = {}
    for clip_id, remarks in result.remarks.items():
        for remark in remarks:
            counts.setdefault(remark, []).append(clip_id)
    for remark, ids in sorted(counts.items(), key=lambda entry: -len(entry[1])):
        typer.echo(f"  {len(ids)} with {remark}: {_some(ids)}", err=True)
    if result.unlabelled:
        typer.echo(f"  {len(result.unlabelled)} without a label, left out: {_some(result.unlabelled)}", err=True)
    for clip_id, problem in result.problems.items():
        typer.echo(f"  left out {clip_id}: {problem}", err=True)


def print_epoch(line: EpochMetrics) -> None:
    """One line an epoch, above a bar that may be there: rich watches sys.stderr, which typer.echo goes around."""
    valid = "" if line.valid_mean_pearson is None else f", valid mean Pearson {line.valid_mean_pearson:.3f}"
    sys.stderr.write(f"epoch {line.epoch}: loss {line.loss:.4f}{valid}, {line.seconds:.1f} s\n")


def print_training(result: TrainResult, checkpoint: Path, run: Path) -> None:
    """Which epoch is kept, and what a user must know of the tokens."""
    best = next((line for line in result.history if line.epoch == result.best_epoch), result.history[-1])
    valid = "" if best.valid_mean_pearson is None else f" (valid mean Pearson {best.valid_mean_pearson:.3f})"
    typer.echo(f"trained on {result.trained_on} in {result.seconds:.0f} s; kept epoch {best.epoch}{valid}")
    if result.untrained_tokens:
        typer.echo(
            f"note: the token of {' and '.join(result.untrained_tokens)} never received a gradient: no clip "
            f"lacked that stream, of itself or by modality dropout; export refuses it unless told",
            err=True,
        )
    for clip_id, problem in sorted(result.problems.items()):
        typer.echo(f"  left out {clip_id}: {problem}", err=True)
    typer.echo(f"wrote {checkpoint}, and metrics to {run}")


def print_evaluations(evaluations: Sequence[Evaluation]) -> None:
    """A row a set of streams; a second way of binding tokens stands beside the first."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    first = evaluations[0]
    synthetic = ", synthetic" if first.synthetic and "synthetic" not in first.data else ""
    title = f"{first.artefact}  on {first.data}{synthetic}, split {first.split}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for name in ("streams", "clips", "mean Pearson", "95 %", "MSE", "slope"):
        table.add_column(name, justify="left" if name == "streams" else "right", no_wrap=True)
    for other in evaluations[1:]:
        table.add_column(f"{other.tokens} tokens", justify="right")
    for row, found in _rows(first).items():
        interval = "" if found.interval is None else f"{found.interval.low:.3f} to {found.interval.high:.3f}"
        others = [_figure(_rows(other)[row].mean_pearson) for other in evaluations[1:]]
        cells = [_figure(found.mean_pearson), interval, _figure(found.mse, 4), _figure(found.slope, 2)]
        table.add_row(row, str(found.clips), *cells, *others)
    make_console().print(table)
    typer.echo("clean, by emotion: " + ", ".join(f"{e} {_figure(v)}" for e, v in first.clean.pearson.items()))
    if first.trained_on:
        typer.echo(f"trained on {first.trained_on}")
    for remark in first.remarks:
        typer.echo(f"note: {remark}", err=True)


def print_ablation(ablation: Ablation, page: Path) -> None:
    """The tables in short, then the claims."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=f"{ablation.seeds} seeds on {ablation.data}", title_justify="left", box=SIMPLE_HEAD)
    for name in ("table", "variant", "paper", "natural", "clean", "lost"):
        table.add_column(name, justify="left" if name in ("table", "variant") else "right")
    for row in ablation.rows:
        figures = (row.variant.paper, row.mean("natural"), row.mean("clean"), row.mean("lost"))
        table.add_row(row.variant.table, row.variant.name, *("" if f is None else f"{f:.3f}" for f in figures))
    make_console().print(table)
    for claim in ablation.claims:
        verdict = "holds" if claim.holds else "FAILS" if claim.bar is not None else "not shown"
        typer.echo(f"{verdict:>9}  {claim.difference:+.3f}  {claim.text}")
    typer.echo(f"wrote {page}")


def _rows(evaluation: Evaluation) -> Mapping[str, Score]:
    from taemi_edge.bundle.spec import lost_name

    patterns = {lost_name(name): found for name, found in evaluation.patterns.items()}
    return {"clean": evaluation.clean, "natural": evaluation.natural, **patterns}


def _figure(value: float | None, digits: int = 3) -> str:
    return "undefined" if value is None else f"{value:.{digits}f}"


def _some(ids: list[str]) -> str:
    return ", ".join(ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")

"""What the commands about data and training print: extraction, training, evaluation and ablation.

Nothing is computed here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from taemi_edge.cli.tables import make_console, new_table, number

if TYPE_CHECKING:
    from taemi_edge.corpora.evaluation import Evaluation
    from taemi_edge.corpora.extract import ExtractResult
    from taemi_edge.parity.judge import Score
    from taemi_edge.taemi.ablation import Ablation
    from taemi_edge.taemi.train.run import TrainResult
    from taemi_edge.taemi.train.trainer import EpochMetrics


def print_extraction(result: ExtractResult) -> None:
    """Print how many clips were encoded, how often each remark was made, and why clips were left out."""
    index = result.store.index
    typer.echo(
        f"{result.store.place}: {result.store.count('all')} clips in {len(index.shards)} shards, {result.encoded} new"
    )
    if result.encoded:
        spent = sorted(result.cpu_s.items(), key=lambda entry: -entry[1])
        stages = ", ".join(f"{stage} {seconds / result.encoded:.3f}" for stage, seconds in spent)
        typer.echo(f"  {sum(result.cpu_s.values()) / result.encoded:.3f} CPU seconds a clip: {stages}", err=True)
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
    """Print one line for an epoch, above a progress bar if there is one.

    The line goes to `sys.stderr`, which rich watches; `typer.echo` goes around it.
    """
    valid = "" if line.valid_mean_pearson is None else f", valid mean Pearson {line.valid_mean_pearson:.3f}"
    sys.stderr.write(f"epoch {line.epoch}: loss {line.loss:.4f}{valid}, {line.seconds:.1f} s\n")


def print_training(result: TrainResult, checkpoint: Path, run: Path) -> None:
    """Print which epoch is kept, and a warning about tokens that were not trained."""
    best = next((line for line in result.history if line.epoch == result.best_epoch), result.history[-1])
    valid = "" if best.valid_mean_pearson is None else f" (valid mean Pearson {best.valid_mean_pearson:.3f})"
    typer.echo(f"trained on {result.trained_on} in {result.seconds:.0f} s; kept epoch {best.epoch}{valid}")
    if result.untrained_tokens:
        typer.echo(
            f"note: the token of {' and '.join(result.untrained_tokens)} never received a gradient: no clip "
            f"lacked that stream, of itself or by modality dropout; export refuses it without --untrained-tokens",
            err=True,
        )
    for clip_id, problem in sorted(result.problems.items()):
        typer.echo(f"  left out {clip_id}: {problem}", err=True)
    typer.echo(f"wrote {checkpoint}, and metrics to {run}")


def print_evaluations(evaluations: Sequence[Evaluation]) -> None:
    """Print a row for each set of streams; a second kind of tokens has a column beside the first."""
    first = evaluations[0]
    synthetic = ", synthetic" if first.synthetic and "synthetic" not in first.data else ""
    title = f"{first.artefact}  on {first.data}{synthetic}, split {first.split}"
    outputs = list(first.clean.outputs)
    further = ("MSE", "slope") if _is_numbers(first.clean) else tuple(outputs) if len(outputs) > 1 else ()
    columns = ("streams", "clips", _called(first.metric, first.clean), "95 %", *further)
    table = new_table(title, columns, left=("streams",), no_wrap=columns)
    for other in evaluations[1:]:
        table.add_column(f"{other.tokens} tokens", justify="right")
    for row, found in _rows(first).items():
        interval = "" if found.interval is None else f"{found.interval.low:.3f} to {found.interval.high:.3f}"
        others = [number(_rows(other)[row].value) for other in evaluations[1:]]
        table.add_row(row, str(found.clips), number(found.value), interval, *_further(found), *others)
    make_console().print(table)
    for name, output in first.clean.outputs.items():
        what = "clean" if len(outputs) == 1 else f"clean, {name} ({output.metric})"
        by_name = ", ".join(f"{label} {number(value)}" for label, value in output.by_name.items())
        typer.echo(f"{what}, by name: {by_name}")
    if len(first.patterns) > 7:
        worst = "" if first.worst_pattern is None else f"; worst with {_shown(first, first.worst_pattern)}"
        typer.echo(f"mean over {len(first.patterns)} sets of streams: {number(first.mean_over_patterns)}{worst}")
    if first.trained_on:
        typer.echo(f"trained on {first.trained_on}")
    for remark in first.remarks:
        typer.echo(f"note: {remark}", err=True)


def _is_numbers(score: Score) -> bool:
    """Whether the only output is numbers judged by Pearson's correlation, beside which error and slope are shown."""
    return score.metric == "pearson" and len(score.outputs) == 1


def _called(metric: str, score: Score) -> str:
    """What the column of the metric is called."""
    return "mean Pearson" if _is_numbers(score) else metric.replace("_", " ")


def _further(score: Score) -> list[str]:
    outputs = list(score.outputs.values())
    if _is_numbers(score):
        return [number(outputs[0].mse, 4), number(outputs[0].slope, 2)]
    return [number(output.value) for output in outputs] if len(outputs) > 1 else []


def print_ablation(ablation: Ablation, page: Path) -> None:
    """Print the tables in short, then the claims."""
    columns = ("table", "variant", "paper", "natural", "clean", "lost")
    table = new_table(f"{ablation.seeds} seeds on {ablation.data}", columns, left=("table", "variant"))
    for row in ablation.rows:
        figures = (row.variant.paper, row.mean("natural"), row.mean("clean"), row.mean("lost"))
        table.add_row(row.variant.table, row.variant.name, *("" if f is None else f"{f:.3f}" for f in figures))
    make_console().print(table)
    for claim in ablation.claims:
        verdict = "holds" if claim.holds else "FAILS" if claim.bar is not None else "not shown"
        typer.echo(f"{verdict:>9}  {claim.difference:+.3f}  {claim.text}")
    typer.echo(f"wrote {page}")


def _rows(evaluation: Evaluation) -> Mapping[str, Score]:
    """The scores by what the table calls them: many sets of streams go by what is left, few by what is lost."""
    patterns = {_shown(evaluation, name): found for name, found in evaluation.patterns.items()}
    return {"clean": evaluation.clean, "natural": evaluation.natural, **patterns}


def _shown(evaluation: Evaluation, pattern: str) -> str:
    from taemi_edge.bundle.streams import lost_name

    return pattern if pattern == "natural" else lost_name(pattern, evaluation.streams)


def _some(ids: list[str]) -> str:
    return ", ".join(ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")

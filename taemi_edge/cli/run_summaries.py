"""What `taemi-edge run` says on standard error at the end of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from taemi_edge.cli.options import note
from taemi_edge.errors import CheckFailedError

if TYPE_CHECKING:
    from taemi_edge.live.run import LiveSummary
    from taemi_edge.runtime.files import FleetSummary, RunSummary
    from taemi_edge.runtime.prediction import Prediction


def print_summary(source: Path | str, summary: RunSummary) -> None:
    """Print how a run over one file went."""
    lost = sum(p.status != "ok" for p in summary.predictions)
    parts = [f"{source}: {len(summary.predictions)} predictions", f"real-time factor {summary.real_time_factor:.2f}"]
    parts += [f"{lost} without any signal"] if lost else []
    parts += [f"{summary.damaged_packets} damaged packets skipped"] if summary.damaged_packets else []
    parts += [_backends(summary.predictions)]
    typer.echo(", ".join(parts), err=True)
    for remark in (*summary.notes, *([summary.lost] if summary.lost else [])):
        note(remark)


def print_fleet_summary(summary: FleetSummary) -> None:
    """Print how a run over several files went, each and all together."""
    for source, one in summary.sources.items():
        print_summary(source, one)
    predictions = [p for one in summary.sources.values() for p in one.predictions]
    latencies_ms = sorted(p.latency_ms["total"] or 0.0 for p in predictions)
    typer.echo(
        f"{len(summary.sources)} sources: {len(predictions)} predictions in {summary.calls} calls, "
        f"{len(predictions) / summary.wall_s:.1f} a second, median latency "
        f"{latencies_ms[len(latencies_ms) // 2]:.1f} ms",
        err=True,
    )
    if summary.lost:
        note(summary.lost)


def print_live_summary(summary: LiveSummary) -> None:
    """Print how a live run went: its hops, reconnects and losses."""
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
    if summary.degraded:
        note(
            f"this machine could not carry all for {summary.degraded_s:.0f} s ({summary.degraded}): "
            f"{counts.degraded} hops are marked as degraded"
        )
    if summary.lost:
        note(summary.lost)


def require_data(summary: LiveSummary) -> None:
    """Refuse a live run in which nothing ever came; where some sources gave something, name the others.

    Raises:
        CheckFailedError: no source gave anything.
    """
    named = [f"{source} ({reason})" for source, reason in summary.silent.items()]
    if not named:
        return
    after = f"never gave anything in {summary.seconds:.1f} s"
    if len(named) < summary.sources:
        note(f"{len(named)} of {summary.sources} sources {after}: {'; '.join(named)}")
        return
    which = f"{named[0]} {after}" if len(named) == 1 else f"all {len(named)} sources {after}: {'; '.join(named)}"
    raise CheckFailedError(f"{which}: check that it is switched on and that its address is right")


def _backends(predictions: Sequence[Prediction]) -> str:
    """The backends that made the predictions; with counts where there are several: `tensorrt+graph 30, tensorrt 2`."""
    counts: dict[str, int] = {}
    for prediction in predictions:
        counts[prediction.backend] = counts.get(prediction.backend, 0) + 1
    if len(counts) == 1:
        return f"on {next(iter(counts))}"
    return "on " + ", ".join(f"{backend} {count}" for backend, count in counts.items())

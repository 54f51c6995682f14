"""What `taemi-edge demo` prints: first what is going to happen, then what happened, and at last what to type next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

import typer

from taemi_edge.cli.demo import MODEL, SHIPPED, DemoResult
from taemi_edge.cli.tables import as_text, make_console, new_table, print_parity
from taemi_edge.cli.training_tables import print_evaluations
from taemi_edge.runtime.prediction import Prediction
from taemi_edge.taemi.names import INTENSITIES

#: So many of the highest intensities of a stretch are shown.
_SHOWN = 2


def print_opening(model: str, video: Path | None, output: Path) -> None:
    """Say in plain words what the demo does, before it begins."""
    clip = "a synthetic clip of 17 seconds" if video is None else str(video)
    typer.echo(
        f"{model} reads a face, a voice and words, and gives six intensities twice a second. The demo takes {clip},\n"
        f"checks that the model computes here what it computed in PyTorch, and runs it while camera, microphone and\n"
        f"words are taken away, one after the other and then all. Results go to {output}.\n"
    )


def print_demo(result: DemoResult) -> None:
    """Print what the demo did, the files that it wrote, and what further extras would add."""
    name = result.bundle.manifest.name
    state = "exported" if result.built else "already built and unchanged" if name == MODEL else "ships with the package"
    typer.echo(f"{result.bundle.folder}  {state}")
    print_parity(result.report)
    lost = ", ".join(str(drop) for drop in result.drops)
    typer.echo(f"{len(result.summary.predictions)} predictions while these were taken away: {lost}")
    _print_stretches(result.summary.predictions)
    typer.echo(f"real-time factor {result.summary.real_time_factor:.2f}")
    if result.evaluations:
        print_evaluations(result.evaluations)
    manifest = result.bundle.manifest
    if not manifest.trained:
        typer.echo("The head is untrained: the curves show that every step works, not what the face feels.")
    elif manifest.synthetic:
        whole = "The model" if name == SHIPPED else "The head"
        typer.echo(f"{whole} was trained on {manifest.trained_on}: on real people its intensities mean nothing.")
    for file in result.files:
        typer.echo(f"  {file}")
    _print_left_out(result)


def _print_stretches(predictions: Sequence[Prediction]) -> None:
    """Print a row for each stretch of the clip in which the same streams were there."""
    table = new_table(
        "",
        ("seconds", "streams that were there", "highest intensities"),
        left=("streams that were there", "highest intensities"),
    )
    for first, last, streams, highest in stretches(predictions):
        table.add_row(*map(as_text, (f"{first:.1f} to {last:.1f}", streams or "none: the model's prior", highest)))
    make_console().print(table)


def stretches(predictions: Sequence[Prediction]) -> Iterator[tuple[float, float, str, str]]:
    """Give each stretch of a run in which the same streams were live.

    Yields:
        The times of its first and last prediction, the live streams, and the mean of its highest intensities, in words.
    """
    for live, together in groupby(
        predictions, lambda p: tuple(s for s, state in p.presence.items() if state == "live")
    ):
        stretch = list(together)
        values = [outputs for p in stretch if (outputs := p.outputs.get(INTENSITIES)) is not None]
        means = {name: sum(value[name] for value in values) / len(values) for name in (values[0] if values else ())}
        highest = sorted(means, key=lambda name: -means[name])[:_SHOWN]
        shown = ", ".join(f"{name} {means[name]:.2f}" for name in highest)
        yield stretch[0].time_s, stretch[-1].time_s, ", ".join(live), shown


def _print_left_out(result: DemoResult) -> None:
    """Say what each extra that is not installed would add, and what to type next."""
    if result.left_out:
        typer.echo("\nNot installed here, and not needed for the above:")
    for extra, adds in result.left_out:
        typer.echo(f"  pip install 'taemi-edge[{extra}]'  {adds}")
    name = result.bundle.manifest.name
    typer.echo("\nNext:")
    drawn = "" if find_spec("cv2") is None else " --annotate out.mp4"
    typer.echo(f"  taemi-edge run {name} YOUR.mp4{drawn}  runs it on a clip of yours")
    typer.echo(f"  taemi-edge inspect {name}  shows what is in it")

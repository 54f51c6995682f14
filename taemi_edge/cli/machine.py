"""The commands for a first look: `doctor` examines this machine, `demo` shows every step on one clip."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taemi_edge.cli.options import ThreadsOption
from taemi_edge.cli.progress import shown_progress
from taemi_edge.cli.tables import make_console
from taemi_edge.errors import CheckFailedError

if TYPE_CHECKING:
    from taemi_edge.cli.doctor import Report


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Look at this machine: what works, what does not, and what to type; exit 1 where something is in the way."""
    from taemi_edge.bundle.json_files import to_json
    from taemi_edge.cli.doctor import examine

    report = examine()
    if as_json:
        typer.echo(to_json(report))
    else:
        _print_doctor(report)
    if not report.ok:
        problems = [finding.name for finding in report.findings if finding.status == "problem"]
        raise CheckFailedError(f"in the way: {', '.join(problems)}")


def demo(
    video: Annotated[
        Path | None,
        typer.Argument(metavar="[VIDEO]", help="A video of your own  [default: a synthetic clip that ships]"),
    ] = None,
    transcript: Annotated[
        Path | None,
        typer.Option("--transcript", metavar="F", help="What is said in VIDEO; without it the speech is recognised."),
    ] = None,
    bundles: Annotated[
        Path, typer.Option("--bundles", metavar="DIR", help="Where taemi-mobile lies or is made.")
    ] = Path("export"),
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where results go.")] = Path(
        "runs/demo"
    ),
    threads: ThreadsOption = 0,
) -> None:
    """Show the whole way on one clip: parity, and a run while camera, microphone and transcript drop out.

    With the extra `export` the model is exported from PyTorch first; without it the one that ships is taken.
    """
    from taemi_edge.cli.demo import chosen_model, run_demo
    from taemi_edge.cli.demo_report import print_demo, print_opening

    print_opening(chosen_model(bundles), video, output)
    with shown_progress() as progress:
        result = run_demo(video, transcript, bundles, output, threads=threads, progress=progress)
    print_demo(result)


def _print_doctor(report: Report) -> None:
    """Print a row for each finding, and the devices on which bundles run here."""
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

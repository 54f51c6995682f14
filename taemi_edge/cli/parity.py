"""The command `parity`, which compares two bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taemi_edge.cli.named_bundles import chosen_artefact
from taemi_edge.cli.options import (
    DeviceOption,
    JsonOption,
    PlannedThreadsOption,
    device_name,
    save_json,
)
from taemi_edge.cli.progress import shown_progress
from taemi_edge.cli.tables import print_parity
from taemi_edge.errors import CheckFailedError


def parity(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A", help="A bundle's folder or name, a TAEMI checkpoint, or file.py:function of your own model."
        ),
    ],
    b: Annotated[
        str | None,
        typer.Argument(
            metavar="[B]",
            help="Another one; without it a bundle is compared with PyTorch's outputs for its golden feeds.",
        ),
    ] = None,
    json_file: JsonOption = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="F.png", help="Draw a scatter plot and a histogram of errors for each part."),
    ] = None,
    device: DeviceOption = None,
    threads: PlannedThreadsOption = None,
) -> None:
    """Compare two artefacts part by part, in every presence pattern. Exit code 0: inside the tolerances; 1: not."""
    from taemi_edge.parity.comparison import check_parity

    if plot is not None:
        from taemi_edge.parity.plot import plot_parity
        from taemi_edge.pictures import check_plot_file

        check_plot_file(plot)
    two = b is not None  # then A is what B was made from
    a, b = chosen_artefact(a, recipes=two, graphs=two), None if b is None else chosen_artefact(b, recipes=True)
    with shown_progress() as progress:
        progress.stage("running both on the same feeds")
        report, pairs = check_parity(a, b, device=device_name(device), threads=threads)
    print_parity(report)
    save_json(json_file, report)
    if plot is not None:
        plot_parity(report, pairs, plot)
    if not report.ok:
        raise CheckFailedError(f"{report.first_failure} left its tolerance first: the two are not the same model")

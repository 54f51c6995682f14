"""The command `export-triton`: a bundle as a model that the Triton Inference Server serves."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taemi_edge.cli.options import (
    BundleArgument,
    DeviceOption,
    PlannedThreadsOption,
    RequireSignatureOption,
    device_name,
    note,
    note_training,
)

if TYPE_CHECKING:
    from taemi_edge.bundle.folder import Bundle


def export_triton(
    bundle: BundleArgument,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The model repository to write into.")],
    name: Annotated[
        str | None, typer.Option("--name", help="The model's name in Triton  [default: that of the bundle]")
    ] = None,
    slots: Annotated[int, typer.Option("--slots", help="How many sequences there may be at once.")] = 8,
    device: DeviceOption = None,
    threads: PlannedThreadsOption = None,
    window: Annotated[
        float | None, typer.Option("--window", metavar="S", help="Seconds a prediction looks back.")
    ] = None,
    hop: Annotated[float | None, typer.Option("--hop", metavar="S", help="Seconds between two requests.")] = None,
    idle_s: Annotated[
        float, typer.Option("--idle-s", metavar="S", help="A sequence without a request for so long is dropped.")
    ] = 30.0,
    queue_delay_us: Annotated[
        int,
        typer.Option("--queue-delay-us", metavar="US", help="How long a request may wait for others to share a call."),
    ] = 0,
    require_signature: RequireSignatureOption = None,
) -> None:
    """Write a model repository for the Triton Inference Server: DIR/NAME with config.pbtxt, model.py and the bundle."""
    from taemi_edge.bundle.trusted_keys import required_key
    from taemi_edge.scale.triton.config import ServingOptions
    from taemi_edge.scale.triton.repository import export_repository

    options = ServingOptions(
        slots=slots,
        device=device_name(device),
        threads=threads,
        window_s=window,
        hop_s=hop,
        idle_s=idle_s,
        queue_delay_us=queue_delay_us,
    )
    written = export_repository(
        bundle, output, name=name, options=options, require_signature=required_key(require_signature)
    )
    note_training(written.bundle)
    _note_few_sources(written.bundle, slots)
    place = str(output.resolve())
    if not place.isascii() or len(place.split()) > 1:
        note(f"Triton's Python backend loads no model from {place}: serve it from a path of ASCII without spaces")
    signed = "with its signature" if written.signed else "without a signature"
    typer.echo(f"wrote {written.folder} {signed}")
    typer.echo(f"tritonserver --model-repository {shlex.quote(str(output))}")


def _note_few_sources(bundle: Bundle, slots: int) -> None:
    """Warn where engines for a GPU were built for fewer sources than there are slots: they may not fit."""
    engine = bundle.manifest.engine
    sources = None if engine is None or not engine.backend.startswith("tensorrt") else engine.recipe.get("sources")
    if isinstance(sources, int) and sources < slots:
        note(
            f"the engines were built for {sources} source{'s' if sources > 1 else ''}, and there are {slots} slots: "
            f"where they do not fit, the server says so when it loads the model (build-engine --sources {slots})"
        )

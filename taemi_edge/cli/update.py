"""The command `update`, which brings a device to another model or leaves it with the one that it has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from taemi_edge.bundle.precisions import RequestedPrecision
from taemi_edge.cli.options import JsonOption, ThreadsOption, save_json
from taemi_edge.cli.progress import shown_progress
from taemi_edge.errors import UsageError

_FromOption = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="SOURCE", help="oci://HOST/NAME:TAG or oci://HOST/NAME@sha256:DIGEST, or a bundle's folder."
    ),
]
_RootOption = Annotated[
    Path, typer.Option("--root", metavar="DIR", help="The models of this device; `run DIR/current` runs the newest.")
]
_KeyOption = Annotated[
    Path | None, typer.Option("--key", metavar="K.pub", help="The public key that must have signed the bundle.")
]
_UnsignedOption = Annotated[bool, typer.Option("--unsigned", help="Take a bundle that nobody signed.")]
_RollbackOption = Annotated[bool, typer.Option("--rollback", help="Go back to the previous version.")]
_RetryOption = Annotated[bool, typer.Option("--retry", help="Try a version again that failed here before.")]
_TargetOption = Annotated[
    str | None,
    typer.Option(
        "--target",
        metavar="T",
        help="What to build for, as build-engine takes it  [default: as the model in use; for the first one tensorrt "
        "or cpu]",
    ),
]
_PrecisionOption = Annotated[
    RequestedPrecision | None,
    typer.Option("--precision", help="As build-engine takes it  [default: as the model in use; for the first, auto]"),
]
_ClipOption = Annotated[
    Path | None,
    typer.Option(
        "--clip",
        metavar="F",
        help="The clip to rehearse on, with F.vtt where that is beside it  [default: the clip that ships]",
    ),
]
_WatchOption = Annotated[
    float, typer.Option("--watch-s", metavar="S", help="How long the service must run it well before it stays.")
]
#: A build takes all cores for minutes; the service that runs meanwhile comes first.
_NICE = 10


def update(
    root: _RootOption,
    source: _FromOption = None,
    key: _KeyOption = None,
    unsigned: _UnsignedOption = False,
    rollback: _RollbackOption = False,
    target: _TargetOption = None,
    precision: _PrecisionOption = None,
    clip: _ClipOption = None,
    watch_s: _WatchOption = 60.0,
    retry: _RetryOption = False,
    threads: ThreadsOption = 0,
    json_file: JsonOption = None,
) -> None:
    """Bring a device to another bundle: pull, verify, build, check and rehearse it, switch, watch; or keep the old one.

    Exit code 0: the device runs what the command names. Exit code 1: it runs what it ran before, and DIR/update.json
    says why.
    """
    if rollback == (source is not None):
        raise UsageError("expected either --from SOURCE or --rollback")
    from taemi_edge.bundle.trusted_keys import required_key
    from taemi_edge.fleet.update import UpdateOptions
    from taemi_edge.fleet.update import update as update_device

    key = required_key(key)
    if source is not None and (key is None) != unsigned:
        said = "none of them" if key is None else f"--unsigned, and this device requires signatures by {key}"
        raise UsageError(f"expected either --key K.pub, or --unsigned for a bundle that nobody signed, got {said}")
    options = UpdateOptions(
        source=source or "",
        key=key,
        target=target,
        precision=precision,
        clip=clip,
        watch_s=watch_s,
        retry=retry,
        threads=threads,
    )
    os.nice(_NICE)
    with shown_progress() as progress:
        result = update_device(root, options, progress=progress)
    save_json(json_file, result)
    steps = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in result.seconds.items())
    typer.echo(f"{result.reason} ({steps})")

"""The command `build-engine`, which builds the engines of a bundle for a device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taemi_edge.bundle.precisions import RequestedPrecision
from taemi_edge.cli.options import (
    BundleArgument,
    JsonOption,
    RequireSignatureOption,
    ThreadsOption,
    note,
    recipe_changes,
    save_json,
)
from taemi_edge.cli.progress import shown_progress
from taemi_edge.cli.tables import print_build
from taemi_edge.errors import CheckFailedError

_TargetOption = Annotated[str, typer.Option("--target", metavar="T", help="A target's name or TOML file (engines/).")]
_PrecisionOption = Annotated[
    RequestedPrecision,
    typer.Option(
        "--precision",
        help="auto times what a hop of all sources brings, and keeps the fastest of each part inside the budget; fp8 "
        "and bf16 where library and GPU have them. On a CPU each takes its fastest form.",
    ),
]
_OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="DIR", help="The bundle to make  [default: engines/<model>-<target>]"),
]
_SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change the target, such as workspace_mib=512; repeatable."),
]
_SourcesOption = Annotated[
    int | None, typer.Option("--sources", min=1, help="How many sources share the engines. Short for --set sources=N.")
]
_CacheOption = Annotated[
    bool,
    typer.Option(
        "--cache/--no-cache", help="Take engines that were built before from the same graphs, target and device."
    ),
]


def build_engine_command(
    bundle: BundleArgument,
    target: _TargetOption,
    precision: _PrecisionOption = "auto",
    output: _OutputOption = None,
    override: _SetOption = None,
    sources: _SourcesOption = None,
    cache: _CacheOption = True,
    require_signature: RequireSignatureOption = None,
    threads: ThreadsOption = 0,
    json_file: JsonOption = None,
) -> None:
    """Build a bundle's engines for a device, compare them with PyTorch's outputs, and mark them verified or not."""
    from taemi_edge.bundle.folder import open_bundle
    from taemi_edge.bundle.recipe import load_recipe
    from taemi_edge.bundle.trusted_keys import required_key
    from taemi_edge.engines.build import build_engine
    from taemi_edge.engines.cache import EngineCache
    from taemi_edge.engines.choose import untimed_precision
    from taemi_edge.engines.recipe import TargetRecipe

    loaded = load_recipe("engines", target, TargetRecipe, recipe_changes(override, {"sources": sources}))
    source = open_bundle(bundle, require_signature=required_key(require_signature))
    folder = output or Path("engines") / f"{source.manifest.name}-{loaded.name}"
    if precision == "auto" and loaded.ahead_of_time:
        precision = untimed_precision(source.manifest, loaded)
        note(
            f"--target {loaded.name} builds without its GPU, so nothing can be timed: every part is built in "
            f"{precision}; --precision names another one"
        )
    with shown_progress() as progress:
        result = build_engine(
            source,
            loaded,
            precision,
            folder,
            threads=threads,
            cache=EngineCache() if cache else None,
            progress=progress,
        )
    print_build(result)
    save_json(json_file, result.record)
    typer.echo(f"wrote {folder}")
    if result.record.verification and not result.bundle.manifest.verified:
        raise CheckFailedError(f"{result.record.failure}: the bundle is marked unverified and will not run")

"""The commands that make an ONNX bundle: `export` from a checkpoint, and `init`, which makes a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taemi_edge.cli.options import CheckpointOption, RecipeArgument, extra_needed, note_training
from taemi_edge.cli.progress import shown_progress
from taemi_edge.cli.tables import print_parity
from taemi_edge.errors import UsageError


def export(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT", help="A checkpoint folder, or a recipe (name or TOML): its model before training."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="The bundle to make  [default: export/<model>]"),
    ] = None,
    random_weights: Annotated[
        bool,
        typer.Option("--random-weights", help="For a recipe: leave the encoders random, to try the way without a hub."),
    ] = False,
    clip: Annotated[
        Path | None,
        typer.Option("--clip", metavar="VIDEO", help="A talking face for the golden feeds  [default: built in]"),
    ] = None,
    transcript: Annotated[
        Path | None,
        typer.Option("--transcript", metavar="F", help="What is said in --clip (.vtt, .srt, .txt, .jsonl)."),
    ] = None,
    untrained_tokens: Annotated[
        bool, typer.Option("--untrained-tokens", help="Export tokens that training never reached.")
    ] = False,
) -> None:
    """Export a checkpoint as an ONNX bundle: four parts, checked against PyTorch before the folder appears."""
    if (clip is None) != (transcript is None):
        raise UsageError("--clip and --transcript go together: golden feeds need a face, speech and its words")
    feeds = (clip, transcript) if clip is not None else None
    _export_checkpoint(checkpoint, output, random_weights, feeds, untrained_tokens)


def _export_checkpoint(
    checkpoint: str,
    output: Path | None,
    random_weights: bool,
    feeds: tuple[Path, Path | None] | None,
    untrained_tokens: bool,
) -> None:
    with extra_needed("export", "taemi-edge export"):
        from taemi_edge.taemi.checkpoint import open_checkpoint
        from taemi_edge.taemi.exporting import export_checkpoint
    with shown_progress() as progress:
        progress.stage(f"loading {checkpoint}")
        loaded = open_checkpoint(checkpoint, random_weights)
        folder = output or Path("export") / loaded.recipe.name
        bundle, report = export_checkpoint(
            loaded, folder, source=checkpoint, clip=feeds, untrained_tokens=untrained_tokens, progress=progress
        )
    print_parity(report)
    note_training(bundle)
    typer.echo(f"wrote {folder}")


def init(
    recipe: RecipeArgument,
    output: CheckpointOption = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Leave the encoders random as well, to try the way without a hub.")
    ] = False,
) -> None:
    """Make a checkpoint of a recipe: pretrained encoders, and the fusion head that the recipe names, if any."""
    with extra_needed("export", "taemi-edge init"):
        from taemi_edge.bundle.recipe import load_recipe
        from taemi_edge.taemi.checkpoint import new_checkpoint, save_checkpoint
        from taemi_edge.taemi.recipe import ModelRecipe
    loaded = load_recipe("export", recipe, ModelRecipe)
    folder = output or Path("checkpoints") / loaded.name
    if folder.exists():
        raise UsageError(f"{folder} exists and might hold a trained checkpoint: name a new folder with --output")
    with shown_progress() as progress:
        progress.stage(f"building {loaded.name}")
        save_checkpoint(new_checkpoint(loaded, random_weights), folder)
    typer.echo(f"wrote {folder}")

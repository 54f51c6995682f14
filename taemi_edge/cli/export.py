"""The commands that make an ONNX bundle, `export`, and what comes before it: `init-model` and `init`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from taemi_edge.bundle.foreign_models import refuse_foreign
from taemi_edge.cli.options import CheckpointOption, RecipeArgument, extra_needed, note, note_training
from taemi_edge.cli.progress import shown_progress
from taemi_edge.cli.tables import print_head, print_parity
from taemi_edge.errors import UsageError

_EvaluationOption = Annotated[
    list[Path] | None,
    typer.Option("--evaluation", metavar="F", help="What `evaluate --json F` wrote, for the model card; repeatable."),
]


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="file.py:function or package.module:function that returns a Model, a TOML file that names ONNX files, "
            "a TAEMI checkpoint folder, or a TAEMI recipe (name or TOML): its model before training.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="The bundle to make  [default: export/<model>]"),
    ] = None,
    random_weights: Annotated[
        bool,
        typer.Option("--random-weights", help="For a recipe: leave the encoders random, which needs no network."),
    ] = False,
    clip: Annotated[
        Path | None,
        typer.Option("--clip", metavar="VIDEO", help="A talking face for TAEMI's golden feeds  [default: built in]"),
    ] = None,
    transcript: Annotated[
        Path | None,
        typer.Option("--transcript", metavar="F", help="What is said in --clip (.vtt, .srt, .txt, .jsonl)."),
    ] = None,
    untrained_tokens: Annotated[
        bool,
        typer.Option("--untrained-tokens", help="Also export missing-modality tokens that training never reached."),
    ] = False,
    evaluation: _EvaluationOption = None,
) -> None:
    """Export a model as a bundle: an ONNX graph for each encoder and the head, checked before the folder appears.

    Your own model is declared in Python (`taemi-edge init-model` writes an example to start from), or in a TOML file
    where its encoders and head exist as ONNX files. A Python file that you name here is run.
    """
    if (clip is None) != (transcript is None):
        raise UsageError("--clip and --transcript go together: golden feeds need a face, speech and its words")
    feeds = (clip, transcript) if clip is not None else None
    with extra_needed("export", "taemi-edge export"):
        from taemi_edge.export.onnx_model import declares_onnx_files
        from taemi_edge.export.user_code import names_a_function
    _require_a_model(model)
    if not names_a_function(model) and not declares_onnx_files(Path(model)):
        _export_checkpoint(model, output, random_weights, feeds, untrained_tokens, evaluation or ())
        return
    if feeds or random_weights or untrained_tokens:
        raise UsageError("--clip, --random-weights and --untrained-tokens are for TAEMI: leave them out")
    _export_declared(model, output, evaluation or ())


def _require_a_model(given: str) -> None:
    """Refuse what is no model yet: a Python file without a function, and files of other toolkits."""
    if (file := given.rstrip(":")).endswith(".py"):
        raise UsageError(f"expected FILE.py:FUNCTION, got {given!r}: name what returns the model, as in {file}:build")
    refuse_foreign(given)


def _export_declared(argument: str, output: Path | None, evaluations: Sequence[Path]) -> None:
    with extra_needed("export", "taemi-edge export"):
        from taemi_edge.export.checks import spectral_operators
        from taemi_edge.export.export_model import export_model
        from taemi_edge.export.onnx_model import load_onnx_model
        from taemi_edge.export.user_code import load_model, names_a_function
    with shown_progress() as progress:
        progress.stage(f"loading {argument}")
        is_code = names_a_function(argument)
        model = load_model(argument) if is_code else load_onnx_model(Path(argument))
        stem = Path(argument.rpartition(":")[0] if is_code else argument).stem.rpartition(".")[2]
        folder = output or Path("export") / (model.name or stem)
        bundle, report = export_model(model, folder, source=argument, evaluations=evaluations, progress=progress)
    print_parity(report)
    print_head(bundle.manifest)
    for name in bundle.manifest.parts:
        if operators := spectral_operators(bundle.read_part(name)):
            what = f"{name} has {' and '.join(operators)}, which TensorRT does not compile"
            typer.echo(f"note: {what}: a convolution with fixed DFT filters does the same")
    typer.echo(f"wrote {folder}")


def _export_checkpoint(
    checkpoint: str,
    output: Path | None,
    random_weights: bool,
    feeds: tuple[Path, Path | None] | None,
    untrained_tokens: bool,
    evaluations: Sequence[Path],
) -> None:
    with extra_needed("export", "taemi-edge export"):
        from taemi_edge.taemi.checkpoint import open_checkpoint
        from taemi_edge.taemi.exporting import export_checkpoint
        from taemi_edge.taemi.feature_dims import other_size
    with shown_progress() as progress:
        progress.stage(f"loading {checkpoint}")
        loaded = open_checkpoint(checkpoint, random_weights)
        if said := other_size(loaded.model):
            note(said)
        folder = output or Path("export") / loaded.recipe.name
        bundle, report = export_checkpoint(
            loaded,
            folder,
            source=checkpoint,
            clip=feeds,
            untrained_tokens=untrained_tokens,
            evaluations=evaluations,
            progress=progress,
        )
    print_parity(report)
    print_head(bundle.manifest)
    note_training(bundle)
    typer.echo(f"wrote {folder}")


def init_model(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make.")],
) -> None:
    """Write model.py, a commented example of a model of your own, which exports as it is."""
    from taemi_edge.cli.starter import write_starter

    written = write_starter(folder)
    typer.echo(f"wrote {written}")
    typer.echo(f"next: taemi-edge export {written}:build --output export/mine")
    typer.echo("its first lines say how it is run, calibrated and built from there")


def init(
    recipe: RecipeArgument,
    output: CheckpointOption = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Leave the encoders random as well, which needs no network.")
    ] = False,
) -> None:
    """Make a checkpoint from a recipe: its pretrained encoders, and the trained head that it names, if any."""
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

"""The commands that train: `train` trains a recipe, `ablate` trains the paper's variants and checks its claims."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taemi_edge.cli.options import (
    CheckpointOption,
    JsonOption,
    RayOption,
    RecipeArgument,
    ThreadsOption,
    WorkersOption,
    chosen_workers,
    command_line,
    extra_needed,
    recipe_changes,
    save_json,
)
from taemi_edge.cli.progress import shown_progress
from taemi_edge.cli.training_tables import print_ablation, print_epoch, print_training
from taemi_edge.errors import CheckFailedError

_RunOption = Annotated[
    Path | None,
    typer.Option("--run", metavar="DIR", help="Where metrics, curve and state go  [default: runs/train-<checkpoint>]"),
]
_SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe, such as fusion.kind=concat; repeatable."),
]
_ProvidedOption = Annotated[
    bool, typer.Option("--provided", help="Allow features that came with the data set as pickles.")
]
_TensorboardOption = Annotated[
    Path | None, typer.Option("--tensorboard", metavar="DIR", help="Also write events there.")
]


def train(
    recipe: RecipeArgument,
    data: Annotated[
        str, typer.Option("--data", metavar="DIR|URI", help="A feature store, or a corpus; also s3:// and the like.")
    ],
    output: CheckpointOption = None,
    run_folder: _RunOption = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="The seed of weights, order and dropout.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Short for --set training.epochs=N.")] = None,
    override: _SetOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the state of a stopped run.")] = False,
    provided: _ProvidedOption = False,
    tensorboard: _TensorboardOption = None,
    threads: ThreadsOption = 0,
    workers: WorkersOption = 0,
) -> None:
    """Train the head and tokens of a recipe on stored features, or the whole model end to end; Ctrl-C loses nothing."""
    with extra_needed("train", "taemi-edge train"):
        import torch

        from taemi_edge.bundle.recipe import load_recipe
        from taemi_edge.taemi.recipe import ModelRecipe
        from taemi_edge.taemi.train.run import TrainOptions, train_recipe
    if threads:
        torch.set_num_threads(threads)
    changes = recipe_changes(override, {"seed": seed, "training.epochs": epochs})
    loaded = load_recipe("export", recipe, ModelRecipe, changes)
    checkpoint = output or Path("checkpoints") / loaded.name
    options = TrainOptions(
        data=data,
        output=checkpoint,
        run=run_folder or Path("runs") / f"train-{checkpoint.name}",
        resume=resume,
        provided=provided,
        workers=workers,
        tensorboard=tensorboard,
    )
    with shown_progress() as progress:
        result = train_recipe(loaded, options, progress=progress, on_epoch=print_epoch)
    print_training(result, checkpoint, options.run)


_AblatedRecipe = Annotated[
    str | None,
    typer.Argument(
        metavar="[RECIPE]", help="The recipe whose head and training are used, with --data  [default: the task's own]"
    ),
]
_StoreOption = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="STORE", help="A feature store to train on  [default: the feature-level task, synthetic]"
    ),
]
_VariantOption = Annotated[
    list[str] | None, typer.Option("--variant", help="Only this variant; repeatable  [default: all]")
]
_PageOption = Annotated[
    Path, typer.Option("--output", "-o", metavar="F.md", help="The page to write; its picture lies beside it.")
]


def ablate(
    recipe: _AblatedRecipe = None,
    data: _StoreOption = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Runs of each variant.")] = 3,
    variant: _VariantOption = None,
    table: Annotated[
        int | None,
        typer.Option("--table", metavar="N", help="Only Table 2 (heads after other papers), 3 or 4 of the paper."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A smaller task and head: half a minute a variant.")] = False,
    output: _PageOption = Path("docs/evidence/ablation.md"),
    json_file: JsonOption = None,
    workers: WorkersOption = 0,
    ray: RayOption = None,
) -> None:
    """Train the paper's variants over seeds and say which of its claims hold: Tables 2 to 4, baselines, a control."""
    with extra_needed("train", "taemi-edge ablate"):
        from taemi_edge.taemi.ablation import find_variants, make_setting, run_ablation
        from taemi_edge.taemi.ablation_report import plot_ablation, write_report
    from msgspec.structs import replace

    from taemi_edge.bench.provenance import provenance
    from taemi_edge.pictures import check_plot_file

    picture = output.with_suffix(".png")
    check_plot_file(picture, "taemi-edge ablate")
    setting = make_setting(recipe, data, quick)
    variants = find_variants(variant or (), setting, table)
    with shown_progress() as progress:
        pool = chosen_workers(workers, ray)
        ablation = run_ablation(setting, seeds, variants, workers=pool, progress=progress)
    plot_ablation(ablation, picture)
    write_report(ablation, output, command_line(), picture)
    if json_file is not None:
        made = provenance("torch", command=command_line())
        save_json(json_file, replace(ablation, provenance=made))
    print_ablation(ablation, output)
    if not ablation.ok:
        raise CheckFailedError(f"a claim that held before does not hold any more: see {output}")

"""The command `sweep`: a recipe is trained with many settings and seeds, and validation says which one is best."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taemi_edge.cli.options import (
    JsonOption,
    RayOption,
    RecipeArgument,
    WorkersOption,
    chosen_workers,
    command_line,
    extra_needed,
    key_and_value,
    note,
    save_json,
)
from taemi_edge.cli.progress import shown_progress
from taemi_edge.cli.tables import as_text, make_console, new_table

if TYPE_CHECKING:
    from taemi_edge.taemi.sweep.results import Sweep

_DataOption = Annotated[
    str,
    typer.Option("--data", metavar="STORE|CORPUS", help="A feature store, or a corpus; also s3:// and the like."),
]
_SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=V,V,...",
        help="A key of the recipe with its values, or with --random a range LOW..HIGH; repeatable. A range above 0 "
        "that spans a factor of ten or more is drawn by its logarithm, any other uniformly, unless log: or linear: "
        "stands before it.",
    ),
]
_SweepFolder = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="DIR", help="The sweep; the same command continues it  [default: runs/sweep-<recipe>]"
    ),
]
_RandomOption = Annotated[
    int | None,
    typer.Option("--random", metavar="N", min=1, help="Draw N settings at random  [default: every combination]"),
]
_ProvidedOption = Annotated[
    bool, typer.Option("--provided", help="Allow features that came with the data set as pickles.")
]
_LogOption = Annotated[
    list[str] | None,
    typer.Option(
        "--log",
        metavar="tensorboard|mlflow|none",
        help="Where to log, repeatable  [default: TensorBoard where it is installed, and MLflow where it is too and "
        "MLFLOW_TRACKING_URI is set]",
    ),
]
#: A terminal shows so many settings, and so many problems; the page has all of them.
_MOST_ROWS, _MOST_PROBLEMS = 20, 10


def sweep(
    recipe: RecipeArgument,
    data: _DataOption,
    settings: _SetOption = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Runs of each setting.")] = 3,
    random: _RandomOption = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="The seed of the draw; more draws begin with the same ones.")
    ] = 0,
    output: _SweepFolder = None,
    provided: _ProvidedOption = False,
    log: _LogOption = None,
    json_file: JsonOption = None,
    workers: WorkersOption = 0,
    ray: RayOption = None,
) -> None:
    """Train many settings of a recipe over seeds and keep the best on the validation split. It can be stopped."""
    with extra_needed("train", "taemi-edge sweep"):
        from taemi_edge.taemi.sweep.axes import read_axis
        from taemi_edge.taemi.sweep.logs import choose_logs
        from taemi_edge.taemi.sweep.plan import plan_sweep
        from taemi_edge.taemi.sweep.run import SweepOptions, run_sweep

    axes = [read_axis(*key_and_value(text, "--set", "KEY=VALUE,VALUE,...")) for text in settings or ()]
    plan = plan_sweep(recipe, axes, seeds, random, seed)
    folder = output or Path("runs") / f"sweep-{plan.base.name}"
    logs = choose_logs(log, folder, plan.base.name)
    note(f"settings: {len(plan.settings)}, seeds of each: {seeds}, runs in all: {len(plan.settings) * seeds}")
    with shown_progress() as progress:
        pool = chosen_workers(workers, ray)
        options = SweepOptions(data, folder, pool, provided, logs.tensorboard, command_line())
        found = run_sweep(plan, options, progress=progress, on_run=logs.log)
    save_json(json_file, found)
    print_sweep(found, folder)
    if logs.problem:
        note(logs.problem)


def print_sweep(found: Sweep, folder: Path) -> None:
    """Print the best settings, what was chosen, and why runs have no value."""
    from taemi_edge.taemi.sweep.report import HEADS, cells, heads, hints, problems, verdict

    columns = heads(found)
    title = f"{found.recipe} on {found.data}, mean Pearson over {len(found.seeds)} seeds"
    table = new_table(title, columns, left=[head for head in columns if head not in HEADS], no_wrap=HEADS)
    for row in found.rows[:_MOST_ROWS]:
        table.add_row(*(as_text(cell) for cell in cells(found, row)))
    make_console().print(table)
    if len(found.rows) > _MOST_ROWS:
        typer.echo(f"and {len(found.rows) - _MOST_ROWS} more settings in {folder / 'table.md'}")
    told = list(problems(found))
    for line in (*told[:_MOST_PROBLEMS], *hints(found)):
        note(line)
    if len(told) > _MOST_PROBLEMS:
        note(f"{len(told) - _MOST_PROBLEMS} more runs without a value, or left out: {folder / 'table.md'} has them")
    if found.elsewhere:
        note(f"{found.elsewhere} further runs in {folder} are of other settings or seeds than this command names")
    typer.echo(verdict(found))
    typer.echo(f"wrote {folder / 'best'}, table.md, picture.png and results.json in {folder}")

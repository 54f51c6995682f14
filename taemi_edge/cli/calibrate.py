"""The command `calibrate`, which adds graphs of lower precisions to a bundle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from taemi_edge.bundle.precisions import FURTHER
from taemi_edge.cli.drive_options import CutOption, drive_options
from taemi_edge.cli.options import (
    BundleArgument,
    JsonOption,
    QuantiserChoice,
    RayOption,
    WorkersOption,
    chosen_workers,
    extra_needed,
    named_metric,
    recipe_changes,
    save_json,
)
from taemi_edge.cli.progress import shown_progress
from taemi_edge.cli.run_options import ClockOption, MapOption
from taemi_edge.cli.tables import print_calibration
from taemi_edge.errors import CheckFailedError, UsageError, expected_one_of

_DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DIR|URI",
        help="A corpus, a table or .npz files of samples, or recordings (.mcap, .bag); also s3://, gs:// or file:///. "
        "--ranges does without.",
    ),
]
_RecipeOption = Annotated[
    str | None,
    typer.Option("--recipe", metavar="R", help="A recipe's name or TOML  [default: the model's own, else default]"),
]
_OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="DIR", help="The bundle to make  [default: calibration/<model>]"),
]
_SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe, such as attention_matmuls=true."),
]
_AlsoOption = Annotated[
    list[str] | None,
    typer.Option("--also", metavar="P", help="Make fp8 or bf16 too; repeatable. Short for --set also=['fp8']."),
]
_RangesOption = Annotated[
    Path | None,
    typer.Option(
        "--ranges", metavar="F.json", help="Use the ranges.json of another machine, and judge here what it gives."
    ),
]
_QuantiserOption = Annotated[
    QuantiserChoice,
    typer.Option("--quantiser", help="The program that quantises the graphs; modelopt is an extra of its own."),
]
_MetricOption = Annotated[
    str | None,
    typer.Option(
        "--metric",
        metavar="M",
        help="What judges outputs on labels: a metric's name, or FILE.py:FUNCTION  [default: the bundle's]",
    ),
]
_TranscriptsOption = Annotated[
    Path | None,
    typer.Option(
        "--transcripts",
        metavar="DIR",
        help="The folder with a transcript of each clip: NNNNN.vtt, .srt, .txt or .jsonl.",
    ),
]


def calibrate(
    bundle: BundleArgument,
    data: _DataOption = None,
    recipe: _RecipeOption = None,
    output: _OutputOption = None,
    clips: Annotated[int | None, typer.Option("--clips", min=1, help="Find ranges on N clips at most.")] = None,
    also: _AlsoOption = None,
    override: _SetOption = None,
    ranges: _RangesOption = None,
    quantiser: _QuantiserOption = QuantiserChoice.own,
    metric: _MetricOption = None,
    transcripts: _TranscriptsOption = None,
    topics: MapOption = None,
    clock: ClockOption = "auto",
    cut: CutOption = None,
    workers: WorkersOption = 0,
    ray: RayOption = None,
    json_file: JsonOption = None,
) -> None:
    """Make FP16 and INT8 graphs from real clips (FP8 and BF16 by --also), and judge on other clips what each costs."""
    with extra_needed("export", "taemi-edge calibrate"):
        from taemi_edge.calibration.calibrate import CalibrationOptions, calibrate_bundle, default_recipe
    from taemi_edge.bundle.folder import read_manifest
    from taemi_edge.bundle.recipe import load_recipe
    from taemi_edge.calibration.recipe import CalibrationRecipe
    from taemi_edge.corpora.opening import open_any_corpus

    _check_inputs(data, ranges, also or ())
    counted = named_metric(metric)
    changes = recipe_changes(override, {"clips": clips, "least_rows": None if clips is None else 0})
    changes |= {"also": json.dumps(also)} if also else {}
    loaded = load_recipe("calibration", recipe or default_recipe(bundle), CalibrationRecipe, changes)
    drives = drive_options(topics, clock, cut)
    folder = output or Path("calibration") / read_manifest(bundle).name
    with shown_progress() as progress:
        result = calibrate_bundle(
            bundle,
            None if data is None else open_any_corpus(data, transcripts, needs_labels=False, drives=drives),
            loaded,
            folder,
            options=CalibrationOptions(ranges, quantiser.value, counted),
            workers=chosen_workers(workers, ray),
            progress=progress,
        )
    print_calibration(result)
    save_json(json_file, result.record)
    typer.echo(f"wrote {folder}")
    if result.misses:
        raise CheckFailedError("; ".join(result.misses))


def _check_inputs(data: str | None, ranges: Path | None, also: Sequence[str]) -> None:
    """Find out what is missing before the work begins."""
    from taemi_edge.pictures import check_plot_file

    if ranges is None:
        check_plot_file(Path("sensitivity.png"), "taemi-edge calibrate")
    if data is None and ranges is None:
        raise UsageError("expected --data CORPUS to calibrate on, or --ranges of another machine, got neither")
    if wrong := [precision for precision in also if precision not in FURTHER]:
        raise UsageError(f"--also {expected_one_of(FURTHER, wrong[0])} (FP16 and INT8 are always made)")

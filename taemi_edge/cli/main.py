"""The command line: a command parses its words, calls one function and prints one result; heavy imports stay inside."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from taemi_edge import __version__
from taemi_edge.cli.options import (
    BundleArgument,
    DeviceOption,
    FacesChoice,
    JsonOption,
    PrecisionChoice,
    QuantiserChoice,
    ThreadsOption,
    WorkersOption,
    device_name,
    extra_needed,
    key_and_value,
    note_training,
    whole_number,
)
from taemi_edge.cli.progress import shown_progress
from taemi_edge.cli.run import run
from taemi_edge.cli.tables import (
    print_ablation,
    print_build,
    print_calibration,
    print_demo,
    print_description,
    print_doctor,
    print_epoch,
    print_evaluations,
    print_extraction,
    print_parity,
    print_training,
)
from taemi_edge.errors import CheckFailedError, InterruptedRunError, TaemiError, UsageError


class _Group(TyperGroup):
    """Turns Ctrl-C into an error of ours before Typer answers it without a word."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise InterruptedRunError("interrupted: what was written so far is whole") from error


app = typer.Typer(
    name="taemi-edge",
    cls=_Group,
    help="From a trained multimodal model to verified engines on live video, with streams that may drop out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line: 0 done, 1 a check failed, 2 wrong use or bad input, 130 interrupted."""
    try:
        app()
    except TaemiError as error:
        typer.echo(f"taemi-edge: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # the reader of our output is gone: point stdout elsewhere so that the interpreter's flush stays quiet
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
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
    with extra_needed("export", "taemi-edge export"):
        from taemi_edge.taemi.checkpoint import open_checkpoint
        from taemi_edge.taemi.exporting import export_checkpoint
    with shown_progress() as progress:
        progress.stage(f"loading {checkpoint}")
        loaded = open_checkpoint(checkpoint, random_weights)
        folder = output or Path("export") / loaded.recipe.name
        feeds = (clip, transcript) if clip is not None else None
        bundle, report = export_checkpoint(
            loaded, folder, source=checkpoint, clip=feeds, untrained_tokens=untrained_tokens, progress=progress
        )
    print_parity(report)
    note_training(bundle)
    typer.echo(f"wrote {folder}")


@app.command()
def init(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's name or TOML file.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="The checkpoint  [default: checkpoints/<model>]"),
    ] = None,
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


@app.command()
def calibrate(
    bundle: BundleArgument,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="DIR", help="A corpus in the layout of Hume-Vidmimic2; --ranges alone does without."
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", metavar="R", help="A recipe's name or TOML  [default: the model's own, else default]"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="The bundle to make  [default: calibration/<model>]"),
    ] = None,
    clips: Annotated[int | None, typer.Option("--clips", min=1, help="Short for --set clips=N.")] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe, such as attention_matmuls=true."),
    ] = None,
    ranges: Annotated[
        Path | None,
        typer.Option("--ranges", metavar="F.json", help="Use the ranges.json of another machine, judge it here."),
    ] = None,
    quantiser: Annotated[
        QuantiserChoice, typer.Option("--quantiser", help="Who makes Q/DQ; modelopt is an extra of its own.")
    ] = QuantiserChoice.own,
    transcripts: Annotated[
        Path | None, typer.Option("--transcripts", metavar="DIR", help="NNNNN.vtt, .srt, .txt, .jsonl.")
    ] = None,
    workers: WorkersOption = 0,
    json_file: JsonOption = None,
) -> None:
    """Make FP16 and INT8 graphs from real clips: ranges, smoothing, what each block costs; judged on other clips."""
    with extra_needed("export", "taemi-edge calibrate"):
        from taemi_edge.calibration.calibrate import CalibrationOptions, calibrate_bundle, default_recipe
    from taemi_edge.bundle.folder import read_manifest
    from taemi_edge.bundle.json_files import write_json
    from taemi_edge.bundle.recipe import load_recipe
    from taemi_edge.calibration.recipe import CalibrationRecipe
    from taemi_edge.pictures import check_plot_file
    from taemi_edge.taemi.vidmimic2 import open_corpus

    if ranges is None:
        check_plot_file(Path("sensitivity.png"), "taemi-edge calibrate")
    changes = dict(key_and_value(text, "--set", "KEY=VALUE") for text in override or ())
    changes |= {"clips": str(clips)} if clips is not None else {}
    if data is None and ranges is None:
        raise UsageError("expected --data CORPUS to calibrate on, or --ranges of another machine, got neither")
    loaded = load_recipe("calibration", recipe or default_recipe(bundle), CalibrationRecipe, changes)
    folder = output or Path("calibration") / read_manifest(bundle).name
    with shown_progress() as progress:
        result = calibrate_bundle(
            bundle,
            None if data is None else open_corpus(data, transcripts, needs_labels=False),
            loaded,
            folder,
            options=CalibrationOptions(ranges, quantiser.value),
            workers=workers,
            progress=progress,
        )
    print_calibration(result)
    if json_file is not None:
        write_json(json_file, result.record)
    typer.echo(f"wrote {folder}")
    if result.misses:
        raise CheckFailedError("; ".join(result.misses))


@app.command(name="build-engine")
def build_engine_command(
    bundle: BundleArgument,
    target: Annotated[str, typer.Option("--target", metavar="T", help="A target's name or TOML file (engines/).")],
    precision: Annotated[
        PrecisionChoice, typer.Option("--precision", help="auto keeps the fastest of each part inside the budget.")
    ] = PrecisionChoice.auto,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="The bundle to make  [default: engines/<model>-<target>]"),
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the target, such as workspace_mib=512; repeatable."),
    ] = None,
    sources: Annotated[
        int | None, typer.Option("--sources", min=1, help="How many sources share them. Short for --set sources=N.")
    ] = None,
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Take what was built before of just the same things.")
    ] = True,
    threads: ThreadsOption = 0,
    json_file: JsonOption = None,
) -> None:
    """Build a bundle's engines for a device, check them against PyTorch's outputs and mark them verified or not."""
    from taemi_edge.bundle.folder import read_manifest
    from taemi_edge.bundle.json_files import write_json
    from taemi_edge.bundle.recipe import load_recipe
    from taemi_edge.engines.build import build_engine
    from taemi_edge.engines.cache import EngineCache
    from taemi_edge.engines.recipe import TargetRecipe

    changes = dict(key_and_value(text, "--set", "KEY=VALUE") for text in override or ())
    changes |= {"sources": str(sources)} if sources is not None else {}
    loaded = load_recipe("engines", target, TargetRecipe, changes)
    folder = output or Path("engines") / f"{read_manifest(bundle).name}-{loaded.name}"
    with shown_progress() as progress:
        result = build_engine(
            bundle,
            loaded,
            precision.value,
            folder,
            threads=threads,
            cache=EngineCache() if cache else None,
            progress=progress,
        )
    print_build(result)
    if json_file is not None:
        write_json(json_file, result.record)
    typer.echo(f"wrote {folder}")
    if result.record.verification and not result.bundle.manifest.verified:
        raise CheckFailedError(f"{result.record.failure}: the bundle is marked unverified and will not run")


@app.command()
def parity(
    a: Annotated[str, typer.Argument(metavar="A", help="A bundle or a checkpoint.")],
    b: Annotated[
        str | None,
        typer.Argument(metavar="[B]", help="Another one; without it a bundle is held against its golden outputs."),
    ] = None,
    json_file: JsonOption = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="F.png", help="Scatter and error histogram a part.")
    ] = None,
    device: DeviceOption = None,
    threads: ThreadsOption = 0,
) -> None:
    """Compare two artefacts part by part, in all eight presence patterns: exit 0 inside the tolerances, 1 outside."""
    from taemi_edge.bundle.json_files import write_json
    from taemi_edge.parity.comparison import check_parity

    if plot is not None:
        from taemi_edge.parity.plot import plot_parity
        from taemi_edge.pictures import check_plot_file

        check_plot_file(plot)
    with shown_progress() as progress:
        progress.stage("running both on the same feeds")
        report, pairs = check_parity(a, b, device=device_name(device), threads=threads)
    print_parity(report)
    if json_file is not None:
        write_json(json_file, report)
    if plot is not None:
        plot_parity(report, pairs, plot)
    if not report.ok:
        raise CheckFailedError(f"{report.first_failure} left its tolerance first: the two are not the same model")


app.command()(run)


@app.command()
def bench(
    bundle: BundleArgument,
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against",
            metavar="RIVAL",
            help="onnxruntime-cpu, onnxruntime-cuda, torch-eager, torch-compile or none; repeatable  [default: what "
            "can run here]",
        ),
    ] = None,
    rivals_python: Annotated[
        str | None,
        typer.Option("--rivals-python", metavar="P", help="The interpreter that has the rivals, if it is another."),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option("--checkpoint", metavar="C", help="What PyTorch runs  [default: what the bundle was made of]"),
    ] = None,
    batch: Annotated[
        list[str] | None, typer.Option("--batch", metavar="PART=N", help="Time a part at this batch too; repeatable.")
    ] = None,
    sources: Annotated[
        str, typer.Option("--sources", metavar="N,N", help="How many sources share a call, one after another.")
    ] = "1,2,4",
    runs: Annotated[int, typer.Option("--runs", min=5, help="Runs of each thing, in five turns.")] = 50,
    device: DeviceOption = None,
    threads: ThreadsOption = 1,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Time engines that parity has not passed all the same.")
    ] = False,
    json_file: JsonOption = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="F.png", help="Contenders, patterns, limits, sources.")
    ] = None,
) -> None:
    """Time a bundle beside PyTorch and ONNX Runtime: parts, hops by presence pattern, several sources, limits."""
    from taemi_edge.bench.compare import BenchOptions, rivals_from, run_bench
    from taemi_edge.bundle.json_files import write_json
    from taemi_edge.cli.bench_report import plot_bench, print_bench
    from taemi_edge.pictures import check_plot_file

    check_plot_file(plot)
    batches: dict[str, tuple[int, ...]] = {}
    for part, number in (key_and_value(text, "--batch", "PART=N") for text in batch or ()):
        batches[part] = (*batches.get(part, ()), whole_number(number, "--batch"))
    options = BenchOptions(
        against=rivals_from(against or ()),
        python=rivals_python or sys.executable,
        checkpoint=checkpoint,
        batches=batches,
        sources=tuple(whole_number(number, "--sources") for number in sources.split(",")),
        runs=runs,
        threads=threads,
        device=device_name(device),
        unverified=unverified,
    )
    with shown_progress() as progress:
        report = run_bench(bundle, options, shlex.join(["taemi-edge", *sys.argv[1:]]), progress)
    print_bench(report)
    if json_file is not None:
        write_json(json_file, report)
    if plot is not None:
        plot_bench(report, plot)


@app.command()
def inspect(bundle: BundleArgument, json_file: JsonOption = None) -> None:
    """Show what a bundle holds: parts, sizes, precisions, provenance; every hash is verified."""
    from taemi_edge.bundle.describe import describe_bundle
    from taemi_edge.bundle.json_files import write_json

    description = describe_bundle(bundle)
    print_description(description)
    if json_file is not None:
        write_json(json_file, description)


@app.command()
def synth(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The corpus to make: a new or empty folder.")],
    clips: Annotated[int, typer.Option("--clips", metavar="N", min=3, help="How many clips.")] = 600,
    seed: Annotated[int, typer.Option("--seed", metavar="S", min=0, help="The same seed gives the same clips.")] = 0,
    workers: WorkersOption = 0,
) -> None:
    """Make a synthetic corpus of drawn faces and espeak-ng voices, laid out on disk as Hume-Vidmimic2 is."""
    from taemi_edge.taemi.synthetic.corpus import write_corpus

    with shown_progress() as progress:
        write_corpus(folder, clips, seed, workers=workers, progress=progress)
    typer.echo(f"wrote {clips} synthetic clips to {folder}")


@app.command()
def extract(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Whose encoders: a bundle, a checkpoint or a recipe.")],
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="A corpus in the layout of Hume-Vidmimic2.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="The feature store; a stopped one is gone on with.")
    ],
    split: Annotated[
        list[str] | None, typer.Option("--split", help="Only this split; repeatable  [default: all]")
    ] = None,
    transcripts: Annotated[
        Path | None,
        typer.Option("--transcripts", metavar="DIR", help="NNNNN.vtt, .srt, .txt, .jsonl  [default: DIR/transcripts]"),
    ] = None,
    asr: Annotated[bool, typer.Option("--asr", help="Recognise the speech of clips without a transcript.")] = False,
    asr_model: Annotated[
        str, typer.Option("--asr-model", help="A CTranslate2 folder, or a size that faster-whisper fetches.")
    ] = "packaged:whisper-base",
    faces: Annotated[
        FacesChoice, typer.Option("--faces", help="Find faces in the video, or take face_images where there are any.")
    ] = FacesChoice.detect,
    features: Annotated[
        list[str] | None,
        typer.Option(
            "--features",
            metavar="MODALITY=FOLDER",
            help="Take provided pickles, such as vision=vit; repeatable.",
        ),
    ] = None,
    longest: Annotated[
        float, typer.Option("--longest", metavar="S", min=1, help="How much of a clip counts, in seconds.")
    ] = 60.0,
    workers: WorkersOption = 0,
    device: DeviceOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first clip that cannot be read.")] = False,
) -> None:
    """Encode every clip of a corpus once, with the runtime's own reading of media; safe to stop and go on."""
    from taemi_edge.corpora.clip_reading import Reading
    from taemi_edge.corpora.extract import ExtractOptions, extract_features
    from taemi_edge.taemi.vidmimic2 import open_corpus

    reading = Reading(
        longest_s=longest,
        faces=faces.value,
        asr_model=asr_model if asr else None,
        features=dict(key_and_value(text, "--features", "MODALITY=FOLDER") for text in features or ()),
    )
    with shown_progress() as progress:
        result = extract_features(
            open_corpus(data, transcripts),
            model,
            output,
            ExtractOptions(reading, tuple(split or ()), workers, device_name(device), strict),
            progress=progress,
        )
    print_extraction(result)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's name or TOML file.")],
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="A feature store, or a corpus.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="The checkpoint  [default: checkpoints/<model>]"),
    ] = None,
    run_folder: Annotated[
        Path | None,
        typer.Option("--run", metavar="DIR", help="Metrics, curve and state  [default: runs/train-<checkpoint>]"),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of weights, order and dropout.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Short for --set training.epochs=N.")] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe, such as fusion.kind=concat; repeatable."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the state of a stopped run.")] = False,
    provided: Annotated[
        bool, typer.Option("--provided", help="Allow features that came with the data set as pickles.")
    ] = False,
    tensorboard: Annotated[
        Path | None, typer.Option("--tensorboard", metavar="DIR", help="Also write events there.")
    ] = None,
    threads: ThreadsOption = 0,
    workers: WorkersOption = 0,
) -> None:
    """Train a recipe's fusion head and tokens on frozen features, or everything end to end; Ctrl-C loses nothing."""
    with extra_needed("train", "taemi-edge train"):
        import torch

        from taemi_edge.bundle.recipe import load_recipe
        from taemi_edge.taemi.recipe import ModelRecipe
        from taemi_edge.taemi.train.run import TrainOptions, train_recipe
    if threads:
        torch.set_num_threads(threads)
    changes = dict(key_and_value(text, "--set", "KEY=VALUE") for text in override or ())
    changes |= {"seed": str(seed)} if seed is not None else {}
    changes |= {"training.epochs": str(epochs)} if epochs is not None else {}
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


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(metavar="CHECKPOINT|BUNDLE", help="What to judge.")],
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="A corpus, or a feature store of this model.")],
    split: Annotated[
        str | None, typer.Option("--split", help="train, valid, test or all  [default: test, else valid]")
    ] = None,
    json_file: JsonOption = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="F.png", help="Mean Pearson by streams left, and by emotion.")
    ] = None,
    zero_tokens: Annotated[
        bool, typer.Option("--zero-tokens", help="Also judge with zeros where a learned token belongs.")
    ] = False,
    at_least: Annotated[
        float | None, typer.Option("--at-least", metavar="R", help="Exit 1 if the clean mean Pearson is lower.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option("--store", metavar="DIR", help="Keep a corpus's features there for the next time.")
    ] = None,
    device: DeviceOption = None,
    threads: ThreadsOption = 1,
    workers: WorkersOption = 0,
) -> None:
    """Judge a checkpoint or a bundle on labels: clean, with losses as they come, and with each stream lost."""
    from taemi_edge.bundle.json_files import write_json
    from taemi_edge.corpora.evaluate import EvaluateOptions, evaluate_on

    if plot is not None:
        from taemi_edge.corpora.plot import plot_evaluation
        from taemi_edge.pictures import check_plot_file

        check_plot_file(plot)
    with shown_progress() as progress:
        evaluations = evaluate_on(
            model,
            data,
            split,
            EvaluateOptions(
                tokens=("learned", "zeros") if zero_tokens else ("learned",),
                store_folder=store,
                device=device_name(device),
                threads=threads,
                workers=workers,
            ),
            progress=progress,
        )
    print_evaluations(evaluations)
    first = evaluations[0]
    if json_file is not None:
        write_json(json_file, first)
    if plot is not None:
        plot_evaluation(evaluations, plot)
    if at_least is not None and (first.mean_pearson is None or first.mean_pearson < at_least):
        got = "an undefined one" if first.mean_pearson is None else f"{first.mean_pearson:.3f}"
        raise CheckFailedError(f"expected a clean mean Pearson of at least {at_least:g}, got {got}")


@app.command()
def ablate(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="[RECIPE]", help="Whose fusion and training, with --data  [default: the task's own]"),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="STORE", help="A feature store  [default: the feature-level task, synthetic]"),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Runs of each variant.")] = 3,
    variant: Annotated[
        list[str] | None, typer.Option("--variant", help="Only this variant; repeatable  [default: all]")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A smaller task and head: half a minute a variant.")] = False,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="F.md", help="The page to write; its picture lies beside it.")
    ] = Path("docs/ablation.md"),
    json_file: JsonOption = None,
    workers: WorkersOption = 0,
) -> None:
    """Train the paper's variants over seeds and say which of its claims hold: Tables 3 and 4, baselines, a control."""
    with extra_needed("train", "taemi-edge ablate"):
        from taemi_edge.taemi.ablation import find_variants, make_setting, run_ablation
        from taemi_edge.taemi.ablation_report import write_report
    from taemi_edge.bundle.json_files import write_json
    from taemi_edge.pictures import check_plot_file
    from taemi_edge.taemi.ablation_report import plot_ablation

    picture = output.with_suffix(".png")
    check_plot_file(picture, "taemi-edge ablate")
    setting = make_setting(recipe, data, quick)
    with shown_progress() as progress:
        ablation = run_ablation(
            setting,
            seeds,
            find_variants(variant or (), setting),
            workers=workers,
            progress=progress,
        )
    plot_ablation(ablation, picture)
    write_report(ablation, output, shlex.join(["taemi-edge", *sys.argv[1:]]), picture)
    if json_file is not None:
        write_json(json_file, ablation)
    print_ablation(ablation, output)
    if not ablation.ok:
        raise CheckFailedError(f"a claim that held before does not hold any more: see {output}")


@app.command()
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
        print_doctor(report)
    if not report.ok:
        problems = [finding.name for finding in report.findings if finding.status == "problem"]
        raise CheckFailedError(f"in the way: {', '.join(problems)}")


@app.command()
def demo(
    video: Annotated[
        Path | None,
        typer.Argument(metavar="[VIDEO]", help="Your own clip  [default: a synthetic one that comes along]"),
    ] = None,
    transcript: Annotated[
        Path | None,
        typer.Option("--transcript", metavar="F", help="What is said in VIDEO; recognised if left away."),
    ] = None,
    bundles: Annotated[
        Path, typer.Option("--bundles", metavar="DIR", help="Where taemi-mobile lies or is made.")
    ] = Path("export"),
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where results go.")] = Path(
        "runs/demo"
    ),
    threads: ThreadsOption = 0,
) -> None:
    """Show the whole way on one clip: export, parity, and a run while camera, microphone and transcript drop out."""
    with extra_needed("export", "taemi-edge demo"):
        from taemi_edge.cli.demo import run_demo
    with shown_progress() as progress:
        result = run_demo(video, transcript, bundles, output, threads=threads, progress=progress)
    print_demo(result)

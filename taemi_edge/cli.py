"""The command line: a command parses its words, calls one function and prints one result; heavy imports stay inside."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from taemi_edge import __version__
from taemi_edge.errors import CheckFailedError, InterruptedRunError, MissingExtraError, TaemiError, UsageError

if TYPE_CHECKING:
    from taemi_edge.demo import DemoResult
    from taemi_edge.describe import BundleDescription
    from taemi_edge.parity import ParityReport
    from taemi_edge.run import Progress, RunSummary


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


class DeviceChoice(str, Enum):
    """Where parts run."""

    cpu = "cpu"
    cuda = "cuda"


BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle folder, made by `taemi-edge export`.")]
DeviceOption = Annotated[DeviceChoice, typer.Option("--device", help="Where to run; cuda needs onnxruntime-gpu.")]
ThreadsOption = Annotated[int, typer.Option("--threads", min=0, help="Threads for each part; 0 takes all cores.")]
JsonOption = Annotated[Path | None, typer.Option("--json", metavar="F.json", help="Also write the result as JSON.")]


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
            metavar="CHECKPOINT", help="A checkpoint folder, or a recipe (name or TOML): its untrained model."
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
) -> None:
    """Export a checkpoint as an ONNX bundle: four parts, checked against PyTorch before the folder appears."""
    if (clip is None) != (transcript is None):
        raise UsageError("--clip and --transcript go together: golden feeds need a face, speech and its words")
    with _extra("export", "taemi-edge export"):
        from taemi_edge.checkpoint import open_checkpoint
        from taemi_edge.export import export_checkpoint
    with _steps() as step:
        step(f"loading {checkpoint}")
        loaded = open_checkpoint(checkpoint, random_weights)
        folder = output or Path("export") / loaded.recipe.name
        feeds = (clip, transcript) if clip is not None else None
        bundle, report = export_checkpoint(loaded, folder, source=checkpoint, clip=feeds, on_step=step)
    _print_parity(report)
    if not bundle.manifest.trained:
        _note("the fusion head is untrained: its intensities show that the way works, not what a face feels")
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
    """Make a checkpoint of a recipe: pretrained encoders, an untrained fusion head."""
    with _extra("export", "taemi-edge init"):
        from taemi_edge.checkpoint import new_checkpoint, save_checkpoint
        from taemi_edge.recipe import ModelRecipe, load_recipe
    loaded = load_recipe("export", recipe, ModelRecipe)
    folder = output or Path("checkpoints") / loaded.name
    if folder.exists():
        raise UsageError(f"{folder} exists and might hold a trained checkpoint: name a new folder with --output")
    with _steps() as step:
        step(f"building {loaded.name}")
        save_checkpoint(new_checkpoint(loaded, random_weights), folder)
    typer.echo(f"wrote {folder}")


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
    device: DeviceOption = DeviceChoice.cpu,
    threads: ThreadsOption = 0,
) -> None:
    """Compare two artefacts part by part, in all eight presence patterns: exit 0 inside the tolerances, 1 outside."""
    from taemi_edge.describe import to_json
    from taemi_edge.folders import new_file
    from taemi_edge.parity import check_parity

    if plot is not None:
        from taemi_edge.plots import check_plot_file, plot_parity

        check_plot_file(plot)
    with _steps() as step:
        step("running both on the same feeds")
        report, pairs = check_parity(a, b, device=device.value, threads=threads)
    _print_parity(report)
    if json_file is not None:
        with new_file(json_file) as draft:
            draft.write_text(to_json(report) + "\n", encoding="utf-8")
    if plot is not None:
        plot_parity(report, pairs, plot)
    if not report.ok:
        raise CheckFailedError(f"{report.first_failure} left its tolerance first: the two are not the same model")


@app.command()
def run(
    bundle: BundleArgument,
    source: Annotated[list[Path], typer.Argument(metavar="SOURCE...", help="Video or audio files.")],
    transcript: Annotated[
        Path | None, typer.Option("--transcript", metavar="F", help="What is said: .vtt, .srt, .txt or .jsonl.")
    ] = None,
    asr: Annotated[bool, typer.Option("--asr", help="Recognise the speech with faster-whisper (extra `asr`).")] = False,
    asr_model: Annotated[
        str, typer.Option("--asr-model", help="A CTranslate2 folder, or a size that faster-whisper fetches.")
    ] = "packaged:whisper-base",
    window: Annotated[
        float | None, typer.Option("--window", metavar="S", help="Seconds a prediction looks back.")
    ] = None,
    hop: Annotated[float | None, typer.Option("--hop", metavar="S", help="Seconds between predictions.")] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option("--drop", metavar="MODALITY@START-END", help="Rehearse a loss, such as vision@2-4; repeatable."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="F.jsonl", help="Where predictions go  [default: standard output]"),
    ] = None,
    annotate: Annotated[
        Path | None,
        typer.Option("--annotate", metavar="F.mp4", help="Also write the video with bars, lamps and words."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="F.png", help="Also draw the intensities over time.")
    ] = None,
    device: DeviceOption = DeviceChoice.cpu,
    threads: ThreadsOption = 0,
) -> None:
    """Predict six intensities from files, a JSON line a hop; a stream that is missing is replaced by its token."""
    from taemi_edge.bundle import open_bundle
    from taemi_edge.run import JsonLines, RunOptions, run_file
    from taemi_edge.runtime.drops import parse_drop

    if len(source) > 1 and (transcript or annotate or plot):
        raise UsageError("--transcript, --annotate and --plot belong to one source: run the files one by one")
    if plot is not None:
        from taemi_edge.plots import check_plot_file, plot_timeline

        check_plot_file(plot)
    options = RunOptions(
        transcript=transcript,
        asr=asr,
        asr_model=asr_model,
        window_s=window,
        hop_s=hop,
        drops=tuple(parse_drop(text) for text in drop or ()),
        annotate=annotate,
        device=device.value,
        threads=threads,
    )
    opened = open_bundle(bundle)
    if not opened.manifest.trained:
        _note("the fusion head of this bundle is untrained: its intensities mean nothing yet")
    with JsonLines(output) as lines:
        for file in source:
            with _progress() as progress:
                summary = run_file(opened, file, options, lines, progress)
            _print_summary(file, summary)
            if plot is not None:
                plot_timeline(summary.predictions, plot, f"{opened.manifest.name} on {file.name}")


@app.command()
def inspect(bundle: BundleArgument, json_file: JsonOption = None) -> None:
    """Show what a bundle holds: parts, sizes, precisions, provenance; every hash is verified."""
    from taemi_edge.describe import describe_bundle, to_json
    from taemi_edge.folders import new_file

    description = describe_bundle(bundle)
    _print_description(description)
    if json_file is not None:
        with new_file(json_file) as draft:
            draft.write_text(to_json(description) + "\n", encoding="utf-8")


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
    with _extra("export", "taemi-edge demo"):
        from taemi_edge.demo import run_demo
    with _steps() as step, _progress() as progress:
        result = run_demo(video, transcript, bundles, output, threads=threads, on_step=step, on_progress=progress)
    _print_demo(result)


# ------------------------------------------------------------------------------------------------------ printing


def _console(stderr: bool = False) -> Any:
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = 160  # a file or a pipe has no width to keep to
    return console


def _note(text: str) -> None:
    typer.echo(f"note: {text}", err=True)


@contextmanager
def _extra(extra: str, purpose: str) -> Iterator[None]:
    """Say which extra to install where an import inside fails."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("taemi_edge"):
            raise
        raise MissingExtraError(str(error.name), extra, purpose) from error


@contextmanager
def _steps() -> Iterator[Callable[[str], None]]:
    """Tell what is being done, on standard error: a spinner on a terminal, a line a step elsewhere."""
    console = _console(stderr=True)
    if not console.is_terminal:
        yield lambda text: typer.echo(text, err=True)
        return
    with console.status("starting") as status:
        yield lambda text: status.update(text)


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar over the seconds of a file, on standard error; silent where that is no terminal."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.1f} s"),
        TimeRemainingColumn(),
    )
    console = _console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        tasks: dict[str, Any] = {}

        def told(what: str, done_s: float, total_s: float | None) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total_s)
            bar.update(tasks[what], completed=done_s, total=total_s)

        yield told


def _print_parity(report: ParityReport) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=f"{report.a}  against  {report.b}", title_justify="left", box=SIMPLE_HEAD)
    for name in ("part", "cases", "max error", "p99 error", "cosine", "Pearson", "limit", ""):
        table.add_column(name, justify="left" if name in ("part", "") else "right", no_wrap=name == "part")
    for stage in report.stages:
        pearson = stage.lowest_pearson
        table.add_row(
            stage.stage,
            str(len(stage.cases)),
            f"{stage.max_abs:.2e}",
            f"{stage.p99_abs:.2e}",
            f"{stage.cosine:.6f}",
            "" if stage.pearson is None else "undefined" if pearson is None else f"{pearson:.6f}",
            f"{stage.tolerance.max_abs:.0e}",
            "[green]ok[/green]" if stage.ok else "[red]outside[/red]",
        )
    _console().print(table)
    for stage in report.stages:
        for case in stage.cases:
            if not case.ok:
                typer.echo(
                    f"{stage.stage}, {case.case}: max error {case.max_abs:.3g}, cosine {case.cosine:.6f}", err=True
                )


def _print_summary(source: Path, summary: RunSummary) -> None:
    lost = sum(p.status != "ok" for p in summary.predictions)
    parts = [f"{source}: {len(summary.predictions)} predictions", f"real-time factor {summary.real_time_factor:.2f}"]
    parts += [f"{lost} without any signal"] if lost else []
    parts += [f"{summary.damaged_packets} damaged packets skipped"] if summary.damaged_packets else []
    typer.echo(", ".join(parts), err=True)


def _print_description(description: BundleDescription) -> None:
    from rich.table import Table

    manifest = description.manifest
    table = Table(title=f"{description.name}  ({description.folder})", title_justify="left")
    for name in ("part", "file", "size", "precision", "opset", "parameters", "inputs", "outputs"):
        table.add_column(name, justify="right" if name in ("size", "opset", "parameters") else "left")
    for part in description.parts:
        table.add_row(
            part.part,
            part.file,
            f"{part.bytes / 1e6:.1f} MB",
            part.precision,
            str(part.opset),
            f"{part.parameters / 1e6:.2f} M",
            "\n".join(part.inputs),
            "\n".join(part.outputs),
        )
    _console().print(table)
    source = manifest.provenance
    typer.echo(f"fusion head   {'trained' if description.trained else 'untrained'}")
    typer.echo("token lengths " + ", ".join(f"{m} {norm:.3f}" for m, norm in description.token_norms.items()))
    typer.echo(f"window        {manifest.window.length_s:g} s every {manifest.window.hop_s:g} s")
    typer.echo("weights       " + ", ".join(f"{m}: {w}" for m, w in source.weights.items()))
    typer.echo(f"made          {source.made_at} by {source.made_by} from {source.source}")
    typer.echo("versions      " + ", ".join(f"{name} {v}" for name, v in source.versions.items()))
    typer.echo(f"integrity     {description.hashes_verified} hashes verified, {description.total_bytes / 1e6:.1f} MB")


def _print_demo(result: DemoResult) -> None:
    state = "exported" if result.built else "already built and unchanged"
    typer.echo(f"{result.bundle.folder}  {state}")
    _print_parity(result.report)
    lost = ", ".join(str(drop) for drop in result.drops)
    typer.echo(f"{len(result.summary.predictions)} predictions while these were taken away: {lost}")
    typer.echo(f"real-time factor {result.summary.real_time_factor:.2f}")
    if not result.bundle.manifest.trained:
        typer.echo("The fusion head is untrained: the curves show the way working, not what the face feels.")
    for file in result.files:
        typer.echo(f"  {file}")

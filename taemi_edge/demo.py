"""The main way on one clip: export taemi-mobile, check parity, run while camera, microphone and transcript drop out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from taemi_edge import __version__
from taemi_edge.bundle import Bundle, open_bundle, read_manifest
from taemi_edge.errors import BundleError, CheckFailedError, MissingExtraError
from taemi_edge.golden import demo_clip
from taemi_edge.parity import ParityReport, check_parity
from taemi_edge.plots import check_plot_file, plot_timeline
from taemi_edge.recipe import ModelRecipe, load_recipe, recipe_hash
from taemi_edge.run import JsonLines, Progress, RunOptions, RunSummary, run_file
from taemi_edge.runtime.drops import Drop
from taemi_edge.runtime.sources import MediaFile
from taemi_edge.spec import Modality

MODEL = "taemi-mobile"

#: What is taken away and when, as shares of the clip: each stream alone, then all three at once.
_LOSSES: tuple[tuple[Modality, float, float], ...] = (
    ("vision", 0.12, 0.30),
    ("audio", 0.38, 0.56),
    ("text", 0.62, 0.76),
    ("vision", 0.84, 0.92),
    ("audio", 0.84, 0.92),
    ("text", 0.84, 0.92),
)


@dataclass(frozen=True)
class DemoResult:
    """What the demo made, and where."""

    bundle: Bundle
    built: bool
    report: ParityReport
    summary: RunSummary
    drops: tuple[Drop, ...]
    files: tuple[Path, ...]


def run_demo(
    video: Path | None,
    transcript: Path | None,
    bundles: Path,
    output: Path,
    *,
    threads: int = 0,
    on_step: Callable[[str], None] = lambda _: None,
    on_progress: Progress = lambda *_: None,
) -> DemoResult:
    """Run the whole way.

    Args:
        video: the user's own clip; the synthetic one that ships with the package by default. Without a transcript its
            speech is recognised where faster-whisper is installed.
        bundles: where the bundle `taemi-mobile` lies or is made; one that is there and unchanged is not built again.
        output: the folder for predictions.jsonl, annotated.mp4 and timeline.png.

    Raises:
        CheckFailedError: the bundle is not what PyTorch gave.
    """
    timeline = output / "timeline.png"
    check_plot_file(timeline)
    own = video is not None
    if video is None:
        video, transcript = demo_clip()
    drops = _losses(video)
    folder = bundles / MODEL
    built = not _is_current(folder)
    if built:
        _export(folder, on_step)
    on_step("checking parity with PyTorch's golden outputs")
    report, _ = check_parity(str(folder), threads=threads)
    if not report.ok:
        raise CheckFailedError(
            f"{folder}: {report.first_failure} left its tolerance: delete the folder and run the demo again"
        )
    bundle = open_bundle(folder)
    on_step(f"running {video.name} while each stream is lost, then all of them")
    recognise = own and transcript is None and find_spec("faster_whisper") is not None and _has_sound(video)
    options = RunOptions(
        transcript=transcript,
        asr=recognise,
        drops=drops,
        annotate=output / "annotated.mp4" if _has_picture(video) else None,
        threads=threads,
    )
    with JsonLines(output / "predictions.jsonl") as lines:
        summary = run_file(bundle, video, options, lines, on_progress)
    plot_timeline(summary.predictions, timeline, f"{bundle.manifest.name} on {video.name}")
    files = tuple(file for file in (lines.file, options.annotate, timeline) if file is not None)
    return DemoResult(bundle, built, report, summary, drops, files)


def _is_current(folder: Path) -> bool:
    """Whether the bundle there was made by this version from the recipe as it is now."""
    try:
        provenance = read_manifest(folder).provenance
        open_bundle(folder)
    except BundleError:
        return False
    recipe = load_recipe("export", MODEL, ModelRecipe)
    return provenance.made_by == f"taemi-edge {__version__}" and provenance.recipe_sha256 == recipe_hash(recipe)


def _export(folder: Path, on_step: Callable[[str], None]) -> None:
    on_step(f"loading {MODEL}")
    try:
        from taemi_edge.checkpoint import open_checkpoint
        from taemi_edge.export import export_checkpoint
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "export", f"exporting {MODEL}") from error
    export_checkpoint(open_checkpoint(MODEL), folder, source=MODEL, on_step=on_step)


def _losses(video: Path) -> tuple[Drop, ...]:
    with MediaFile(video) as media:
        length_s = media.duration_s or 10.0
    return tuple(Drop(m, round(first * length_s, 1), round(last * length_s, 1)) for m, first, last in _LOSSES)


def _has_sound(video: Path) -> bool:
    with MediaFile(video) as media:
        return media.has_audio


def _has_picture(video: Path) -> bool:
    with MediaFile(video) as media:
        return media.has_video

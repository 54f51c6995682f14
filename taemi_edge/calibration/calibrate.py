"""Calibrating an FP32 bundle: a bundle of graphs in lower precisions, and what each of them costs on real clips.

A calibration plans (`planning.py`), writes graphs (`writing.py`), judges them on other clips (`judging.py`) and records
how it was done (`record.py`). The bundle's own parts are the INT8 graphs; the other flavours lie beside them for
`build-engine` to choose from. The new folder appears only when all of it is measured.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from taemi_edge.bundle.atomic import new_folder, require_another_place, scratch_folder
from taemi_edge.bundle.folder import Bundle, open_bundle, read_manifest, replaceable_files
from taemi_edge.bundle.precisions import QuantisedPrecision
from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.bundle.records import CalibrationRecord
from taemi_edge.bundle.workers import WorkerPool, require_shared, scratch_place
from taemi_edge.calibration.budget import describe_misses
from taemi_edge.calibration.clip_inputs import require_corpus
from taemi_edge.calibration.clip_selection import read_clips
from taemi_edge.calibration.judging import GraphJudge, Judgement
from taemi_edge.calibration.planning import CalibrationPlan, RangesFile, find_plan, read_ranges
from taemi_edge.calibration.recipe import CalibrationRecipe, recipe_name_of
from taemi_edge.calibration.record import (
    make_record,
    write_manifest_and_shared_files,
    write_ranges,
    write_sensitivity,
)
from taemi_edge.calibration.sensitivity import PartSensitivity
from taemi_edge.calibration.writing import PartQuantiser, WrittenGraphs, modelopt_quantiser, own_quantiser, write_graphs
from taemi_edge.corpora.opening import AnyCorpus
from taemi_edge.corpora.shared_places import places_of
from taemi_edge.errors import CalibrationError
from taemi_edge.parity.judge import Judge, UserMetric
from taemi_edge.parity.samples import Sample
from taemi_edge.progress import SILENT, Progress

#: Which code puts Q/DQ pairs into a graph: this package, or NVIDIA ModelOpt with the same clips and exclusions.
Quantiser = Literal["own", "modelopt"]


@dataclass(frozen=True)
class CalibrationOptions:
    """How graphs get their Q/DQ pairs.

    Attributes:
        ranges: a `ranges.json` that was made elsewhere for the same weights. Its plans are used, no new ones are found.
        quantiser: "modelopt" needs the extra of that name, and finds its own ranges on the clips of the corpus.
        metric: what is counted on labels: a name, or a function `metric(predicted, true)` of arrays (of dictionaries of
            arrays where the model has several outputs). None for the metric that the bundle names.
    """

    ranges: Path | None = None
    quantiser: Quantiser = "own"
    metric: str | UserMetric | None = None


@dataclass(frozen=True)
class CalibrationResult:
    """A calibrated bundle and how it came out.

    Attributes:
        bundle: the new one.
        record: what its manifest says about the calibration.
        sensitivities: what each quantised precision costs and saves in each block, by precision and part; empty where
            a `ranges.json` was used.
        misses: a sentence for each limit of the recipe's budget that a part does not keep in a precision.
        problems: why clips were left out, by clip id.
    """

    bundle: Bundle
    record: CalibrationRecord
    sensitivities: Mapping[QuantisedPrecision, Mapping[str, PartSensitivity]]
    misses: tuple[str, ...]
    problems: Mapping[str, str]


def calibrate_bundle(
    source: Path | str,
    corpus: AnyCorpus | Sequence[Sample] | None,
    recipe: CalibrationRecipe | str,
    output: Path | str,
    *,
    options: CalibrationOptions = CalibrationOptions(),
    workers: int | WorkerPool = 0,
    progress: Progress = SILENT,
) -> CalibrationResult:
    """Calibrate a bundle on a corpus; the new bundle is written whole or not at all.

    Ranges come from clips of the train split. What precisions cost is measured on clips of the test split, else of the
    valid split, else on a quarter of the train clips, which then give no ranges. Without labels FP32 is the only
    measure.

    Args:
        source: the folder of an FP32 bundle, as `export` makes it.
        corpus: the clips, or samples: dictionaries of arrays by `STREAM/INPUT` without a batch axis, and by
            `label/OUTPUT`. None only with `options.ranges`: the graphs are then made and not judged.
        recipe: how ranges are found, and what precisions may cost; a recipe, its name or its TOML file.
        output: the folder of the new bundle.
        options: whose ranges and whose quantiser are used, and which metric is counted.
        workers: how many processes work; 0 for as many as there are cores.
        progress: receives the stages and how much of each is done.

    Raises:
        CalibrationError: there are too few clips, a stream is in no clip, activations are NaN or constant (the message
            names the tensor), the bundle is quantised already, or the ranges are those of other weights.
        OutputError: `output` cannot be written, or is the folder that is read.
        MissingExtraError: ModelOpt or matplotlib is not installed.

    Example:
        >>> import taemi_edge as te
        >>> from taemi_edge.bundle.recipe import load_recipe
        >>> few = {"clips": "4", "min_clips": "2", "held_out": "2", "trial_clips": "2", "methods": "['minmax']"}
        >>> recipe = load_recipe("calibration", "taemi-tiny", CalibrationRecipe, few)
        >>> result = te.calibrate_bundle(
        ...     "export/taemi-tiny", te.open_corpus("corpus"), recipe, "calibration/taemi-tiny", workers=1
        ... )
        >>> sorted(result.bundle.manifest.graphs["text"])
        ['fp16', 'fp32', 'int8', 'int8-dynamic', 'int8-fp16', 'int8-u8']
    """
    chosen = load_recipe("calibration", recipe, CalibrationRecipe) if isinstance(recipe, str) else recipe
    found = None if corpus is None else require_corpus(corpus)
    return _calibrate(Path(source), found, chosen, Path(output), options, workers, progress)


def _calibrate(
    source: Path,
    corpus: AnyCorpus | None,
    recipe: CalibrationRecipe,
    output: Path,
    options: CalibrationOptions,
    workers: int | WorkerPool,
    progress: Progress,
) -> CalibrationResult:
    started = time.perf_counter()
    require_another_place(source, output)
    bundle = open_bundle(source)
    _require_exported(bundle)
    recipe.require_parts(bundle.manifest.part_names)
    judge = None if corpus is None else Judge(bundle.manifest.outputs, options.metric or bundle.manifest.metric)
    reused = None if options.ranges is None else read_ranges(options.ranges, bundle, recipe.quantised, recipe.host)
    foreign_quantiser = _require_quantiser(options.quantiser, corpus, recipe)
    reads = [source] if corpus is None else [source, *places_of(corpus)]
    require_shared(workers, reads, [output.parent])
    with (
        new_folder(output, replaceable_files(output)) as draft,
        scratch_folder(scratch_place(workers, output.parent)) as scratch,
    ):
        work = _Work(bundle, recipe, draft, Path(scratch), workers, progress)
        if corpus is not None and judge is not None:
            plan, written, judgement = work.calibrate_on(corpus, judge, reused, options.quantiser)
        elif reused is not None:
            plan, written, judgement = work.apply_ranges(reused)
        else:
            raise CalibrationError("expected clips to find ranges on, or a ranges.json to reuse, got neither")
        seconds = time.perf_counter() - started
        record = make_record(draft, plan.ranges, recipe, foreign_quantiser, judgement, judge, seconds)
        if plan.sensitivities:
            write_sensitivity(draft, plan, recipe)
        write_manifest_and_shared_files(draft, bundle, recipe, written, record)
    misses = describe_misses(record, recipe.budget)
    return CalibrationResult(open_bundle(output), record, plan.sensitivities, tuple(misses), judgement.problems)


def default_recipe(bundle: Path) -> str:
    """Give the name of the recipe that a bundle is calibrated by: the model's own, or "default" where it has none.

    Raises:
        BundleError: the folder is no bundle.
    """
    return recipe_name_of(read_manifest(bundle).name)


@dataclass(frozen=True, eq=False)
class _Work:
    """One calibration under way: what is read, by which recipe, and where it is written."""

    bundle: Bundle
    recipe: CalibrationRecipe
    draft: Path
    scratch: Path
    workers: int | WorkerPool
    progress: Progress

    def calibrate_on(
        self, corpus: AnyCorpus, judge: Judge, reused: RangesFile | None, quantiser: Quantiser
    ) -> tuple[CalibrationPlan, WrittenGraphs, Judgement]:
        """Plan and judge on clips; reused ranges take the place of planning."""
        clips = read_clips(corpus, self.recipe, self.bundle, self.scratch, self.workers, self.progress)
        if reused is None:
            self.progress.stage("collecting ranges")
            plan = find_plan(self.bundle, clips, self.recipe, judge, self.workers, self.progress)
        else:
            plan = CalibrationPlan(reused)
        self.progress.stage("writing graphs")
        quantise_part: PartQuantiser = own_quantiser
        if quantiser == "modelopt":
            quantise_part = modelopt_quantiser(self.bundle, clips.calibrating, self.recipe, self.scratch)
        written = write_graphs(self.bundle, plan.ranges.plans, quantise_part, self.recipe.flavours, self.draft)
        write_ranges(self.draft, plan.ranges)
        graph_judge = GraphJudge(self.bundle, clips, self.recipe, judge, self.workers)
        return plan, written, graph_judge.judge(self.draft, written.files, self.progress)

    def apply_ranges(self, ranges: RangesFile) -> tuple[CalibrationPlan, WrittenGraphs, Judgement]:
        """Make the graphs by ranges that were found elsewhere; without clips nothing is judged."""
        self.progress.stage("writing graphs")
        written = write_graphs(self.bundle, ranges.plans, own_quantiser, self.recipe.flavours, self.draft)
        write_ranges(self.draft, ranges)
        return CalibrationPlan(ranges), written, Judgement()


def _require_exported(bundle: Bundle) -> None:
    """Refuse a bundle that `export` did not make: ranges belong to its weights."""
    for spec in bundle.manifest.parts.values():
        if spec.precision != "fp32" or not spec.file.endswith(".onnx"):
            raise CalibrationError(
                f"{bundle.folder}: expected an FP32 bundle as `taemi-edge export` makes it, but {spec.file} is "
                f"{spec.precision} already: name the exported bundle"
            )


def _require_quantiser(quantiser: Quantiser, corpus: AnyCorpus | None, recipe: CalibrationRecipe) -> str | None:
    """Give the name and version of a foreign quantiser; None for this package's own."""
    if quantiser == "own":
        return None
    from taemi_edge.calibration.modelopt import require_modelopt

    name_and_version = require_modelopt()
    if corpus is None:
        raise CalibrationError("--quantiser modelopt finds its own ranges: expected --data CORPUS, got none")
    if "fp8" in recipe.also:
        raise CalibrationError("--quantiser modelopt makes INT8 alone here: leave fp8 out, or use --quantiser own")
    return name_and_version

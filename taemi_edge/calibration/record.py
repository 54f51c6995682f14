"""Recording a calibration: the files that say how a calibrated bundle was made and what its precisions cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import msgspec

from taemi_edge import __version__
from taemi_edge.bundle.derived import copy_shared_files, derive_manifest
from taemi_edge.bundle.folder import PARETO, RANGES, SENSITIVITY, Bundle, sha256_of, write_manifest
from taemi_edge.bundle.json_files import write_json
from taemi_edge.bundle.precisions import HOST_FLAVOURS, Flavour, Precision, QuantisedPrecision
from taemi_edge.bundle.recipe import recipe_hash
from taemi_edge.bundle.records import CalibrationRecord, QuantisedRecord
from taemi_edge.bundle.values import Frozen, PartTolerances
from taemi_edge.calibration.graphs.qdq import PartPlan
from taemi_edge.calibration.judging import Judgement
from taemi_edge.calibration.planning import CalibrationPlan, RangesFile
from taemi_edge.calibration.recipe import CalibrationRecipe
from taemi_edge.calibration.sensitivity import PartSensitivity
from taemi_edge.calibration.tolerances import tolerances_by_recipe
from taemi_edge.calibration.writing import WrittenGraphs
from taemi_edge.parity.judge import Judge


class SensitivityFile(Frozen, frozen=True, omit_defaults=True):
    """`sensitivity.json`: what INT8 costs and saves, block by block, on so many clips of `data`.

    `further` has the same of other quantised precisions, where there are any, and `hosts` of the flavours for
    processors, of the parts that had to leave blocks out there.
    """

    name: str
    data: str
    clips: int
    parts: dict[str, PartSensitivity]
    further: dict[QuantisedPrecision, dict[str, PartSensitivity]] = msgspec.field(default_factory=dict)
    hosts: dict[Flavour, dict[str, PartSensitivity]] = msgspec.field(default_factory=dict)


def write_ranges(draft: Path, ranges: RangesFile) -> None:
    """Write `ranges.json` on one line: smoothing vectors have thousands of numbers."""
    write_json(draft / RANGES, ranges, indent=-1)


def make_record(
    draft: Path,
    ranges: RangesFile,
    recipe: CalibrationRecipe,
    quantiser: str | None,
    judgement: Judgement,
    judge: Judge | None,
    seconds: float,
) -> CalibrationRecord:
    """Collect what the manifest says about a calibration.

    Args:
        draft: the folder that holds `ranges.json`.
        ranges: the plans of all parts.
        recipe: what was asked for.
        quantiser: the name and version of a foreign quantiser, which finds its own ranges; None for this package's.
        judgement: what was measured on held-out clips.
        judge: the metric that was counted on labels; None where nothing was judged.
        seconds: how long the calibration took.
    """
    own = quantiser is None
    of = {precision: _quantised_record(plans, own) for precision, plans in ranges.plans.items()}
    int8 = of.pop("int8")
    metric = "pearson" if judge is None else judge.name
    return CalibrationRecord(
        data=ranges.data,
        synthetic=ranges.synthetic,
        quantiser=quantiser or f"taemi-edge {__version__}",
        clips=ranges.clips,
        held_out=judgement.held_out,
        patterns=judgement.patterns,
        recipe=recipe.name,
        recipe_sha256=recipe_hash(recipe),
        ranges_sha256=sha256_of(draft / RANGES),
        methods=int8.methods,
        alphas=int8.alphas,
        layer_error=int8.layer_error,
        excluded=int8.excluded,
        islands={part: len(plan.islands) for part, plan in ranges.parts.items()},
        closeness=judgement.closeness,
        metric=metric,
        higher_is_better=judge is None or judge.higher_is_better,
        scores=judgement.scores,
        pattern_scores=judgement.pattern_scores,
        mean_pearson=judgement.scores if metric == "pearson" else {},
        seconds=round(seconds, 1),
        further=of or msgspec.UNSET,
        host_excluded=_host_excluded(ranges) or msgspec.UNSET,
    )


def _host_excluded(ranges: RangesFile) -> dict[Flavour, dict[str, dict[str, str]]]:
    """The blocks that stay in FP32 by flavour for processors and part; empty where there are no such graphs."""
    plans = {part: plan.host for part, plan in ranges.parts.items() if plan.host is not None}
    if not plans:
        return {}
    return {
        flavour: {part: host.excluded[flavour] for part, host in plans.items() if host.excluded.get(flavour)}
        for flavour in HOST_FLAVOURS
    }


def _quantised_record(plans: Mapping[str, PartPlan], own: bool) -> QuantisedRecord:
    return QuantisedRecord(
        methods={part: _methods(plan) if own else "max" for part, plan in plans.items()},
        alphas={part: _alphas(plan) for part, plan in plans.items() if own},
        layer_error={part: _layer_error(plan) for part, plan in plans.items() if own},
        excluded={part: plan.excluded for part, plan in plans.items() if plan.excluded},
    )


def write_sensitivity(draft: Path, plan: CalibrationPlan, recipe: CalibrationRecipe) -> None:
    """Write `sensitivity.json` and draw it.

    Args:
        draft: the folder of the bundle that is being made.
        plan: with what was measured of each part's blocks.
        recipe: says how many clips blocks were measured on.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    from taemi_edge.calibration.plot import plot_sensitivity

    ranges = plan.ranges
    clips = min(recipe.trial_clips, ranges.clips)
    further = dict(plan.sensitivities)
    parts = further.pop("int8")
    content = SensitivityFile(
        name=ranges.name, data=ranges.data, clips=clips, parts=parts, further=further, hosts=plan.hosts
    )
    write_json(draft / SENSITIVITY, content)
    names = " and ".join(precision.upper() for precision in plan.sensitivities)
    title = f"{ranges.name}: {names} block by block, {clips} clips of {ranges.data}"
    plot_sensitivity(plan.sensitivities, title, draft / PARETO)


def write_manifest_and_shared_files(
    draft: Path, source: Bundle, recipe: CalibrationRecipe, written: WrittenGraphs, record: CalibrationRecord
) -> None:
    """Complete the calibrated bundle: what it shares with its source, and its manifest.

    Args:
        draft: the folder of the bundle that is being made; the graphs and `ranges.json` lie in it.
        source: the FP32 bundle.
        recipe: has the tolerances of each precision.
        written: the graphs.
        record: what the manifest says about the calibration.
    """
    copy_shared_files(source, draft)
    manifest = source.manifest
    ours = {"onnx": version("onnx"), "onnxruntime": version("onnxruntime")}
    tolerances: dict[Precision, PartTolerances] = {
        precision: tolerances_by_recipe(source, recipe, precision) for precision in recipe.precisions
    }
    derived = derive_manifest(
        source,
        written.specs,
        {**manifest.provenance.versions, **ours},
        tolerances=tolerances["int8"],
        tolerances_by=tolerances,
        graphs=written.files,
        calibration=record,
    )
    write_manifest(draft, derived)


def _methods(plan: PartPlan) -> str:
    """How the ranges of a part were found: by one method, or by several, each for some tensors."""
    return " and ".join(sorted({tensor.method for tensor in plan.tensors}))


def _alphas(plan: PartPlan) -> dict[str, int]:
    """How many tensors have each strength of smoothing, the lowest strength first."""
    counts = Counter(tensor.alpha for tensor in plan.tensors)
    return {
        "none" if a is None else f"{a:g}": counts[a] for a in sorted(counts, key=lambda a: -1.0 if a is None else a)
    }


def _layer_error(plan: PartPlan) -> tuple[float, float]:
    """The mean error over a part's tensors: on the rows that chose the scaling, and on rows that did not."""
    count = max(1, len(plan.tensors))
    return sum(t.error for t in plan.tensors) / count, sum(t.held_out_error for t in plan.tensors) / count

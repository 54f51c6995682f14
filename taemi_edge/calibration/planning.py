"""Planning a calibration: the plan of every part, found on clips or read from another machine's `ranges.json`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.precisions import QUANTISED, Flavour, QuantisedPrecision
from taemi_edge.bundle.values import Frozen
from taemi_edge.bundle.workers import WorkerPool, run_parallel
from taemi_edge.calibration.clip_selection import CalibrationClips
from taemi_edge.calibration.graphs.qdq import PartPlan
from taemi_edge.calibration.host_sensitivity import settle_for_hosts
from taemi_edge.calibration.part_plan import PartPlanDraft, PartPlanTask, draft_part_plan
from taemi_edge.calibration.recipe import CalibrationRecipe
from taemi_edge.calibration.sensitivity import ComparisonSetup, PartSensitivity, settle_plans
from taemi_edge.errors import CalibrationError
from taemi_edge.parity.judge import Judge
from taemi_edge.progress import Progress


class RangesFile(Frozen, frozen=True, omit_defaults=True):
    """`ranges.json`: what another machine needs to make the same graphs of the same weights.

    Attributes:
        name: of the model.
        data, synthetic, clips: the corpus that ranges were found on, whether it is synthetic, and how many clips of it
            were used.
        recipe: the name of the calibration recipe.
        parts: the plan of each part in INT8.
        further: the same for other quantised precisions, where there are any.
    """

    schema: int
    name: str
    data: str
    synthetic: bool
    clips: int
    recipe: str
    parts: dict[str, PartPlan]
    further: dict[QuantisedPrecision, dict[str, PartPlan]] = msgspec.field(default_factory=dict)

    @property
    def plans(self) -> dict[QuantisedPrecision, dict[str, PartPlan]]:
        """The plan of each part by precision."""
        return {"int8": self.parts, **self.further}


@dataclass(frozen=True)
class CalibrationPlan:
    """The plans of all parts, as they will be written, and what was measured of each part's blocks.

    `sensitivities` is by precision and part; it is empty where the plans were read from a `ranges.json`. `hosts` is by
    flavour for processors, of the parts that had to leave blocks out there.
    """

    ranges: RangesFile
    sensitivities: dict[QuantisedPrecision, dict[str, PartSensitivity]] = field(default_factory=dict)
    hosts: dict[Flavour, dict[str, PartSensitivity]] = field(default_factory=dict)


def find_plan(
    bundle: Bundle,
    clips: CalibrationClips,
    recipe: CalibrationRecipe,
    judge: Judge,
    workers: int | WorkerPool,
    progress: Progress,
) -> CalibrationPlan:
    """Find ranges, exclusions and islands of every part on clips.

    Args:
        bundle: in FP32, as `export` makes it.
        clips: of which only `clips.calibrating` is used.
        recipe: says how ranges are found and what precisions may cost.
        judge: the metric that is counted on labels.
        workers: how many processes work; 0 for as many as there are cores.
        progress: receives the stages and how much of each is done.

    Raises:
        CalibrationError: no clip feeds a part, or an activation is NaN or constant.
    """
    parts = bundle.manifest.part_names
    tasks = [PartPlanTask(part, bundle, clips.calibrating, recipe) for part in parts]
    drafts: dict[str, PartPlanDraft] = {}
    for draft in run_parallel(draft_part_plan, tasks, workers):
        drafts[draft.part] = draft
        progress.count(len(drafts), len(parts), "collecting ranges")
    drafts = {part: drafts[part] for part in parts}  # the same file, whichever was done first
    setup = ComparisonSetup(bundle, clips.calibrating.first(recipe.trial_clips), recipe, judge, workers)
    settled = {precision: settle_plans(drafts, precision, setup, progress) for precision in recipe.quantised}
    plans = {precision: found for precision, (found, _) in settled.items()}
    plans["int8"], hosts = settle_for_hosts(plans["int8"], drafts, setup, progress)
    ranges = RangesFile(
        schema=1,
        name=bundle.manifest.name,
        data=clips.data,
        synthetic=clips.synthetic,
        clips=len(clips.calibrating),
        recipe=recipe.name,
        parts=plans.pop("int8"),
        further=plans,
    )
    return CalibrationPlan(ranges, {precision: measured for precision, (_, measured) in settled.items()}, hosts)


def read_ranges(
    file: Path, bundle: Bundle, wanted: Collection[QuantisedPrecision] = QUANTISED[:1], host: bool = False
) -> RangesFile:
    """Read a `ranges.json`.

    Args:
        file: that another calibration wrote.
        bundle: whose ranges they should be.
        wanted: the precisions that graphs will be made of.
        host: whether INT8 graphs for processors will be made, too.

    Raises:
        CalibrationError: the file is none, was made for another model, or lacks a precision or the
            ranges for processors.
    """
    try:
        found = msgspec.json.decode(file.read_bytes(), type=RangesFile)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CalibrationError(f"{file}: expected the ranges.json of a calibrated bundle: {error}") from error
    if found.name != bundle.manifest.name or any(
        set(parts) != set(bundle.manifest.part_names) for parts in found.plans.values()
    ):
        raise CalibrationError(
            f"{file}: expected ranges of {bundle.manifest.name}, got those of {found.name}: calibrate anew"
        )
    for precision in wanted:
        if precision not in found.plans:
            raise CalibrationError(
                f"{file}: expected ranges of {precision}, it has those of {', '.join(found.plans)}: calibrate on clips "
                f"with --also {precision}, or leave {precision} out"
            )
    if host and (lacking := [part for part, plan in found.parts.items() if plan.host is None]):
        raise CalibrationError(
            f"{file}: expected ranges of {lacking[0]} for processors, the file was made without them: calibrate anew, "
            f"or pass --set host=false to make no graphs for processors"
        )
    return found

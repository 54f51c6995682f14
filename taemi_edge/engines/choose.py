"""Choosing the precision of each part: the one that was asked for, or the fastest that keeps tolerance and budget.

For "auto" every precision that the target offers and the device has is built, checked on the golden feeds and timed on
the shapes that live hops usually have. What the device does not have is skipped, and the reason is kept.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.precisions import FLAVOURS_OF, PRECISIONS, Precision
from taemi_edge.bundle.records import Candidate
from taemi_edge.calibration.budget import budget_fault
from taemi_edge.engines.abilities import why_it_is_no_speed
from taemi_edge.engines.measuring import measure
from taemi_edge.engines.part_builder import BuiltPart, PartBuilder
from taemi_edge.engines.plan import BuildPlan
from taemi_edge.errors import EngineError, InaccurateEngineError
from taemi_edge.parity.golden import Case, golden_cases


@dataclass(frozen=True)
class PartChoice:
    """What was chosen.

    Attributes:
        kept: the built part that each part of the new bundle is.
        candidates: everything that was built or refused, with the reason why it was kept or not.
        timed: at which shapes and how each part was timed, in words.
    """

    kept: dict[str, BuiltPart] = field(default_factory=dict)
    candidates: list[Candidate] = field(default_factory=list)
    timed: dict[str, str] = field(default_factory=dict)


def choose_parts(plan: BuildPlan, bundle: Bundle, builder: PartBuilder) -> PartChoice:
    """Build every part in the precision that was asked for; with "auto" in each, and keep the fastest that is allowed.

    Raises:
        EngineError: a part has no graph of the precision, cannot be built, or keeps its tolerance in none.
    """
    parts = bundle.manifest.part_names
    if plan.precision != "auto":
        kept = {part: builder.build(part, plan.precision) for part in parts}
        reasons = (f"asked for by --precision {plan.precision}", why_it_is_no_speed(plan.target, plan.precision))
        reason = "; ".join(filter(None, reasons))
        return PartChoice(kept, [_candidate(built, None, True, reason) for built in kept.values()])
    cases = golden_cases(bundle)
    choice = PartChoice()
    for part in parts:
        _choose_part(plan, bundle, builder, cases, part, choice)
    return choice


def fastest_worth_it(medians: Mapping[Precision, float], gain: float) -> Precision:
    """Give the fastest precision; a lower one counts only if it saves enough of the time of a higher one.

    Args:
        medians: the time of each precision, in any unit.
        gain: the share of time that a lower precision must save, 0 to 1.

    Example:
        >>> fastest_worth_it({"fp32": 1.00, "fp16": 0.98, "int8": 0.50}, 0.05)
        'int8'
        >>> fastest_worth_it({"fp32": 1.00, "fp16": 0.98}, 0.05)
        'fp32'
    """
    offered = [precision for precision in PRECISIONS if precision in medians]
    best = offered[0]
    for precision in offered[1:]:
        if medians[precision] < medians[best] * (1 - gain):
            best = precision
    return best


def _offered(plan: BuildPlan, bundle: Bundle) -> list[Precision]:
    """The target's precisions that the bundle has graphs of, and FP16 where graphs can be cast here."""
    manifest, parts = bundle.manifest, bundle.manifest.part_names
    has = {p for p in PRECISIONS if all(manifest.graph_file(part, FLAVOURS_OF[p][0]) for part in parts)}
    castable: set[Precision] = {"fp16"} if find_spec("onnx") else set()
    return [p for p in plan.target.offered if p in has | castable]


def _choose_part(
    plan: BuildPlan, bundle: Bundle, builder: PartBuilder, cases: list[Case], part: str, choice: PartChoice
) -> None:
    """Build one part in every offered precision, and add the fastest that is allowed to the choice."""
    built, refused = _build_all(plan, bundle, builder, part)
    if not built:
        raise EngineError(f"{part}: no precision can be built: {refused[0].reason}")
    measured = measure(plan, bundle, built, cases, builder.cache)
    times_ms = measured.times_ms
    faults = {p: fault or _budget_fault(plan, bundle, part, p) for p, fault in measured.faults.items()}
    allowed = [b for b in built if not faults[b.precision]]
    if not allowed:
        raise InaccurateEngineError(f"{part}: no precision is inside its tolerance: {faults[built[0].precision]}")
    medians = {b.precision: statistics.median(times_ms[b.precision]) for b in allowed}
    kept = fastest_worth_it(medians, plan.target.gain)
    reasons = {b.precision: faults[b.precision] or _slower(b.precision, kept, medians, plan) for b in built}
    reasons[kept] = "the fastest inside the budget" if len(built) > 1 else "the only precision that the bundle has"
    timed = [_candidate(b, times_ms[b.precision], b.precision == kept, reasons[b.precision]) for b in built]
    choice.candidates.extend([*timed, *refused])
    choice.kept[part] = next(b for b in built if b.precision == kept)
    choice.timed[part] = measured.timed


def _build_all(
    plan: BuildPlan, bundle: Bundle, builder: PartBuilder, part: str
) -> tuple[list[BuiltPart], list[Candidate]]:
    """Build one part in every offered precision; what cannot be built, or gains nothing, is refused with the reason."""
    built: list[BuiltPart] = []
    refused: list[Candidate] = []
    for precision in _offered(plan, bundle):
        reason = plan.missing.get(precision) or why_it_is_no_speed(plan.target, precision)
        reason = reason and f"skipped: {reason}"
        try:
            if not reason:
                built.append(builder.build(part, precision))
        except EngineError as error:
            reason = str(error)
        if reason:
            failed = BuiltPart(part, precision, Path(), "", 0.0)
            refused.append(_candidate(failed, None, False, reason))
    return built, refused


def _slower(precision: Precision, kept: Precision, medians: Mapping[Precision, float], plan: BuildPlan) -> str:
    ratio = medians[precision] / medians[kept]
    reason = f"{ratio:.2f} x the time of {kept}"
    return reason + (f": it would have to save {plan.target.gain:.0%}" if ratio < 1 else "")


def _budget_fault(plan: BuildPlan, bundle: Bundle, part: str, precision: Precision) -> str:
    """Say how a candidate is outside the target's budget, as calibration measured it; empty where it is not."""
    record = bundle.manifest.calibration
    return "" if record is None else budget_fault(record, part, plan.target.budget, precision)


def _candidate(built: BuiltPart, times_ms: list[float] | None, kept: bool, reason: str) -> Candidate:
    return Candidate(
        part=built.part,
        precision=built.precision,
        median_ms=None if not times_ms else round(statistics.median(times_ms), 4),
        p95_ms=None if not times_ms else round(float(np.quantile(times_ms, 0.95)), 4),
        bytes=built.file.stat().st_size if built.file.is_file() else 0,
        build_s=built.seconds,
        kept=kept,
        reason=reason,
    )

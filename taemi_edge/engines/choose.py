"""Choosing the engine of each part: the precision that was asked for, or the fastest that keeps tolerance and budget.

For "auto" every precision that the target offers and the device has is built, checked on the golden feeds and timed on
the shapes that live hops usually have. What the device does not have is skipped, and the reason is kept.

On a processor each precision has several forms (`variants.py`). All of them are built as the bundle has them and looked
at; of the promising ones the rewritten form is built as well (`worth_fusing.py`); then all are timed in turn. Of a
precision that was asked for by its name, the fastest form is taken.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import numpy as np

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.precisions import FLAVOURS_OF, HOST_FLAVOURS, PRECISIONS, Precision
from taemi_edge.bundle.records import Candidate
from taemi_edge.bundle.spec import Manifest
from taemi_edge.calibration.budget import budget_fault
from taemi_edge.engines.abilities import why_it_is_no_speed
from taemi_edge.engines.measuring import Measured, Measuring
from taemi_edge.engines.part_builder import BuiltPart, PartBuilder
from taemi_edge.engines.plan import BuildPlan
from taemi_edge.engines.recipe import TargetRecipe
from taemi_edge.engines.variants import (
    Variant,
    missing_flavours,
    multiplies_in_bf16,
    variants_of,
    why_it_is_not_as_judged,
)
from taemi_edge.engines.worth_fusing import worth_fusing
from taemi_edge.errors import BackendError, EngineError, InaccurateEngineError, MissingExtraError
from taemi_edge.parity.golden import golden_cases

_Offered = TypeVar("_Offered")


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
    measuring = Measuring(plan, bundle, golden_cases(bundle), builder.cache, builder.progress)
    choice = PartChoice()
    for part in bundle.manifest.part_names:
        _PartChooser(plan, bundle, builder, measuring, part).choose(choice)
    return choice


def fastest_worth_it(
    medians: Mapping[_Offered, float], gain: float, level: Callable[[_Offered], float] = PRECISIONS.index
) -> _Offered:
    """Give the fastest one; of a lower precision it counts only if it saves enough of the time of a higher one.

    Args:
        medians: the time of each, in any unit.
        gain: the share of time that a lower precision must save, 0 to 1.
        level: the precision of one, as a number that rises as precision falls; by default, these are precisions.

    Example:
        >>> fastest_worth_it({"fp32": 1.00, "fp16": 0.98, "int8": 0.50}, 0.05)
        'int8'
        >>> fastest_worth_it({"fp32": 1.00, "fp16": 0.98}, 0.05)
        'fp32'
        >>> fastest_worth_it({"int8": 0.99, "int8-u8": 0.98}, 0.05, level=lambda form: 3)
        'int8-u8'
    """
    levels = sorted({level(one) for one in medians})
    fastest = [min((one for one in medians if level(one) == each), key=lambda one: medians[one]) for each in levels]
    best = fastest[0]
    for one in fastest[1:]:
        if medians[one] < medians[best] * (1 - gain):
            best = one
    return best


class _PartChooser:
    """Chooses one part: builds its variants, measures them, and keeps the fastest that is allowed."""

    def __init__(self, plan: BuildPlan, bundle: Bundle, builder: PartBuilder, measuring: Measuring, part: str) -> None:
        self._plan, self._bundle, self._builder, self._measuring, self._part = plan, bundle, builder, measuring, part
        self._built: list[BuiltPart] = []
        self._refused: list[Candidate] = []
        self._errors: list[Exception] = []

    def choose(self, choice: PartChoice) -> None:
        """Add the part to a choice."""
        offered = self._offered()
        for number, (variant, skipped) in enumerate(offered.items(), 1):
            self._build(variant, skipped)
            if len(offered) > 1:
                self._builder.progress.count(number, len(offered), f"{self._part}: building candidates")
        if not self._built:
            self._say_that_nothing_was_built()
        asked = self._plan.precision
        faults = self._fuse() if self._plan.target.backend == "onnxruntime-cpu" else {}
        if asked != "auto" and len(self._built) == 1:
            self._keep(choice, self._built[0], {}, {self._built[0].name: f"chosen by --precision {asked}"})
            return
        measured = self._measuring.measure(self._built, faults)
        choice.timed[self._part] = measured.timed
        allowed, problems = self._allowed(measured)
        medians = {b: measured.median_ms(b.name) for b in allowed}
        kept = fastest_worth_it(medians, self._plan.target.gain, level=lambda b: b.variant.level)
        self._keep(choice, kept, measured.times_ms, self._reasons(kept, measured, problems))

    def _offered(self) -> dict[Variant, str]:
        """The variants to build, none of them rewritten yet, each with the reason why it is skipped; "" for none."""
        target, asked = self._plan.target, self._plan.precision
        wanted = _precisions(self._plan, self._bundle) if asked == "auto" else [asked]
        found = {v: "" for p in wanted for v in variants_of(target, self._bundle, self._part, p)}
        found |= {v: f"skipped: {reason}" for v in found if (reason := why_it_is_not_as_judged(v))}
        if asked != "auto":
            return found
        for variant in found:
            missing = self._plan.missing.get(variant.precision)
            if reason := missing or self._idle(variant):
                found[variant] = f"skipped: {reason}"
        for variant in missing_flavours(target, self._bundle, self._part) if "int8" in wanted else ():
            found[variant] = (
                "skipped: the bundle has no such graph, as older calibrations and those with host=false make none: "
                "calibrate the exported bundle again"
            )
        return found

    def _build(self, variant: Variant, skipped: str = "") -> None:
        """Build a variant; what cannot be built, or gains nothing, is refused with the reason."""
        reason = skipped
        try:
            if not reason:
                built = self._builder.build(self._part, variant)
                same = built.name if built in self._built else ""
                self._built += [] if same else [built]
                reason = same and f"skipped: it is the same as {same}"
        except (EngineError, MissingExtraError, BackendError) as error:
            self._errors.append(error)
            reason = str(error)
        if reason:
            self._refused.append(_candidate(BuiltPart(self._part, variant, Path(), "", 0.0), [], False, reason))

    def _say_that_nothing_was_built(self) -> None:
        if self._plan.precision != "auto" and self._errors:
            raise self._errors[0]
        raise EngineError(f"{self._part}: no precision can be built: {self._refused[0].reason}")

    def _fuse(self) -> dict[str, str]:
        """Build the rewritten form of what promises most; gives the faults of the others, which were looked for."""
        candidates = [b for b in self._built if b.precision != "fp16" and not self._idle(b.variant)]
        candidates = [b for b in candidates if not b.variant.session_is_as_written]
        if not candidates or not self._plan.target.allows("fused"):
            return {}
        looked = None
        if len(candidates) > 1:
            looked = self._measuring.look_at(self._built)
        chosen = worth_fusing(candidates, looked, lambda b: self._fault(b, looked))
        for number, (built, why_not) in enumerate(chosen.items(), 1):
            self._build(built.variant.fused(), why_not)
            self._builder.progress.count(number, len(chosen), f"{self._part}: fusing candidates")
        return {} if looked is None else looked.faults

    def _allowed(self, measured: Measured) -> tuple[list[BuiltPart], dict[str, str]]:
        """The candidates that may be kept, and by name what is wrong with each.

        Of a precision that was asked for, one is taken even where none is allowed: parity then says so of the bundle.
        """
        problems = {b.name: self._fault(b, measured) for b in self._built}
        allowed = [b for b in self._built if not problems[b.name]]
        if not allowed and self._plan.precision != "auto":
            right = [b for b in self._built if not measured.faults[b.name]]
            return right or self._built[:1], problems
        if not allowed:
            reason = problems[self._built[0].name]
            raise InaccurateEngineError(f"{self._part}: no precision is inside its tolerance: {reason}")
        return allowed, problems

    def _fault(self, built: BuiltPart, measured: Measured | None) -> str:
        """Say how a candidate is outside its tolerance or the target's budget; empty where it may be kept."""
        fault = "" if measured is None else measured.faults[built.name]
        record, variant = self._bundle.manifest.calibration, built.variant
        if fault or record is None:
            return fault
        budget = self._plan.target.budget
        if variant.flavour in HOST_FLAVOURS:
            return budget_fault(record, self._part, budget, variant.precision, variant.flavour)
        return budget_fault(record, self._part, budget, variant.precision)

    def _reasons(self, kept: BuiltPart, measured: Measured, problems: Mapping[str, str]) -> dict[str, str]:
        asked, of = self._plan.precision, len(self._built)
        reasons = {b.name: problems[b.name] or self._slower(b, kept, measured) for b in self._built}
        best = "the fastest inside the budget" if of > 1 else "the only precision that the bundle has"
        if asked != "auto":
            best = f"chosen by --precision {asked}, the fastest of its forms"
        reasons[kept.name] = "; ".join(filter(None, [best, problems[kept.name], self._unjudged(kept.variant)]))
        return reasons

    def _unjudged(self, variant: Variant) -> str:
        """What was not judged on clips of a variant that is kept; empty where calibration judged it."""
        record = self._bundle.manifest.calibration
        if variant.has_seven_bits:
            return "weights of seven bits were compared on the golden feeds alone, not judged on clips"
        judged = record is not None and "bf16" in record.closeness.get(self._part, {})
        if variant.session is not None and variant.session.bf16_products and not judged:
            return "products in BF16 were compared on the golden feeds alone, not judged on clips"
        return ""

    def _slower(self, built: BuiltPart, kept: BuiltPart, measured: Measured) -> str:
        ratio = measured.median_ms(built.name) / measured.median_ms(kept.name)
        reason = f"{ratio:.2f} x the time of {kept.name}"
        return reason + (f": it would have to save {self._plan.target.gain:.0%}" if ratio < 1 else "")

    def _idle(self, variant: Variant) -> str:
        """Say why a variant gains nothing on the target, whatever its times are; empty where only timing tells."""
        return "" if variant.session else why_it_is_no_speed(self._plan.target, variant.precision)

    def _keep(
        self,
        choice: PartChoice,
        kept: BuiltPart,
        times_ms: Mapping[str, Sequence[float]],
        reasons: Mapping[str, str],
    ) -> None:
        idle = self._idle(kept.variant)
        said = {**reasons, kept.name: "; ".join(filter(None, (reasons[kept.name], idle)))}
        found = [_candidate(b, times_ms.get(b.name, []), b is kept, said[b.name]) for b in self._built]
        choice.candidates.extend([*found, *self._refused])
        choice.kept[self._part] = kept


def untimed_precision(manifest: Manifest, target: TargetRecipe) -> Precision:
    """The precision of engines that cannot be timed where they are built: FP16 where there are graphs of it, else FP32.

    INT8 and FP8 are no promise of speed, and cost accuracy: they are chosen by whoever can time them.

    Args:
        manifest: of the bundle of graphs.
        target: its recipe may offer neither of the two; then it is the first that it offers.
    """
    has = _graphs_of(manifest)
    known: tuple[Precision, ...] = ("fp16", "fp32")
    return next((p for p in known if p in has and p in target.offered), target.offered[0])


def _graphs_of(manifest: Manifest) -> set[Precision]:
    """The precisions that a bundle has graphs of, and those that its FP32 graphs give wherever onnx is installed."""
    parts = manifest.part_names
    has = {p for p in PRECISIONS if all(manifest.graph_file(part, FLAVOURS_OF[p][0]) for part in parts)}
    return {*has, "fp16"} if find_spec("onnx") else has  # graphs can be cast


def _precisions(plan: BuildPlan, bundle: Bundle) -> list[Precision]:
    """The target's precisions that the bundle has graphs of, and those that its FP32 graphs give here."""
    has = _graphs_of(bundle.manifest)
    if plan.target.backend == "onnxruntime-cpu" and "fp32" in has and multiplies_in_bf16():
        has.add("bf16")
    return [p for p in plan.target.offered if p in has]


def _candidate(built: BuiltPart, times_ms: Sequence[float], kept: bool, reason: str) -> Candidate:
    return Candidate(
        part=built.part,
        precision=built.precision,
        median_ms=None if not times_ms else round(statistics.median(times_ms), 4),
        p95_ms=None if not times_ms else round(float(np.quantile(times_ms, 0.95)), 4),
        bytes=built.file.stat().st_size if built.file.is_file() else 0,
        build_s=built.seconds,
        kept=kept,
        reason=reason,
        form=built.variant.form,
    )

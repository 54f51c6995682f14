"""The budget rule: how much accuracy a part may lose in a precision below FP16.

A recipe's budget has two limits: the least Pearson correlation of the part's outputs with FP32, and how much worse
than FP32 the model's metric on labels may be. Calibration reports the parts that miss it, and `build-engine
--precision auto` does not choose them.
"""

from __future__ import annotations

from dataclasses import dataclass

from taemi_edge.bundle.precisions import FLAVOURS_OF, HOST_FLAVOURS, PRECISIONS, Flavour, Precision
from taemi_edge.bundle.records import CalibrationRecord
from taemi_edge.calibration.recipe import BudgetRecipe
from taemi_edge.parity.metrics import CORRELATIONS

#: The precisions that a budget holds: those below FP16, whose tolerance is close to what FP16 itself cannot write.
BUDGETED: tuple[Precision, ...] = PRECISIONS[PRECISIONS.index("fp16") + 1 :]


@dataclass(frozen=True)
class BudgetCheck:
    """One part's graph in a lower precision against a budget, measured on held-out clips.

    Attributes:
        pearson: of the part's outputs with FP32; None where it is undefined.
        score: the model's metric on labels, this part alone in the precision; None where it is undefined.
        fp32_score: the same with every part in FP32; None where the clips have no labels.
        bound: the worst score that the budget allows; None where the clips have no labels.
        keeps_pearson, keeps_score: whether the part is inside the first and the second limit.
    """

    pearson: float | None
    score: float | None
    fp32_score: float | None
    bound: float | None
    keeps_pearson: bool
    keeps_score: bool


def check_budget(
    record: CalibrationRecord,
    part: str,
    budget: BudgetRecipe,
    precision: Precision = "int8",
    flavour: Flavour | None = None,
) -> BudgetCheck:
    """Hold what calibration measured of a part in a lower precision against a budget.

    Args:
        record: of a calibrated bundle that was judged on clips; `record.closeness` has the part.
        part: the name of a stream, or of the head.
        budget: the recipe's limits. An undefined Pearson with FP32 is always outside, and so is an undefined score
            where FP32 has one; an undefined correlation counts as none, 0.
        precision: one that the record has.
        flavour: of the precision; None for the one that it is judged by.
    """
    found, fp32 = record.closeness[part][flavour or FLAVOURS_OF[precision][0]], record.scores.get("fp32")
    sign = 1 if record.higher_is_better else -1
    bound = None if fp32 is None else fp32 - sign * budget.allowed_loss(fp32, record.higher_is_better)
    got = 0.0 if found.score is None and record.metric in CORRELATIONS else found.score
    return BudgetCheck(
        pearson=found.pearson,
        score=found.score,
        fp32_score=fp32,
        bound=bound,
        keeps_pearson=found.pearson is not None and found.pearson >= budget.pearson,
        keeps_score=bound is None or (got is not None and sign * got >= sign * bound),
    )


def metric_words(record: CalibrationRecord) -> str:
    """Give the name of the metric as a sentence has it: `mean Pearson`, or the metric's own name."""
    return "mean Pearson" if record.metric == "pearson" else record.metric


def budget_fault(
    record: CalibrationRecord,
    part: str,
    budget: BudgetRecipe,
    precision: Precision,
    flavour: Flavour | None = None,
) -> str:
    """Say how a part is outside a budget, for the reason of a choice; empty where it is inside or was not judged.

    Args:
        record, part, budget, precision: as `check_budget` takes them; a precision that was not judged has no fault.
        flavour: of the precision; None for the one that it is judged by.
    """
    judged = flavour or FLAVOURS_OF[precision][0]
    if (precision, judged) not in _judged(record, part):
        return ""
    check = check_budget(record, part, budget, precision, judged)
    if not check.keeps_pearson:
        return f"Pearson {check.pearson or 0:.4f} with FP32 on held-out clips, the budget wants {budget.pearson:g}"
    if not check.keeps_score:
        way = "falls" if record.higher_is_better else "rises"
        return f"{metric_words(record)} on labels {way} from {check.fp32_score:.3f} to {check.score or 0:.3f}"
    return ""


def describe_misses(record: CalibrationRecord, budget: BudgetRecipe) -> list[str]:
    """Describe every part and precision that is outside the budget: what was expected and what was measured."""
    misses = []
    limit = "at least" if record.higher_is_better else "at most"
    for part, (precision, flavour) in ((name, found) for name in record.closeness for found in _judged(record, name)):
        check = check_budget(record, part, budget, precision, flavour)
        name = flavour if flavour in HOST_FLAVOURS else precision.upper()
        if not check.keeps_pearson:
            got = "an undefined one" if check.pearson is None else f"{check.pearson:.4f}"
            misses.append(f"{part} in {name}: expected a Pearson with FP32 of at least {budget.pearson:g}, got {got}")
        if not check.keeps_score:
            got = "an undefined one" if check.score is None else f"{check.score:.3f}"
            words = metric_words(record)
            misses.append(f"{part} in {name}: expected a {words} on labels of {limit} {check.bound:.3f}, got {got}")
    return misses


def _judged(record: CalibrationRecord, part: str) -> list[tuple[Precision, Flavour]]:
    """The flavours of a part that a budget holds and that were judged, each with its precision."""
    found = record.closeness.get(part, {})
    judged = [(precision, flavour) for precision in BUDGETED for flavour in FLAVOURS_OF[precision] if flavour in found]
    return [(p, flavour) for p, flavour in judged if flavour == FLAVOURS_OF[p][0] or flavour in HOST_FLAVOURS]

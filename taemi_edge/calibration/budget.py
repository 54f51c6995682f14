"""The budget rule: how much accuracy a part may lose in INT8.

A recipe's budget has two limits: the least Pearson correlation of the part's outputs with FP32, and how far mean
Pearson of the intensities with labels may fall below FP32's. Calibration reports the parts that miss it, and
`build-engine --precision auto` does not choose them.
"""

from __future__ import annotations

from dataclasses import dataclass

from taemi_edge.bundle.records import CalibrationRecord
from taemi_edge.calibration.recipe import BudgetRecipe


@dataclass(frozen=True)
class BudgetCheck:
    """One part's INT8 graph against a budget, measured on held-out clips.

    Attributes:
        pearson: of the part's outputs with FP32; None where it is undefined.
        mean_pearson: of intensities with labels, this part alone in INT8; None where it is undefined.
        fp32_mean_pearson: the same with every part in FP32; None where the clips have no labels.
        keeps_pearson, keeps_mean_pearson: whether the part is inside the first and the second limit.
    """

    pearson: float | None
    mean_pearson: float | None
    fp32_mean_pearson: float | None
    keeps_pearson: bool
    keeps_mean_pearson: bool


def check_budget(record: CalibrationRecord, part: str, budget: BudgetRecipe) -> BudgetCheck:
    """Hold what calibration measured of a part in INT8 against a budget.

    Args:
        record: of a calibrated bundle that was judged on clips; `record.closeness` has the part.
        part: "vision", "audio", "text" or "fusion".
        budget: the recipe's limits. An undefined Pearson with FP32 is always outside.
    """
    found, fp32 = record.closeness[part]["int8"], record.mean_pearson.get("fp32")
    return BudgetCheck(
        pearson=found.pearson,
        mean_pearson=found.mean_pearson,
        fp32_mean_pearson=fp32,
        keeps_pearson=found.pearson is not None and found.pearson >= budget.pearson,
        keeps_mean_pearson=fp32 is None or (found.mean_pearson or 0) >= fp32 - budget.mean_pearson_drop,
    )


def describe_misses(record: CalibrationRecord, budget: BudgetRecipe) -> list[str]:
    """Describe every part in INT8 that is outside the budget: what was expected and what was measured."""
    misses = []
    for part in record.closeness:
        check = check_budget(record, part, budget)
        if not check.keeps_pearson:
            got = "an undefined one" if check.pearson is None else f"{check.pearson:.4f}"
            misses.append(f"{part} in INT8: expected a Pearson with FP32 of at least {budget.pearson:g}, got {got}")
        if check.fp32_mean_pearson is not None and not check.keeps_mean_pearson:
            got = "an undefined one" if check.mean_pearson is None else f"{check.mean_pearson:.3f}"
            least = f"{check.fp32_mean_pearson - budget.mean_pearson_drop:.3f}"
            misses.append(f"{part} in INT8: expected a mean Pearson on labels of at least {least}, got {got}")
    return misses

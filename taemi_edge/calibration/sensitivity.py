"""Measuring what INT8 costs in each block of a part, and choosing the blocks that stay in higher precision.

The cost of a block is how far the part's output moves when this block alone is INT8; its saving is its share of the
part's multiply-accumulates (MACs). Blocks leave INT8 in the order of cost for saving, until the part is near enough to
FP32.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from taemi_edge.bundle.records import Closeness
from taemi_edge.bundle.spec import PARTS
from taemi_edge.bundle.values import Array, Frozen
from taemi_edge.bundle.workers import run_parallel
from taemi_edge.calibration.clip_spool import ClipSpool
from taemi_edge.calibration.graph_comparison import ComparisonResult, ComparisonTask, compare_graph
from taemi_edge.calibration.graphs.qdq import PartPlan, is_excluded
from taemi_edge.calibration.part_plan import BlockSize, PartPlanDraft
from taemi_edge.calibration.recipe import CalibrationRecipe
from taemi_edge.progress import Progress

#: The share of the allowed error that may be used up on the clips of calibration: on other clips the error is larger.
HEADROOM = 0.8
_UNCHANGED = "FP32"


class BlockCost(Frozen, frozen=True):
    """What INT8 in one block costs and saves.

    Attributes:
        cost: 1 - Pearson of the part with FP32 when this block alone is INT8.
        mean_pearson_drop: how far mean Pearson on labels falls then; None where it is undefined.
        weights: how many the block has.
        macs_share: the block's share of the part's multiply-accumulates, 0 to 1.
        excluded: why the block stays in higher precision; None where it is INT8.
    """

    block: str
    cost: float
    mean_pearson_drop: float | None
    weights: int
    macs_share: float
    excluded: str | None = None


class PartSensitivity(Frozen, frozen=True):
    """What was measured of one part.

    Attributes:
        blocks: all of them.
        methods: Pearson with FP32 by the method that found the ranges, before any block left INT8 for its cost.
        steps: each measurement while blocks left INT8: the share of MACs in INT8, and the cost (1 - Pearson).
    """

    blocks: tuple[BlockCost, ...]
    methods: dict[str, float | None]
    steps: tuple[tuple[float, float], ...]


@dataclass(frozen=True, eq=False)
class ComparisonSetup:
    """What graphs are compared with: the FP32 graphs and the clips, the same for many comparisons.

    Attributes:
        files: the FP32 graph of each part.
        spool: the clips.
        tokens: the missing-modality token of each modality, (D,).
        workers: how many processes compare; 0 for as many as there are cores.
    """

    files: Mapping[str, Path]
    spool: ClipSpool
    tokens: Mapping[str, Array]
    recipe: CalibrationRecipe
    workers: int

    def task(
        self,
        part: str,
        name: str,
        plan: PartPlan | None = None,
        excluded: Collection[str] = (),
        file: Path | None = None,
    ) -> ComparisonTask:
        """Describe a comparison: of a part's own FP32 graph, of its INT8 by a plan, or of another file."""
        return ComparisonTask(
            part=part,
            name=name,
            file=file or self.files[part],
            fusion=self.files["fusion"],
            spool=self.spool,
            tokens=self.tokens,
            frames_per_clip=self.recipe.frames_per_clip,
            plan=plan,
            excluded=tuple(excluded),
        )


def settle_plans(
    drafts: Mapping[str, PartPlanDraft], setup: ComparisonSetup, progress: Progress
) -> tuple[dict[str, PartPlan], dict[str, PartSensitivity]]:
    """Choose the method that finds each part's ranges, and the blocks that stay out of INT8.

    Args:
        drafts: the plans of each part by method.
        setup: the clips that methods and blocks are compared on.
        progress: receives how many comparisons are done.

    Returns:
        The plan of each part with its exclusions, and what was measured.
    """
    by_method = _compare_methods(drafts, setup, progress)
    plans: dict[str, PartPlan] = {part: drafts[part].plans[_nearest(by_method[part])] for part in PARTS}
    costs = _measure_blocks(plans, drafts, setup, progress)
    settled: dict[str, PartPlan] = {}
    sensitivities: dict[str, PartSensitivity] = {}
    for number, part in enumerate(PARTS):
        progress.count(number, len(PARTS), "leaving blocks out")
        settled[part], sensitivities[part] = _exclude(part, plans[part], costs[part], by_method[part], setup)
    return settled, sensitivities


def _compare_methods(
    drafts: Mapping[str, PartPlanDraft],
    setup: ComparisonSetup,
    progress: Progress,
) -> dict[str, dict[str, Closeness]]:
    tasks = [
        setup.task(part, method, plan, plan.excluded) for part in PARTS for method, plan in drafts[part].plans.items()
    ]
    found: dict[str, dict[str, Closeness]] = {part: {} for part in PARTS}
    for result in _compare_all(tasks, setup, "trying ways to find ranges", progress):
        found[result.part][result.name] = result.closeness
    return {part: {method: found[part][method] for method in drafts[part].plans} for part in PARTS}


def _measure_blocks(
    plans: Mapping[str, PartPlan],
    drafts: Mapping[str, PartPlanDraft],
    setup: ComparisonSetup,
    progress: Progress,
) -> dict[str, list[BlockCost]]:
    tasks = []
    for part in PARTS:
        blocks = list(drafts[part].sizes)
        tasks.append(setup.task(part, _UNCHANGED))
        for block in blocks:
            others = [other for other in blocks if other != block]
            tasks.append(setup.task(part, block, plans[part], others))
    found: dict[str, dict[str, Closeness]] = {part: {} for part in PARTS}
    for result in _compare_all(tasks, setup, "measuring blocks", progress):
        found[result.part][result.name] = result.closeness
    return {part: _block_costs(plans[part], drafts[part].sizes, found[part]) for part in PARTS}


def _block_costs(plan: PartPlan, sizes: Mapping[str, BlockSize], found: Mapping[str, Closeness]) -> list[BlockCost]:
    total = sum(size.macs for size in sizes.values())
    return [
        BlockCost(
            block=block,
            cost=cost_of(found[block]),
            mean_pearson_drop=_drop(found[_UNCHANGED].mean_pearson, found[block].mean_pearson),
            weights=size.weights,
            macs_share=size.macs / total,
            excluded=next((why for entry, why in plan.excluded.items() if is_excluded(block, [entry])), None),
        )
        for block, size in sizes.items()
    ]


def cost_of(closeness: Closeness) -> float:
    """Give 1 - Pearson with FP32; 1 where Pearson is undefined.

    >>> cost_of(Closeness(pearson=0.75, max_abs=0, p99_abs=0, cosine=1, min_cosine=1, mean_pearson=None))
    0.25
    """
    return 1.0 if closeness.pearson is None else 1.0 - closeness.pearson


def _exclude(
    part: str,
    plan: PartPlan,
    blocks: list[BlockCost],
    methods: Mapping[str, Closeness],
    setup: ComparisonSetup,
) -> tuple[PartPlan, PartSensitivity]:
    """Take blocks out of INT8, the highest cost for its saving first, until the part is near enough to FP32."""
    allowed = (1 - setup.recipe.budget.pearson) * HEADROOM
    by_name = {block.block: block for block in blocks}
    waiting = sorted((b for b in blocks if b.excluded is None), key=lambda b: b.cost / (b.macs_share + 1e-3))
    excluded, steps = dict(plan.excluded), []
    cost = cost_of(methods[_nearest(methods)])
    while True:
        share = sum(b.macs_share for b in by_name.values() if b.excluded is None)
        steps.append((share, cost))
        if cost <= allowed or not waiting:
            break
        # the remaining blocks cost together about the sum of their costs: several leave before the next measurement
        while True:
            block = waiting.pop()
            reason = f"alone it takes {block.cost:.2g} off the part's Pearson with FP32"
            excluded[block.block] = reason
            by_name[block.block] = msgspec.structs.replace(block, excluded=reason)
            if not waiting or sum(b.cost for b in waiting) <= allowed:
                break
        cost = cost_of(compare_graph(setup.task(part, "settled", plan, excluded)).closeness) if waiting else 0.0
    sensitivity = PartSensitivity(
        blocks=tuple(by_name.values()),
        methods={method: closeness.pearson for method, closeness in methods.items()},
        steps=tuple(steps),
    )
    return msgspec.structs.replace(plan, excluded=excluded), sensitivity


def _nearest(methods: Mapping[str, Closeness]) -> str:
    return min(methods, key=lambda method: cost_of(methods[method]))


def _drop(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else before - after


def _compare_all(
    tasks: list[ComparisonTask], setup: ComparisonSetup, what: str, progress: Progress
) -> list[ComparisonResult]:
    results = []
    progress.count(0, len(tasks), what)
    for result in run_parallel(compare_graph, tasks, setup.workers):
        results.append(result)
        progress.count(len(results), len(tasks), what)
    return results

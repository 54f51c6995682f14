"""A part's plan and clips in, what INT8 costs in each of its blocks out, and which blocks are better left out of it.

Cost is how far the part's output moves when one block alone is INT8; saving is that block's share of the part's
multiply-accumulates. Blocks leave INT8 in the order of cost for saving until the part is near enough to FP32.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from taemi_edge.bundle.spec import PARTS, Array, Closeness, Frozen
from taemi_edge.bundle.workers import run_parallel
from taemi_edge.calibration.clips import ClipSpool
from taemi_edge.calibration.graphs.qdq import PartPlan, is_excluded
from taemi_edge.calibration.judge import TrialResult, TrialTask, try_graph
from taemi_edge.calibration.plan import PartDraft
from taemi_edge.calibration.recipe import CalibrationRecipe
from taemi_edge.progress import Progress

#: Of the error that the budget allows, how much the clips of calibration may use up: others are a little worse.
HEADROOM = 0.8
_EXACT = "FP32"


class BlockCost(Frozen, frozen=True):
    """One block: what INT8 in it alone costs, what it saves, and why it was left out if it was."""

    block: str
    cost: float
    mean_pearson_drop: float | None
    weights: int
    macs_share: float
    excluded: str | None = None


class PartSensitivity(Frozen, frozen=True):
    """All blocks of a part; `steps` are what was measured on the way: share of MACs in INT8, and cost (1 - Pearson)."""

    blocks: tuple[BlockCost, ...]
    methods: dict[str, float | None]
    steps: tuple[tuple[float, float], ...]


@dataclass(frozen=True, eq=False)
class Bench:
    """Where candidates are tried: the FP32 graphs and the clips."""

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
    ) -> TrialTask:
        """The trial of a part in FP32, of its INT8 by a plan, or of another file."""
        return TrialTask(
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
    drafts: Mapping[str, PartDraft], bench: Bench, progress: Progress
) -> tuple[dict[str, PartPlan], dict[str, PartSensitivity]]:
    """Choose each part's way of finding ranges and the blocks that stay out of INT8.

    Returns:
        The plans with their exclusions, and what was measured.
    """
    by_method = _try_methods(drafts, bench, progress)
    plans: dict[str, PartPlan] = {part: drafts[part].plans[_nearest(by_method[part])] for part in PARTS}
    costs = _try_blocks(plans, drafts, bench, progress)
    settled: dict[str, PartPlan] = {}
    sensitivities: dict[str, PartSensitivity] = {}
    for number, part in enumerate(PARTS):
        progress.count(number, len(PARTS), "leaving blocks out")
        settled[part], sensitivities[part] = _exclude(part, plans[part], costs[part], by_method[part], bench)
    return settled, sensitivities


def _try_methods(
    drafts: Mapping[str, PartDraft],
    bench: Bench,
    progress: Progress,
) -> dict[str, dict[str, Closeness]]:
    tasks = [bench.task(part, way, plan, plan.excluded) for part in PARTS for way, plan in drafts[part].plans.items()]
    found: dict[str, dict[str, Closeness]] = {part: {} for part in PARTS}
    for result in _tried(tasks, bench, "trying ways to find ranges", progress):
        found[result.part][result.name] = result.closeness
    return {part: {way: found[part][way] for way in drafts[part].plans} for part in PARTS}


def _try_blocks(
    plans: Mapping[str, PartPlan],
    drafts: Mapping[str, PartDraft],
    bench: Bench,
    progress: Progress,
) -> dict[str, list[BlockCost]]:
    tasks = []
    for part in PARTS:
        blocks = list(drafts[part].sizes)
        tasks.append(bench.task(part, _EXACT))
        for block in blocks:
            others = [other for other in blocks if other != block]
            tasks.append(bench.task(part, block, plans[part], others))
    found = {(r.part, r.name): r.closeness for r in _tried(tasks, bench, "measuring blocks", progress)}
    costs: dict[str, list[BlockCost]] = {}
    for part in PARTS:
        sizes = drafts[part].sizes
        total = sum(size.macs for size in sizes.values())
        exact = found[part, _EXACT].mean_pearson
        costs[part] = [
            BlockCost(
                block=block,
                cost=cost_of(found[part, block]),
                mean_pearson_drop=_drop(exact, found[part, block].mean_pearson),
                weights=size.weights,
                macs_share=size.macs / total,
                excluded=next((why for e, why in plans[part].excluded.items() if is_excluded(block, [e])), None),
            )
            for block, size in sizes.items()
        ]
    return costs


def cost_of(closeness: Closeness) -> float:
    """1 - Pearson with FP32; 1 where it is undefined."""
    return 1.0 if closeness.pearson is None else 1.0 - closeness.pearson


def _exclude(
    part: str,
    plan: PartPlan,
    blocks: list[BlockCost],
    methods: Mapping[str, Closeness],
    bench: Bench,
) -> tuple[PartPlan, PartSensitivity]:
    """Take blocks out of INT8, dearest for their saving first, until the part is near enough to FP32."""
    allowed = (1 - bench.recipe.budget.pearson) * HEADROOM
    by_name = {block.block: block for block in blocks}
    waiting = sorted((b for b in blocks if b.excluded is None), key=lambda b: b.cost / (b.macs_share + 1e-3))
    excluded, steps = dict(plan.excluded), []
    cost = cost_of(methods[_nearest(methods)])
    while True:
        share = sum(b.macs_share for b in by_name.values() if b.excluded is None)
        steps.append((share, cost))
        if cost <= allowed or not waiting:
            break
        # what is left adds up to no less than this: several blocks can go before the next measurement
        while True:
            block = waiting.pop()
            reason = f"alone it takes {block.cost:.2g} off the part's Pearson with FP32"
            excluded[block.block] = reason
            by_name[block.block] = msgspec.structs.replace(block, excluded=reason)
            if not waiting or sum(b.cost for b in waiting) <= allowed:
                break
        cost = cost_of(try_graph(bench.task(part, "settled", plan, excluded)).closeness) if waiting else 0.0
    sensitivity = PartSensitivity(
        blocks=tuple(by_name.values()),
        methods={way: closeness.pearson for way, closeness in methods.items()},
        steps=tuple(steps),
    )
    return msgspec.structs.replace(plan, excluded=excluded), sensitivity


def _nearest(methods: Mapping[str, Closeness]) -> str:
    return min(methods, key=lambda way: cost_of(methods[way]))


def _drop(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else before - after


def _tried(tasks: list[TrialTask], bench: Bench, what: str, progress: Progress) -> list[TrialResult]:
    results = []
    progress.count(0, len(tasks), what)
    for result in run_parallel(try_graph, tasks, bench.workers):
        results.append(result)
        progress.count(len(results), len(tasks), what)
    return results

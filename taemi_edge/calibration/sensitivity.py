"""Measuring what a quantised precision costs in each block of a part, and choosing the blocks that stay higher.

The cost of a block is how far the part's output moves when this block alone is quantised, and how much of the model's
metric on labels is lost then; its saving is its share of the part's multiply-accumulates (MACs). Blocks leave the
precision in the order of cost for saving, until the part is near enough to FP32. INT8 and FP8 are settled in the same
way, each for itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.precisions import Flavour, QuantisedPrecision
from taemi_edge.bundle.records import Closeness
from taemi_edge.bundle.values import HEAD, Array, Frozen
from taemi_edge.bundle.workers import WorkerPool, run_parallel
from taemi_edge.calibration.clip_spool import ClipSpool, thin_clip
from taemi_edge.calibration.graph_comparison import ComparisonResult, ComparisonTask, compare_graph, predict
from taemi_edge.calibration.graph_sessions import runner_of
from taemi_edge.calibration.graphs.qdq import PartPlan, is_excluded
from taemi_edge.calibration.part_plan import BlockSize, PartPlanDraft
from taemi_edge.calibration.recipe import CalibrationRecipe
from taemi_edge.calibration.scoring import counts_labels, follows_pearson
from taemi_edge.parity.judge import Judge, split_labels
from taemi_edge.progress import Progress

#: The share of the allowed error that may be used up on the clips of calibration: on other clips the error is larger.
HEADROOM = 0.8
_UNCHANGED = "FP32"
_SAME = Closeness(pearson=1.0, max_abs=0, p99_abs=0, cosine=1, min_cosine=1)  # of a part that is not quantised


class BlockCost(Frozen, frozen=True):
    """What it costs and saves to quantise one block.

    Attributes:
        cost: 1 - Pearson of the part with FP32 when this block alone is quantised.
        loss: how much worse the model's metric on labels is then; None where it is undefined.
        mean_pearson_drop: the loss where the metric is Pearson.
        weights: how many the block has.
        macs_share: the block's share of the part's multiply-accumulates, 0 to 1.
        excluded: why the block stays in higher precision; None where it is quantised.
    """

    block: str
    cost: float
    loss: float | None
    weights: int
    macs_share: float
    excluded: str | None = None
    mean_pearson_drop: float | None = None


class PartSensitivity(Frozen, frozen=True):
    """What was measured of one part.

    Attributes:
        blocks: all of them.
        methods: Pearson with FP32 by the method that found the ranges, before any block was left out for its cost.
        steps: each measurement while blocks were left out: the share of MACs that is quantised, and the cost
            (1 - Pearson).
    """

    blocks: tuple[BlockCost, ...]
    methods: dict[str, float | None]
    steps: tuple[tuple[float, float], ...]


@dataclass(frozen=True, eq=False)
class ComparisonSetup:
    """What graphs are compared with: the FP32 graphs, the clips and the metric, the same for many comparisons.

    Attributes:
        bundle: in FP32.
        spool: the clips.
        judge: the metric that is counted on labels.
        workers: how many processes compare; 0 for as many as there are cores.
    """

    bundle: Bundle
    spool: ClipSpool
    recipe: CalibrationRecipe
    judge: Judge
    workers: int | WorkerPool

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the model's parts."""
        return self.bundle.manifest.part_names

    @property
    def allowed(self) -> float:
        """How far 1 - Pearson with FP32 of a part may be above 0 on the clips of calibration."""
        return (1 - self.recipe.budget.pearson) * HEADROOM

    @cached_property
    def fp32_score(self) -> float | None:
        """The metric on labels with every part in FP32."""
        clips = [thin_clip(clip, self.bundle, self.recipe.frames_per_clip) for clip in self.spool]
        outputs = predict(runner_of(self.bundle.read_part(HEAD)), self.bundle, clips)
        return self.judge.value(outputs, self.labels)

    def loss(self, closeness: Closeness) -> float | None:
        """How much worse than FP32 a graph is on labels, in the metric's unit."""
        return self.judge.loss(self.fp32_score, closeness.score)

    def total_cost(self, cost: float, loss: float | None) -> float:
        """Count a cost on labels beside 1 - Pearson with FP32: as much of it as the budget's limits say is alike.

        Where the metric is a correlation itself, the first one bounds it, and labels would only add their noise. One
        label that flips among a few clips tells nothing yet.
        """
        if loss is None or self.fp32_score is None or follows_pearson(self.judge):
            return cost
        of_metric = self.recipe.budget.allowed_loss(self.fp32_score, self.judge.higher_is_better) * HEADROOM
        sure = loss - (1 / len(self.spool) if counts_labels(self.judge) else 0.0)
        return max(cost, sure / max(of_metric, 1e-9) * self.allowed)

    def keeps(self, found: Closeness) -> bool:
        """Whether a part is near enough to FP32, with room for clips that are not these."""
        return self.total_cost(cost_of(found), self.loss(found)) <= self.allowed

    @cached_property
    def labels(self) -> dict[str, Array]:
        """The labels of all clips, by output."""
        return split_labels(np.stack([clip.labels for clip in self.spool]), self.judge.outputs)

    def task(
        self,
        part: str,
        name: str,
        plan: PartPlan | None = None,
        excluded: Collection[str] = (),
        file: Path | None = None,
        flavour: Flavour = "fp32",
    ) -> ComparisonTask:
        """Describe a comparison: of a part's own FP32 graph, of it quantised by a plan, or of another file."""
        return ComparisonTask(
            part=part,
            name=name,
            file=file,
            bundle=self.bundle,
            spool=self.spool,
            items_per_clip=self.recipe.frames_per_clip,
            plan=plan,
            excluded=tuple(excluded),
            flavour=flavour,
        )

    def scored(self, result: ComparisonResult) -> Closeness:
        """Give how near a graph came to FP32, with its score on labels."""
        score = self.judge.value(result.outputs, self.labels)
        return msgspec.structs.replace(
            result.closeness, score=score, mean_pearson=score if self.judge.name == "pearson" else None
        )


def settle_plans(
    drafts: Mapping[str, PartPlanDraft],
    precision: QuantisedPrecision,
    setup: ComparisonSetup,
    progress: Progress,
) -> tuple[dict[str, PartPlan], dict[str, PartSensitivity]]:
    """Choose the method that finds each part's ranges, and the blocks that are not quantised.

    Args:
        drafts: the plans of each part.
        precision: the one whose plans are settled.
        setup: the clips that methods and blocks are compared on.
        progress: receives how many comparisons are done.

    Returns:
        The plan of each part with its exclusions, and what was measured.
    """
    candidates = {part: drafts[part].plans[precision] for part in setup.parts}
    by_method = _compare_methods(candidates, setup, progress)
    plans = {part: candidates[part][_nearest(by_method[part])] for part in setup.parts}
    costs = measure_blocks(plans, drafts, setup, progress)
    settled: dict[str, PartPlan] = {}
    sensitivities: dict[str, PartSensitivity] = {}
    for number, part in enumerate(setup.parts):
        progress.count(number, len(setup.parts), "leaving blocks out")
        methods = by_method[part]
        start = Start(plans[part], plans[part].excluded, methods[_nearest(methods)])
        excluded, measured = exclude_blocks(part, start, costs[part], setup)
        pearsons = {method: closeness.pearson for method, closeness in methods.items()}
        settled[part] = msgspec.structs.replace(plans[part], excluded=excluded)
        sensitivities[part] = msgspec.structs.replace(measured, methods=pearsons)
    return settled, sensitivities


def _compare_methods(
    candidates: Mapping[str, Mapping[str, PartPlan]],
    setup: ComparisonSetup,
    progress: Progress,
) -> dict[str, dict[str, Closeness]]:
    tasks = [
        setup.task(part, method, plan, plan.excluded)
        for part in setup.parts
        for method, plan in candidates[part].items()
    ]
    found: dict[str, dict[str, Closeness]] = {part: {} for part in setup.parts}
    for result in compare_all(tasks, setup, "trying ways to find ranges", progress):
        found[result.part][result.name] = setup.scored(result)
    return {part: {method: found[part][method] for method in candidates[part]} for part in setup.parts}


def measure_blocks(
    plans: Mapping[str, PartPlan],
    drafts: Mapping[str, PartPlanDraft],
    setup: ComparisonSetup,
    progress: Progress,
    flavour: Flavour = "int8",
) -> dict[str, list[BlockCost]]:
    """Measure what each block costs where it alone is quantised.

    Args:
        plans: of the parts that are measured.
        drafts: have the blocks.
        setup: the clips that are compared on.
        progress: receives how many comparisons are done.
        flavour: how the block is quantised.

    Returns:
        The blocks of each part.
    """
    tasks = []
    for part in plans:
        blocks = list(drafts[part].sizes)
        tasks.append(setup.task(part, _UNCHANGED))
        for block in blocks:
            others = [other for other in blocks if other != block]
            tasks.append(setup.task(part, block, plans[part], others, flavour=flavour))
    found: dict[str, dict[str, Closeness]] = {part: {} for part in plans}
    for result in compare_all(tasks, setup, "measuring blocks", progress):
        found[result.part][result.name] = setup.scored(result)
    return {part: _block_costs(plans[part], drafts[part].sizes, found[part], setup.judge) for part in plans}


def _block_costs(
    plan: PartPlan, sizes: Mapping[str, BlockSize], found: Mapping[str, Closeness], judge: Judge
) -> list[BlockCost]:
    total = sum(size.macs for size in sizes.values())
    losses = {block: judge.loss(found[_UNCHANGED].score, found[block].score) for block in sizes}
    return [
        BlockCost(
            block=block,
            cost=cost_of(found[block]),
            loss=losses[block],
            mean_pearson_drop=losses[block] if judge.name == "pearson" else None,
            weights=size.weights,
            macs_share=size.macs / total,
            excluded=next((why for entry, why in plan.excluded.items() if is_excluded(block, [entry])), None),
        )
        for block, size in sizes.items()
    ]


def cost_of(closeness: Closeness) -> float:
    """Give 1 - Pearson with FP32; 1 where Pearson is undefined.

    >>> cost_of(Closeness(pearson=0.75, max_abs=0, p99_abs=0, cosine=1, min_cosine=1))
    0.25
    """
    return 1.0 if closeness.pearson is None else 1.0 - closeness.pearson


@dataclass(frozen=True, eq=False)
class Start:
    """Where leaving blocks out begins: a plan, the blocks that stay out anyway, and how near the part is without them.

    `flavour` says how the part is quantised.
    """

    plan: PartPlan
    excluded: Mapping[str, str]
    closeness: Closeness
    flavour: Flavour = "int8"


def exclude_blocks(
    part: str, start: Start, blocks: list[BlockCost], setup: ComparisonSetup
) -> tuple[dict[str, str], PartSensitivity]:
    """Leave blocks unquantised, the highest cost for its saving first, until the part is near enough to FP32.

    Returns:
        All that stay out, each with the reason, and what was measured.
    """
    by_name = {block.block: block for block in blocks}
    total = {b.block: setup.total_cost(b.cost, b.loss) for b in blocks}
    waiting = sorted((b for b in blocks if b.excluded is None), key=lambda b: total[b.block] / (b.macs_share + 1e-3))
    excluded, steps, found = dict(start.excluded), [], start.closeness
    while True:
        share = sum(b.macs_share for b in by_name.values() if b.excluded is None)
        steps.append((share, cost_of(found)))
        if setup.keeps(found) or not waiting:
            break
        # the remaining blocks cost together about the sum of their costs: several leave before the next measurement
        while True:
            block = waiting.pop()
            reason = _reason(block, total[block.block])
            excluded[block.block] = reason
            by_name[block.block] = msgspec.structs.replace(block, excluded=reason)
            if not waiting or sum(total[b.block] for b in waiting) <= setup.allowed:
                break
        task = setup.task(part, "settled", start.plan, excluded, flavour=start.flavour)
        found = setup.scored(compare_graph(task)) if waiting else _SAME
    return excluded, PartSensitivity(blocks=tuple(by_name.values()), methods={}, steps=tuple(steps))


def _reason(block: BlockCost, total: float) -> str:
    if block.loss is not None and total > block.cost:
        return f"alone it costs {block.loss:.2g} of the metric on labels"
    return f"alone it takes {block.cost:.2g} off the part's Pearson with FP32"


def _nearest(methods: Mapping[str, Closeness]) -> str:
    return min(methods, key=lambda method: cost_of(methods[method]))


def compare_all(
    tasks: list[ComparisonTask], setup: ComparisonSetup, what: str, progress: Progress
) -> list[ComparisonResult]:
    """Run comparisons in worker processes, and report how many are done."""
    results: list[ComparisonResult] = []
    if not tasks:
        return results
    progress.count(0, len(tasks), what)
    for result in run_parallel(compare_graph, tasks, setup.workers):
        results.append(result)
        progress.count(len(results), len(tasks), what)
    return results

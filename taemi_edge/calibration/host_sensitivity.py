"""Settling what stays in FP32 in the INT8 graphs for processors.

A block costs something else there than in the symmetric graph, since convolutions give quantised outputs: so it is
measured for these graphs themselves. A part that keeps its budget whole is measured no further, and one that was
measured with ranges from clips is not measured block by block again with those of each run: the order is the same, and
the part as a whole is judged in its own flavour.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from taemi_edge.bundle.precisions import HOST_FLAVOURS, Flavour
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.graphs.qdq import PartPlan
from taemi_edge.calibration.graphs.unsigned_plan import UnsignedPlan
from taemi_edge.calibration.part_plan import PartPlanDraft
from taemi_edge.calibration.sensitivity import (
    BlockCost,
    ComparisonSetup,
    PartSensitivity,
    Start,
    compare_all,
    exclude_blocks,
    measure_blocks,
)
from taemi_edge.progress import Progress


def settle_for_hosts(
    plans: Mapping[str, PartPlan], drafts: Mapping[str, PartPlanDraft], setup: ComparisonSetup, progress: Progress
) -> tuple[dict[str, PartPlan], dict[Flavour, dict[str, PartSensitivity]]]:
    """Choose the blocks that stay in FP32 in each flavour for processors.

    Args:
        plans: of each part in INT8, settled; those without ranges for processors stay as they are.
        drafts: have the blocks of each part.
        setup: the clips that are compared on.
        progress: receives how many comparisons are done.

    Returns:
        The plans with these blocks, and what was measured of the parts that had to leave some out.
    """
    settled, measured = dict(plans), {}
    costs: dict[str, list[BlockCost]] = {}
    for flavour in HOST_FLAVOURS:
        waiting = {part: plan for part, plan in settled.items() if plan.host is not None}
        if flavour == "int8-dynamic":
            linear = {part for part in waiting if any(x.is_linear for x in Graph.of_part(setup.bundle, part).layers())}
            for part in set(waiting) - linear:  # both flavours are the same graph
                settled[part] = _with_excluded(waiting.pop(part), flavour, _excluded(settled[part], "int8-u8"))
        found, sensitivities = _settle(flavour, waiting, drafts, costs, setup, progress)
        settled.update(found)
        if sensitivities:
            measured[flavour] = sensitivities
    return settled, measured


def _settle(
    flavour: Flavour,
    plans: Mapping[str, PartPlan],
    drafts: Mapping[str, PartPlanDraft],
    costs: dict[str, list[BlockCost]],
    setup: ComparisonSetup,
    progress: Progress,
) -> tuple[dict[str, PartPlan], dict[str, PartSensitivity]]:
    """Settle one flavour; `costs` has the blocks of the parts that were measured, and gets those of others."""
    always = {part: setup.recipe.exclude.get(part, {}) for part in plans}
    tasks = [setup.task(part, "whole", plan, always[part], flavour=flavour) for part, plan in plans.items()]
    whole = {result.part: setup.scored(result) for result in compare_all(tasks, setup, f"trying {flavour}", progress)}
    settled = {part: _with_excluded(plan, flavour, always[part]) for part, plan in plans.items()}
    dear = {
        part: msgspec.structs.replace(plan, excluded=dict(always[part]))  # not what the symmetric graph leaves out
        for part, plan in plans.items()
        if not setup.keeps(whole[part])
    }
    measured: dict[str, PartSensitivity] = {}
    unknown = {part: plan for part, plan in dear.items() if part not in costs}
    costs.update(measure_blocks(unknown, drafts, setup, progress, flavour))
    for part, plan in dear.items():
        start = Start(plan, always[part], whole[part], flavour)
        excluded, measured[part] = exclude_blocks(part, start, costs[part], setup)
        settled[part] = _with_excluded(plans[part], flavour, excluded)
    return settled, measured


def _excluded(plan: PartPlan, flavour: Flavour) -> Mapping[str, str]:
    return {} if plan.host is None else plan.host.excluded.get(flavour, {})


def _with_excluded(plan: PartPlan, flavour: Flavour, excluded: Mapping[str, str]) -> PartPlan:
    host = plan.host or UnsignedPlan(tensors=())
    host = msgspec.structs.replace(host, excluded={**host.excluded, flavour: dict(excluded)})
    return msgspec.structs.replace(plan, host=host)

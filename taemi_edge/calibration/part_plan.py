"""Planning how one part is quantised: the range and the smoothing of each tensor, and the islands of FP32.

Each quantised precision has a plan by each method of finding ranges that the recipe names; all of them follow from one
run over the clips. `sensitivity.py` keeps the best plan of each precision and excludes blocks from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.precisions import QuantisedPrecision
from taemi_edge.bundle.values import Frozen
from taemi_edge.calibration.clip_spool import ClipSpool, part_feeds
from taemi_edge.calibration.graph_sessions import runner_of_all_tensors
from taemi_edge.calibration.graphs.fp16 import find_islands
from taemi_edge.calibration.graphs.graph import Graph, Layer, blocks_of, groups_of, weight_matrix
from taemi_edge.calibration.graphs.grids import GRIDS
from taemi_edge.calibration.graphs.qdq import PartPlan, ScaledTensor, weights_sha256
from taemi_edge.calibration.graphs.ranges import Method, PartStatistics, collect_statistics
from taemi_edge.calibration.graphs.smoothing import Scaling, choose_scaling
from taemi_edge.calibration.host_ranges import convolution_ranges, plan_for_hosts, simplified_chains
from taemi_edge.calibration.recipe import CalibrationRecipe
from taemi_edge.errors import CalibrationError

#: The name of the plan that takes for each tensor the method with the smallest error.
PER_TENSOR = "per tensor"


class BlockSize(Frozen, frozen=True):
    """How large a block is: how many weights it has, and its multiply-accumulates in one run (mean over the feeds)."""

    weights: int
    macs: float


@dataclass(frozen=True)
class PartPlanTask:
    """Everything that a worker process needs to plan one part.

    Attributes:
        bundle: in FP32.
        spool: the clips that ranges are found on.
    """

    part: str
    bundle: Bundle
    spool: ClipSpool
    recipe: CalibrationRecipe


@dataclass(frozen=True)
class PartPlanDraft:
    """The plans of one part, by precision and the method that found their ranges, and its blocks' sizes by name."""

    part: str
    plans: dict[QuantisedPrecision, dict[str, PartPlan]]
    sizes: dict[str, BlockSize]


def draft_part_plan(task: PartPlanTask) -> PartPlanDraft:
    """Run a part over its clips once and plan its graphs in every precision and by every method of the recipe.

    Raises:
        CalibrationError: no clip feeds this part, an activation is NaN or constant, or the graph is quantised already.
    """
    try:
        return _draft_part_plan(task)
    except CalibrationError as error:
        raise CalibrationError(f"{task.part}: {error}") from error


def _draft_part_plan(task: PartPlanTask) -> PartPlanDraft:
    graph, recipe = Graph.of_part(task.bundle, task.part), task.recipe
    if graph.is_quantised:
        raise CalibrationError(
            f"{task.bundle.part_file(task.part)} holds Q/DQ nodes already: calibrate the bundle that `export` made"
        )
    layers = graph.layers()
    readers = {precision: dict(_readers(graph, layers, recipe, precision)) for precision in recipe.quantised}
    watched = {name: found.feature_axis for by in readers.values() for name, found in by.items()}
    hosts = simplified_chains(graph) if recipe.host else None
    further = {} if hosts is None else {name: 1 for name in sorted(hosts[1].ranged) if name not in watched}
    statistics = _collect_statistics(task, graph, watched, further)
    islands = find_islands(graph, statistics.amax, recipe.fp16_keep.get(task.part, ()), recipe.fp16_margin)
    identity = weights_sha256(graph)
    convolutions = {} if hosts is None else convolution_ranges(*hosts, statistics.watched)

    def plan(precision: QuantisedPrecision, methods: tuple[Method, ...]) -> PartPlan:
        tensors = _scale_tensors(graph, statistics, readers[precision], recipe, methods, precision)
        for_hosts = hosts is not None and precision == "int8"
        return PartPlan(
            weights_sha256=identity,
            tensors=tensors,
            excluded=dict(recipe.exclude.get(task.part, {})),
            islands=islands,
            precision=precision,
            host=plan_for_hosts(graph, convolutions, statistics.watched, tensors) if for_hosts else None,
        )

    choices = _method_choices(recipe).items()
    plans = {precision: {name: plan(precision, methods) for name, methods in choices} for precision in recipe.quantised}
    return PartPlanDraft(task.part, plans, _block_sizes(graph, layers, statistics))


def _method_choices(recipe: CalibrationRecipe) -> dict[str, tuple[Method, ...]]:
    """The methods that each plan may use: every one alone and, where there are several, all of them."""
    choices: dict[str, tuple[Method, ...]] = {method: (method,) for method in recipe.methods}
    if len(choices) > 1:
        choices[PER_TENSOR] = recipe.methods
    return choices


class _Readers(NamedTuple):
    """The nodes that read one tensor quantised.

    Attributes:
        feature_axis: of the tensor; None where no axis has a fixed length.
        linears: the Linears among them, whose weights smoothing changes.
        nodes: the names of all of them.
    """

    feature_axis: int | None
    linears: list[Layer]
    nodes: list[str]


def _readers(
    graph: Graph, layers: list[Layer], recipe: CalibrationRecipe, precision: QuantisedPrecision
) -> Iterator[tuple[str, _Readers]]:
    """Every tensor that is quantised with its readers: layers, and the other nodes that the recipe names."""
    groups = dict(groups_of(layers))
    others: dict[str, list[str]] = {}
    wanted = {"Softmax": recipe.softmax, "LayerNormalization": recipe.layer_norm}
    for node in graph.nodes:
        if wanted.get(node.op_type):
            others.setdefault(node.input[0], []).append(node.name)
    for node in graph.attention_matmuls() if recipe.quantises_attention(precision) else ():
        for source in node.input:
            others.setdefault(source, []).append(node.name)
    for source, group in groups.items():
        axes = {layer.feature_axis for layer in group}
        linears = group if all(layer.is_linear for layer in group) else []
        yield source, _Readers(axes.pop() if len(axes) == 1 else None, linears, [layer.node for layer in group])
    for source, nodes in others.items():
        if source not in groups:
            yield source, _Readers(None, [], nodes)


def _collect_statistics(
    task: PartPlanTask, graph: Graph, watched: Mapping[str, int | None], further: Mapping[str, int]
) -> PartStatistics:
    recipe = task.recipe
    statistics = collect_statistics(
        runner_of_all_tensors(graph),
        part_feeds(task.spool, task.bundle, task.part, recipe.frames_per_clip, recipe.batch),
        {**watched, **further},
        recipe.rows,
        recipe.seed,
        graph.outputs,
        further,
    )
    if not statistics.feeds:
        raise CalibrationError("no clip has anything to feed it: calibrate on clips that have this stream")
    return statistics


def _scale_tensors(
    graph: Graph,
    statistics: PartStatistics,
    readers: Mapping[str, _Readers],
    recipe: CalibrationRecipe,
    methods: tuple[Method, ...],
    precision: QuantisedPrecision,
) -> tuple[ScaledTensor, ...]:
    tensors, grid = [], GRIDS[precision]
    for source, found in readers.items():
        weights = [weight_matrix(graph, layer) for layer in found.linears]
        chosen = choose_scaling(statistics.watched[source], weights, recipe.alphas, methods, recipe.percentile, grid)
        tensors.append(_scaled_tensor(source, found.nodes, chosen))
    return tuple(tensors)


def _scaled_tensor(source: str, nodes: list[str], chosen: Scaling) -> ScaledTensor:
    smoothing = () if chosen.smoothing is None else tuple(float(f"{value:.6g}") for value in chosen.smoothing)
    return ScaledTensor(
        tensor=source,
        nodes=tuple(nodes),
        amax=chosen.amax,
        method=chosen.method,
        alpha=chosen.alpha,
        smoothing=smoothing,
        error=chosen.error,
        held_out_error=chosen.held_out_error,
    )


def _block_sizes(graph: Graph, layers: list[Layer], statistics: PartStatistics) -> dict[str, BlockSize]:
    outputs = {node.name: node.output[0] for node in graph.nodes}
    sizes = {}
    for block, members in blocks_of(layers).items():
        weights, macs = 0, 0.0
        for layer in members:
            shape = graph.value(layer.weight).shape
            weights += int(np.prod(shape))
            inputs_per_output = int(np.prod(shape)) / shape[layer.channel_axis]
            macs += inputs_per_output * statistics.elements[outputs[layer.node]] / statistics.feeds
        sizes[block] = BlockSize(weights=weights, macs=macs)
    return sizes

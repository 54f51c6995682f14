"""One part and its clips in, its plan out: the ranges, smoothing and islands that make its FP16 and INT8 graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from taemi_edge.bundle.spec import Array, Frozen
from taemi_edge.calibration.clips import ClipSpool, part_feeds
from taemi_edge.calibration.graphs.fp16 import find_islands
from taemi_edge.calibration.graphs.graph import Graph, Layer, blocks_of, groups_of, weight_matrix, with_all_outputs
from taemi_edge.calibration.graphs.qdq import PartPlan, ScaledTensor, weights_sha256
from taemi_edge.calibration.graphs.ranges import Method, PartStatistics, collect
from taemi_edge.calibration.graphs.smoothing import Scaling, choose_scaling
from taemi_edge.calibration.recipe import CalibrationRecipe
from taemi_edge.errors import CalibrationError

Run = Callable[[Mapping[str, Array]], dict[str, Array]]
#: The way that takes, tensor by tensor, whichever method errs least.
PER_TENSOR = "per tensor"


class BlockSize(Frozen, frozen=True):
    """What a block weighs: its layers' weights, and their multiply-accumulates over one of the feeds."""

    weights: int
    macs: float


@dataclass(frozen=True)
class PartTask:
    """What a worker needs to plan one part."""

    part: str
    file: Path
    spool: ClipSpool
    tokens: Mapping[str, Array]
    recipe: CalibrationRecipe


@dataclass(frozen=True)
class PartDraft:
    """A part's plan by each way of finding ranges, and the sizes of its blocks."""

    part: str
    plans: dict[str, PartPlan]
    sizes: dict[str, BlockSize]


def draft_plan(task: PartTask) -> PartDraft:
    """Run a part over its clips once and plan its INT8 by every method of the recipe.

    Raises:
        CalibrationError: no clip feeds this part, an activation is NaN or constant, or the graph is quantised already.
    """
    try:
        return _draft_plan(task)
    except CalibrationError as error:
        raise CalibrationError(f"{task.part}: {error}") from error


def _draft_plan(task: PartTask) -> PartDraft:
    graph, recipe = Graph.load(task.file), task.recipe
    if graph.is_quantised:
        raise CalibrationError(f"{task.file} holds Q/DQ nodes already: calibrate the bundle that `export` made")
    layers = graph.layers()
    readers = dict(_readers(graph, layers, recipe))
    statistics = collect(
        run_all(graph),
        part_feeds(task.spool, task.part, task.tokens, recipe.frames_per_clip, recipe.batch),
        {source: axis for source, (axis, _, _) in readers.items()},
        recipe.rows,
        recipe.seed,
    )
    if not statistics.feeds:
        raise CalibrationError("no clip has anything to feed it: calibrate on clips with faces, sound and words")
    islands = find_islands(graph, statistics.amax, recipe.fp16_keep.get(task.part, ()), recipe.fp16_margin)
    ways: dict[str, tuple[Method, ...]] = {method: (method,) for method in recipe.methods}
    if len(ways) > 1:
        ways[PER_TENSOR] = recipe.methods
    identity = weights_sha256(graph)
    plans = {
        way: PartPlan(
            weights_sha256=identity,
            tensors=_scale(graph, statistics, readers, recipe, methods),
            excluded=dict(recipe.exclude.get(task.part, {})),
            islands=islands,
        )
        for way, methods in ways.items()
    }
    return PartDraft(task.part, plans, _sizes(graph, layers, statistics))


#: Of a tensor: its feature axis, the Linears that read it (for smoothing), and every node that takes it as INT8.
_Readers = tuple[int | None, list[Layer], list[str]]


def _readers(graph: Graph, layers: list[Layer], recipe: CalibrationRecipe) -> Iterator[tuple[str, _Readers]]:
    groups = dict(groups_of(layers))
    also: dict[str, list[str]] = {}
    wanted = {"Softmax": recipe.softmax, "LayerNormalization": recipe.layer_norm}
    for node in graph.nodes:
        if wanted.get(node.op_type):
            also.setdefault(node.input[0], []).append(node.name)
    for node in graph.attention_matmuls() if recipe.attention_matmuls else ():
        for source in node.input:
            also.setdefault(source, []).append(node.name)
    for source, group in groups.items():
        linears = group if group[0].is_linear else []
        yield source, (group[0].feature_axis, linears, [layer.node for layer in group])
    for source, nodes in also.items():
        if source not in groups:
            yield source, (None, [], nodes)


def _scale(
    graph: Graph,
    statistics: PartStatistics,
    readers: Mapping[str, _Readers],
    recipe: CalibrationRecipe,
    methods: tuple[Method, ...],
) -> tuple[ScaledTensor, ...]:
    tensors = []
    for source, (_, linears, nodes) in readers.items():
        weights = [weight_matrix(graph, layer) for layer in linears]
        chosen = choose_scaling(statistics.watched[source], weights, recipe.alphas, methods, recipe.percentile)
        tensors.append(_scaled(source, nodes, chosen))
    return tuple(tensors)


def _scaled(source: str, nodes: list[str], chosen: Scaling) -> ScaledTensor:
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


def run_all(graph: Graph) -> Run:
    """A session that gives every tensor of the graph."""
    model, names = with_all_outputs(graph)
    session = open_graph(model)

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))

    return run


def open_graph(model: bytes | str) -> Any:
    """An ONNX Runtime session on one thread that computes Q/DQ pairs as they are written.

    ONNX Runtime would fuse them into integer kernels; those saturate on x86 processors without VNNI, and what they
    give there is not what the graph says (docs/precision.md has figures).
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _sizes(graph: Graph, layers: list[Layer], statistics: PartStatistics) -> dict[str, BlockSize]:
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

"""Quantising a graph: Q/DQ pairs (QuantizeLinear, DequantizeLinear) in front of what becomes INT8 or FP8.

INT8 is symmetric, FP8 has the format E4M3 and asks for opset 19. A weight has one scale for each output channel.
Weights stay FP32 with a Q/DQ pair behind them, since TensorRT 8.6 fails on int8 initialisers. Tensors that no layer
reads keep their precision, so residual sums, LayerNorm and softmax are as exact as the graph around them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from taemi_edge.bundle.precisions import QuantisedPrecision
from taemi_edge.bundle.values import Array, Frozen
from taemi_edge.calibration.graphs.graph import Graph, Layer, insert_after_producers
from taemi_edge.calibration.graphs.grids import GRIDS
from taemi_edge.calibration.graphs.smoothing import weight_scale
from taemi_edge.calibration.graphs.unsigned_plan import UnsignedPlan
from taemi_edge.errors import CalibrationError

#: The type of the zero points, which says what QuantizeLinear writes.
_TYPES: Mapping[QuantisedPrecision, int] = {"int8": TensorProto.INT8, "fp8": TensorProto.FLOAT8E4M3FN}


class ScaledTensor(Frozen, frozen=True):
    """One activation that is quantised.

    Attributes:
        tensor: its name.
        nodes: the readers that take it quantised; layers among them get quantised weights as well.
        amax: the magnitude that becomes the largest number of the precision (127, 448), after smoothing.
        method: the method that found `amax`.
        alpha: the strength of SmoothQuant; None without smoothing.
        smoothing: what each feature is divided by before it is quantised, (D,); empty without smoothing.
        error, held_out_error: the error of what the readers give relative to FP32 (root of sums of squares), on the
            rows that chose the scaling and on rows that did not.
    """

    tensor: str
    nodes: tuple[str, ...]
    amax: float
    method: str
    alpha: float | None = None
    smoothing: tuple[float, ...] = ()
    error: float = 0.0
    held_out_error: float = 0.0


class PartPlan(Frozen, frozen=True, omit_defaults=True):
    """Everything that turns one part's FP32 graph into its graphs of 16 bits and of one quantised precision.

    Attributes:
        weights_sha256: of the weights that the plan was made for.
        tensors: the activations that are quantised.
        excluded: the blocks that stay in higher precision, each with the reason.
        islands: the nodes that stay in FP32 among FP16 and BF16, each with the reason.
        precision: what the tensors become. Plans of INT8 are written without it, as they were before there was FP8.
        host: of a plan in INT8, the ranges for processors; None where none were asked for.
    """

    weights_sha256: str
    tensors: tuple[ScaledTensor, ...]
    excluded: dict[str, str]
    islands: dict[str, str]
    precision: QuantisedPrecision = "int8"
    host: UnsignedPlan | None = None


def weights_sha256(graph: Graph) -> str:
    """Give the sha256 of a graph's constants as hexadecimal digits; their names and their order do not count."""
    digests = sorted(
        hashlib.sha256(f"{value.shape} {value.dtype}".encode() + np.ascontiguousarray(value).tobytes()).digest()
        for name in graph.initialisers
        if (value := graph.value(name)).size > 1
    )
    return hashlib.sha256(b"".join(digests)).hexdigest()


def quantise(graph: Graph, plan: PartPlan, excluded: Collection[str] | None = None) -> Graph:
    """Put Q/DQ pairs in front of every reader that the plan names.

    Args:
        graph: in FP32; it is not changed.
        plan: made for this graph's weights.
        excluded: the blocks that stay as they are; None for those of the plan.

    Raises:
        CalibrationError: the plan was made for other weights, or the graph is quantised already.
    """
    require_own_weights(graph, plan)
    left_out = plan.excluded if excluded is None else excluded
    grid, kind = GRIDS[plan.precision], _TYPES[plan.precision]
    made = graph.at_opset(grid.opset)
    layers = {layer.node: layer for layer in made.layers()}
    nodes = {node.name: node for node in made.nodes}
    after: dict[str, list[Any]] = {}
    front: list[Any] = []
    for scaled in plan.tensors:
        readers = [name for name in scaled.nodes if name not in layers or not is_excluded(layers[name].block, left_out)]
        if not readers:
            continue
        source = smooth(made, scaled, [layers[n] for n in readers if n in layers], after)
        pair = _Pair(np.asarray(grid.scale(scaled.amax), np.float32), None, kind)
        quantised = pair.add_behind(made, source, after, scaled.tensor)
        for name in readers:
            _read_instead(nodes[name], scaled.tensor, quantised)
            if name in layers:
                front += _quantise_weight(made, nodes[name], layers[name], plan.precision)
    insert_after_producers(made, after, front)
    return made


def require_own_weights(graph: Graph, plan: PartPlan) -> None:
    """Refuse to quantise a graph by the plan of another one.

    Raises:
        CalibrationError: the plan was made for other weights, or the graph is quantised already.
    """
    if graph.is_quantised:
        raise CalibrationError("expected an FP32 graph, got one with Q/DQ nodes: calibrate the exported bundle")
    if weights_sha256(graph) != plan.weights_sha256:
        raise CalibrationError("expected the weights that the ranges were made for, got others: calibrate anew")


def is_excluded(block: str, excluded: Collection[str]) -> bool:
    """Whether a block is in the list or lies inside an entry of it.

    >>> is_excluded("layers.3/fc1", ["layers.3"]), is_excluded("layers.31/fc1", ["layers.3"])
    (True, False)
    """
    return any(block == entry or block.startswith(f"{entry}/") for entry in excluded)


def smooth(graph: Graph, scaled: ScaledTensor, layers: list[Layer], after: dict[str, list[Any]]) -> str:
    """Divide the tensor by its smoothing and multiply the weights by it; give the smoothed tensor's name.

    Where a LayerNorm makes the tensor and only these layers read it, its own weights are divided; else a Mul is added.
    """
    if not scaled.smoothing:
        return scaled.tensor
    smoothing = np.array(scaled.smoothing, np.float32)
    for layer in layers:
        weight = graph.value(layer.weight)
        graph.set_value(layer.weight, weight * (smoothing[:, None] if layer.channel_axis == 1 else smoothing))
    producer: Any = graph.producers.get(scaled.tensor)
    alone = {node.name for node in graph.readers[scaled.tensor]} == {layer.node for layer in layers}
    if alone and _scales_features(graph, producer) and scaled.tensor not in graph.outputs:
        for place in range(1, len(producer.input)):
            name = f"{producer.input[place]}/smoothed/{producer.name}"
            producer.input[place] = graph.add_value(name, graph.value(producer.input[place]) / smoothing)
        return scaled.tensor
    inverse = graph.add_value(f"{scaled.tensor}/inverse_smoothing", 1 / smoothing)
    smoothed = f"{scaled.tensor}/smoothed"
    after.setdefault(scaled.tensor, []).append(
        helper.make_node("Mul", [scaled.tensor, inverse], [smoothed], name=f"{scaled.tensor}/Smooth")
    )
    return smoothed


def _scales_features(graph: Graph, producer: Any) -> bool:
    """Whether a node is a LayerNorm with constants of its own for each feature."""
    if producer is None or producer.op_type != "LayerNormalization":
        return False
    return all(name in graph.initialisers for name in producer.input[1:])


def _quantise_weight(graph: Graph, node: Any, layer: Layer, precision: QuantisedPrecision) -> list[Any]:
    scale = weight_scale(graph.value(layer.weight), layer.channel_axis, GRIDS[precision])
    made: dict[str, list[Any]] = {}
    pair = _Pair(scale, layer.channel_axis, _TYPES[precision])
    node.input[1] = pair.add_behind(graph, layer.weight, made, layer.weight)
    return made[layer.weight]


@dataclass(frozen=True, eq=False)
class _Pair:
    """A Q/DQ pair: its scales (one, or one a channel along `axis`), and the type that it quantises to."""

    scale: Array
    axis: int | None
    kind: int

    def add_behind(self, graph: Graph, source: str, after: dict[str, list[Any]], place: str) -> str:
        """Add it behind `source`, to be inserted after the tensor `place`; give the name of its output."""
        scale = graph.add_value(f"{source}/scale", self.scale)
        shape = self.scale.shape
        content = bytes(int(np.prod(shape)))  # a zero of either type is a byte of zero
        zero = graph.add_tensor(helper.make_tensor(f"{source}/zero_point", self.kind, shape, content, raw=True))
        attributes = {} if self.axis is None else {"axis": self.axis}
        quantised, back = f"{source}/quantised", f"{source}/dequantised"
        for op, name, given, made in (
            ("QuantizeLinear", "Quantize", source, quantised),
            ("DequantizeLinear", "Dequantize", quantised, back),
        ):
            node = helper.make_node(op, [given, scale, zero], [made], name=f"{source}/{name}", **attributes)
            after.setdefault(place, []).append(node)
        return back


def _read_instead(node: Any, old: str, new: str) -> None:
    for place, name in enumerate(node.input):
        if name == old:
            node.input[place] = new

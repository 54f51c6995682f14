"""INT8 as the integer kernels of processors want it: unsigned activations with a zero point, signed weights a channel.

Two flavours. In "int8-u8" every range comes from clips: convolutions give quantised outputs, so that one kernel hands
integers to the next, and Linears give FP32. In "int8-dynamic" the convolutions are the same, and each run finds the
range of what a Linear reads anew: over all rows of a batch, which therefore depend on each other a little.

Everything is written in ONNX's own operators, as Q/DQ pairs that ONNX Runtime fuses: QLinearConv,
MatMulIntegerToFloat, DynamicQuantizeMatMul. Computed as written, no sum can overflow.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from taemi_edge.bundle.precisions import Flavour
from taemi_edge.bundle.values import Array
from taemi_edge.calibration.graphs.chains import Chains, Convolution, find_chains
from taemi_edge.calibration.graphs.equalising import channel_factors, equalised_tensors
from taemi_edge.calibration.graphs.graph import Graph, Layer, insert_after_producers, weight_matrix
from taemi_edge.calibration.graphs.grids import MIN_SCALE
from taemi_edge.calibration.graphs.names import drop_unread
from taemi_edge.calibration.graphs.pixels import moved_bytes
from taemi_edge.calibration.graphs.qdq import PartPlan, is_excluded, require_own_weights, smooth
from taemi_edge.calibration.graphs.rounding import mean_error, round_to_steps
from taemi_edge.calibration.graphs.simplifying import simplify
from taemi_edge.calibration.graphs.smoothing import weight_scale
from taemi_edge.calibration.graphs.unsigned_plan import UnsignedTensor
from taemi_edge.errors import CalibrationError

#: The opset with DequantizeLinear along an axis.
_OPSET = 13
#: A bias is an INT32 in steps of the input's scale times the weight's: it may use this much of it.
_MOST_BIAS = 2.0**30


def quantise_for_hosts(
    graph: Graph, plan: PartPlan, flavour: Flavour, excluded: Collection[str] | None = None
) -> Graph:
    """Write a part as the integer kernels of processors want it.

    Args:
        graph: in FP32; it is not changed.
        plan: in INT8, made for this graph's weights, with ranges for processors.
        flavour: "int8-u8" or "int8-dynamic".
        excluded: the blocks that stay in FP32; None for those of the plan.

    Raises:
        CalibrationError: the plan was made for other weights or has no ranges for processors, or the graph is
            quantised already.
    """
    require_own_weights(graph, plan)
    if plan.host is None:
        raise CalibrationError(
            "expected ranges for processors, these were made before there were any: calibrate anew, or pass "
            "--set host=false"
        )
    left_out = plan.host.excluded.get(flavour, {}) if excluded is None else excluded
    made = simplify(graph.at_opset(_OPSET))
    writer = _Writer(made, dict(plan.host.ranges()), find_chains(made, left_out))
    writer.write_convolutions()
    writer.write_linears(plan, flavour, left_out)
    return writer.finish()


@dataclass(frozen=True, eq=False)
class _Numbers:
    """How a tensor is quantised: its scale and zero point, and their names in the graph."""

    scale: Array
    scale_name: str
    zero_name: str


class _Writer:
    """Rewrites one graph.

    Args:
        graph: simplified; it is changed.
        ranges: by tensor.
        chains: what is computed in integers around convolutions.
    """

    def __init__(self, graph: Graph, ranges: Mapping[str, UnsignedTensor], chains: Chains) -> None:
        self._graph, self._ranges, self._chains = graph, ranges, chains
        self._equalised = equalised_tensors(graph, chains, ranges)
        self._same_numbers = find_chains(graph).range_of  # that of all of them, if some blocks stay in FP32
        self._nodes = {node.name: node for node in graph.nodes}
        self._linears = {layer.node: layer for layer in graph.layers() if layer.is_linear}
        self._numbers: dict[str, _Numbers] = {}
        self._after: dict[str, list[Any]] = {}
        self._front: list[Any] = []
        self._gone: set[str] = set()

    def write_convolutions(self) -> None:
        """Put every convolution that is computed in integers between quantised tensors."""
        for name in sorted(self._chains.read):
            self._quantise_for_convolutions(name)
        for each in self._chains.convolutions.values():
            self._write_convolution(each)
        for name in sorted(self._chains.made):
            self._quantise_where_made(name)

    def write_linears(self, plan: PartPlan, flavour: Flavour, excluded: Collection[str]) -> None:
        """Put quantised activations and weights in front of every Linear that is not excluded."""
        layers = self._linears
        wanted = {name for name, layer in layers.items() if not is_excluded(layer.block, excluded)}
        for scaled in plan.tensors:
            readers = [layers[name] for name in scaled.nodes if name in wanted]
            if not readers:
                continue
            if scaled.tensor in self._chains.made:
                given = scaled.tensor  # it is quantised already
            else:
                source = smooth(self._graph, scaled, readers, self._after)
                quantise = self._quantise_in_each_run if flavour == "int8-dynamic" else self._quantise_by_clips
                given = quantise(scaled.tensor, source)
            for layer in readers:
                self._write_linear(layer, given)

    def finish(self) -> Graph:
        """Give the graph with everything in its place."""
        kept = [node for node in self._graph.nodes if node.name not in self._gone]
        self._graph.replace_nodes(kept)
        insert_after_producers(self._graph, self._after, self._front)
        drop_unread(self._graph)
        return self._graph

    # ------------------------------------------------------------------------------------------------ activations

    def _quantise_where_made(self, name: str) -> None:
        """Let whoever makes a tensor give it quantised; everyone reads what was quantised, by the old name."""
        raw, numbers = f"{name}/raw", self._numbers_of(name)
        producer = self._graph.producers[name]
        if producer.name in self._gone:  # a folded activation
            producer = self._graph.producers[producer.input[0]]
        producer.output[0] = raw
        self._after[raw] = _pair(raw, name, name, numbers)

    def _quantise_for_convolutions(self, name: str) -> None:
        """Quantise a tensor for the convolutions that read it; others read it as it is."""
        numbers, quantised = self._numbers_of(name), f"{name}/dequantised"
        affine = self._chains.pixels.get(name)
        if affine is None:
            self._after.setdefault(name, []).extend(_pair(name, name, quantised, numbers))
        else:
            moves, moved = moved_bytes(affine, name)
            back = _node("DequantizeLinear", [moved, numbers.scale_name, numbers.zero_name], quantised, name)
            self._after.setdefault(affine.name, []).extend([*moves, back])
        for each in self._chains.convolutions.values():
            if each.source == name:
                self._nodes[each.layer.node].input[0] = quantised

    def _quantise_by_clips(self, name: str, source: str) -> str:
        numbers, quantised = self._numbers_of(name), f"{name}/for_linears"
        self._after.setdefault(name, []).extend(_pair(source, quantised, quantised, numbers))
        return quantised

    def _quantise_in_each_run(self, name: str, source: str) -> str:
        place, quantised = f"{name}/for_linears", f"{name}/for_linears"
        made = [f"{place}/quantised", f"{place}/scale", f"{place}/zero_point"]
        dynamic = helper.make_node("DynamicQuantizeLinear", [source], made, name=f"{place}/Quantize")
        self._after.setdefault(name, []).extend([dynamic, _node("DequantizeLinear", made, quantised, place)])
        return quantised

    def _numbers_of(self, name: str) -> _Numbers:
        """The scale and the zero point of a tensor; tensors of one range share them."""
        root = self._chains.range_of.get(name, name)
        if root not in self._numbers:
            affine = self._chains.pixels.get(root)
            if affine is not None:
                scale, zero = np.asarray(affine.scale, np.float32), np.asarray(affine.zero_point, np.uint8)
            else:
                scale, zero = unsigned_numbers(*self._ends(root))
            self._numbers[root] = _Numbers(
                scale,
                self._graph.add_tensor(
                    numpy_helper.from_array(scale, f"{root}/u8_scale")
                ),  # no axis: as QLinearMul asks
                self._graph.add_tensor(numpy_helper.from_array(zero, f"{root}/u8_zero_point")),
            )
        return self._numbers[root]

    def _ends(self, name: str) -> tuple[float, float]:
        name = name if name in self._ranges else self._same_numbers.get(name, name)
        if name not in self._ranges:
            raise CalibrationError(f"{name}: expected a range for processors, these ranges have none: calibrate anew")
        found = self._ranges[name]
        return (found.equal_low, found.equal_high) if name in self._equalised else (found.low, found.high)

    # ----------------------------------------------------------------------------------------------------- layers

    def _write_convolution(self, each: Convolution) -> None:
        node, graph = self._nodes[each.layer.node], self._graph
        weight = graph.value(each.layer.weight)
        bias = _bias_of(graph, node)
        if each.source in self._equalised:
            weight = weight * channel_factors(weight, self._equaliser(each.source))
        if each.output in self._equalised:
            divisor = self._equaliser(each.output)
            weight = weight / divisor.reshape(-1, *[1] * (weight.ndim - 1))
            bias = None if bias is None else bias / divisor
        scale = weight_scale(weight, 0)
        source_scale = self._numbers_of(each.source).scale
        if bias is not None:
            scale = np.maximum(scale, np.abs(bias) / (_MOST_BIAS * source_scale)).astype(np.float32)
        steps = round_to_steps(weight, scale, 0)
        shift = self._mean_error(each.source, weight, steps * scale.reshape(-1, *[1] * (weight.ndim - 1)))
        node.input[1] = self._add_weight(each.layer.weight, steps, scale, 0)
        del node.input[2:]
        if bias is not None or shift.any():
            corrected = (np.float32(0) if bias is None else bias) - shift
            node.input.append(self._add_bias(node.name, corrected, (source_scale * scale).astype(np.float32)))
        if each.activation is not None:
            self._gone.add(each.activation)

    def _equaliser(self, name: str) -> Array:
        return np.array(self._ranges[name].equaliser, np.float32)

    def _mean_error(self, source: str, weight: Array, rounded: Array) -> Array:
        """What rounding the weights of a convolution adds to its outputs on average, by the mean of its input."""
        found = self._ranges.get(source)
        if found is None or not found.mean:
            return np.zeros(len(weight), np.float32)
        mean = np.array(found.mean, np.float32)
        return mean_error(weight, rounded, mean / self._equaliser(source) if source in self._equalised else mean)

    def _write_linear(self, layer: Layer, source: str) -> None:
        node, graph = self._nodes[layer.node], self._graph
        matrix = weight_matrix(graph, layer)
        if node.op_type == "Gemm":
            matrix = self._split_gemm(node, matrix)
        node.input[0] = source
        scale = weight_scale(matrix, 1)
        node.input[1] = self._add_weight(layer.weight, round_to_steps(matrix, scale, 1), scale, 1)

    def _split_gemm(self, node: Any, matrix: Array) -> Array:
        """Turn a Gemm into a MatMul and a Sub of its negative bias; give its weight with the factor of the Gemm in it.

        Behind an Add, ONNX Runtime would make a Gemm of both again, which has no kernel for integers and FP32.
        """
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        bias, factor = node.input[2] if len(node.input) > 2 else "", np.float32(-given.get("beta", 1.0))
        if bias:
            product, negative = f"{node.output[0]}/product", f"{node.name}/negative_bias"
            nodes = [helper.make_node("Sub", [product, negative], [node.output[0]], name=f"{node.name}/Bias")]
            if bias in self._graph.initialisers:
                self._graph.add_value(negative, self._graph.value(bias) * factor)
            else:
                name = self._graph.add_value(f"{node.name}/beta", np.asarray(factor))
                nodes.insert(0, helper.make_node("Mul", [bias, name], [negative], name=f"{node.name}/Beta"))
            node.output[0] = product
            self._after[product] = nodes
        node.op_type = "MatMul"
        del node.attribute[:]
        del node.input[2:]
        scaled: Array = matrix * np.float32(given.get("alpha", 1.0))
        return scaled

    def _add_weight(self, name: str, steps: Array, scale: Array, axis: int) -> str:
        names = [
            self._graph.add_value(f"{name}/s8", steps),
            self._graph.add_value(f"{name}/s8_scale", scale),
            self._graph.add_value(f"{name}/s8_zero_point", np.zeros(len(scale), np.int8)),
        ]
        self._front.append(_node("DequantizeLinear", names, f"{name}/dequantised", name, axis=axis))
        return f"{name}/dequantised"

    def _add_bias(self, place: str, bias: Array, scale: Array) -> str:
        values = np.rint(bias / scale).astype(np.int32)
        names = [
            self._graph.add_value(f"{place}/bias_s32", values),
            self._graph.add_value(f"{place}/bias_scale", scale),
            self._graph.add_value(f"{place}/bias_zero_point", np.zeros(len(scale), np.int32)),
        ]
        self._front.append(_node("DequantizeLinear", names, f"{place}/bias", f"{place}/bias", axis=0))
        return f"{place}/bias"


def unsigned_numbers(low: float, high: float) -> tuple[Array, Array]:
    """Give the scale (float32) and the zero point (uint8) of a range; zero is written exactly.

    >>> unsigned_numbers(-1.0, 4.1)
    (array(0.02, dtype=float32), array(50, dtype=uint8))
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / 255.0, MIN_SCALE)
    return np.asarray(scale, np.float32), np.asarray(np.clip(np.rint(-low / scale), 0, 255), np.uint8)


def _pair(source: str, place: str, back: str, numbers: _Numbers) -> list[Any]:
    quantised, given = f"{place}/u8", [numbers.scale_name, numbers.zero_name]
    return [
        _node("QuantizeLinear", [source, *given], quantised, place),
        _node("DequantizeLinear", [quantised, *given], back, place),
    ]


def _node(op: str, given: list[str], made: str, place: str, **attributes: Any) -> Any:
    return helper.make_node(op, given, [made], name=f"{place}/{op.removesuffix('Linear')}", **attributes)


def _bias_of(graph: Graph, node: Any) -> Array | None:
    name = node.input[2] if len(node.input) > 2 else ""
    return graph.value(name) if name in graph.initialisers else None

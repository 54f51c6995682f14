"""Converting a graph to strongly typed BF16, and emulating such a graph where no kernels for BF16 are.

BF16 has the exponents of FP32 and eight bits of precision, FP16 has eleven: nothing overflows, and everything is
rougher. The islands of FP32 are those of FP16, and the operators that give the graph's outputs, unless they are
products: a sigmoid's output would come in steps of 1/256.

ONNX Runtime has hardly any kernel for BF16 on a CPU, so what a graph costs is measured on an emulation: every value is
FP32, and is rounded to BF16 and back wherever the graph holds BF16.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from taemi_edge.calibration.graphs.fp16 import convert_to_fp16
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.graphs.grids import bf16_bits, from_bf16_bits
from taemi_edge.errors import CalibrationError

#: Operators that take long enough to be worth BF16 even where they give an output.
_PRODUCTS = ("MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum")
#: Operators that only move or choose values: what they give of rounded values is rounded already.
_MOVES = frozenset(
    ("Concat", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Relu", "Reshape", "Slice", "Split", "Squeeze")
    + ("Tile", "Transpose", "Unsqueeze", "Where")
)


def convert_to_bf16(graph: Graph, islands: Collection[str]) -> Graph:
    """Convert a graph to BF16, at the lowest opset at which all of its operators take BF16.

    ONNX has convolutions and poolings of BF16 from opset 22 on. An operator that never takes it becomes an island.

    Args:
        graph: in FP32, without Q/DQ pairs; it is not changed.
        islands: the names of further nodes that stay in FP32.

    Raises:
        CalibrationError: onnx cannot raise the opset of one of the operators.
    """
    last = [graph.producers[name] for name in graph.outputs if name in graph.producers]
    kept = {*islands, *(node.name for node in last if node.op_type not in _PRODUCTS)}
    opset = graph.opset
    for node in convert_to_fp16(graph, kept).nodes:
        needed = _opset_with_bf16(node, opset)
        if needed is None:
            kept.add(node.name)
        else:
            opset = max(opset, needed)
    exact = graph.at_opset(opset)
    made = convert_to_fp16(exact, kept)
    _give_outputs_as_they_are(made)
    _retype(made.model.graph, exact)
    made = Graph(made.model)
    _require_known_types(made)
    return made


def emulate_bf16(graph: Graph) -> Graph:
    """Give a graph of FP32 that computes what a BF16 graph says, for a processor without kernels for BF16.

    Products and sums inside one operator are of FP32, as GPUs add them up; what an operator gives is rounded.

    Args:
        graph: in BF16, as `convert_to_bf16` makes it; it is not changed.
    """
    model = onnx.shape_inference.infer_shapes(graph.model)
    _emulate(model.graph, {})
    return Graph(model)


def _opset_with_bf16(node: Any, least: int) -> int | None:
    """The first opset from `least` at which an operator that takes FP16 takes BF16 too; None where there is none."""
    if node.domain not in ("", "ai.onnx"):
        return None
    for opset in range(least, onnx.defs.onnx_opset_version() + 1):
        schema = onnx.defs.get_schema(node.op_type, opset, "")
        floats = [c.allowed_type_strs for c in schema.type_constraints if "tensor(float16)" in c.allowed_type_strs]
        if all("tensor(bfloat16)" in allowed for allowed in floats):
            return opset
    return None


def _give_outputs_as_they_are(graph: Graph) -> None:
    """Take out the casts to FP16 and back between an island and an output of the graph."""
    for name in graph.outputs:
        back = graph.producers.get(name)
        there = None if back is None else graph.producers.get(back.input[0])
        if back is None or there is None or back.op_type != "Cast" or not _is_cast_to_fp16(there):
            continue
        island = graph.producers.get(there.input[0])
        shared = [value for value in (back.input[0], there.input[0]) if len(graph.readers[value]) > 1]
        if island is None or shared:
            continue
        island.output[list(island.output).index(there.input[0])] = name
        graph.replace_nodes([node for node in graph.nodes if node.name not in (back.name, there.name)])


def _is_cast_to_fp16(node: Any) -> bool:
    return node.op_type == "Cast" and any(a.name == "to" and a.i == TensorProto.FLOAT16 for a in node.attribute)


def _retype(part: Any, exact: Graph) -> None:
    """Make BF16 of everything that is FP16, in branches and loop bodies as well; weights are rounded from FP32."""
    for tensor in part.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            held = exact.initialisers.get(tensor.name)
            source = held if held is not None and held.data_type == TensorProto.FLOAT else tensor
            tensor.CopyFrom(_bf16_tensor(source, tensor.name))
    for node in part.node:
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.BFLOAT16
            if attribute.t.data_type == TensorProto.FLOAT16:
                attribute.t.CopyFrom(_bf16_tensor(attribute.t, attribute.t.name))
            for inner in _inner_graphs(attribute):
                _retype(inner, exact)
    for value in (*part.input, *part.output, *part.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = TensorProto.BFLOAT16


def _bf16_tensor(tensor: Any, name: str) -> Any:
    bits = bf16_bits(numpy_helper.to_array(tensor).astype(np.float32))
    return helper.make_tensor(name, TensorProto.BFLOAT16, tensor.dims, bits.tobytes(), raw=True)


def _fp32_tensor(tensor: Any) -> Any:
    values = from_bf16_bits(np.frombuffer(tensor.raw_data, np.uint16))
    return helper.make_tensor(tensor.name, TensorProto.FLOAT, tensor.dims, values.tobytes(), raw=True)


def _inner_graphs(attribute: Any) -> Iterator[Any]:
    if attribute.HasField("g"):
        yield attribute.g
    yield from attribute.graphs


def _require_known_types(graph: Graph) -> None:
    """Hold the types of a graph against ONNX's rules: a compiler with strong typing would refuse what breaks them."""
    try:
        onnx.shape_inference.infer_shapes(graph.model, check_type=True)
    except Exception as error:
        raise CalibrationError(f"expected a graph that can be written in BF16, ONNX refuses it: {error}") from error


def _emulate(part: Any, outer: Mapping[str, int]) -> None:
    """Rewrite a graph and what lies inside its nodes: FP32 takes the place of BF16, with casts that round."""
    types = {**outer}
    for value in (*part.input, *part.output, *part.value_info):
        types[value.name] = value.type.tensor_type.elem_type
        if value.type.tensor_type.elem_type == TensorProto.BFLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    types.update({tensor.name: tensor.data_type for tensor in part.initializer})
    for tensor in part.initializer:
        if tensor.data_type == TensorProto.BFLOAT16:
            tensor.CopyFrom(_fp32_tensor(tensor))
    nodes: list[Any] = []
    for node in part.node:
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and attribute.i == TensorProto.BFLOAT16:
                attribute.i = TensorProto.FLOAT
            if attribute.t.data_type == TensorProto.BFLOAT16:
                attribute.t.CopyFrom(_fp32_tensor(attribute.t))
            for inner in _inner_graphs(attribute):
                _emulate(inner, types)
        nodes += _with_rounded_outputs(node, types)
    del part.node[:], part.value_info[:]
    part.node.extend(nodes)


def _with_rounded_outputs(node: Any, types: Mapping[str, int]) -> list[Any]:
    """A node, and behind each output of BF16 two casts that round it; readers find the rounded one."""
    casts: list[Any] = []
    if node.op_type in _MOVES:
        return [node]
    for place, name in enumerate(node.output):
        if name and types.get(name) == TensorProto.BFLOAT16:
            exact, rounded = f"{name}/exact", f"{name}/bf16"
            node.output[place] = exact
            casts.append(helper.make_node("Cast", [exact], [rounded], name=f"{name}/Round", to=TensorProto.BFLOAT16))
            casts.append(helper.make_node("Cast", [rounded], [name], name=f"{name}/Widen", to=TensorProto.FLOAT))
    return [node, *casts]

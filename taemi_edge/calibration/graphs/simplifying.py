"""Rewriting an FP32 graph into an equal one in which convolutions lie side by side, as integer kernels want them.

Constants that the exporter wrote as nodes become initialisers, and zeros that a Pad puts around a picture become the
padding of the convolution behind it. Names of tensors that stay are kept: ranges are found by them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from taemi_edge.bundle.values import Array
from taemi_edge.calibration.graphs.graph import Graph

#: Constants that are larger than this stay nodes; ONNX Runtime folds them where it opens the graph.
_MOST_ELEMENTS = 4096
#: Operators whose result is another one in each run.
_RANDOM = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli")


def simplify(graph: Graph) -> Graph:
    """Give an equal graph, which shares nothing with this one, with small constants folded and zeros padded inside."""
    made = graph.copy()
    _fold_constants(made)
    _fold_pads(made)
    drop_unread(made)
    return made


def _fold_constants(graph: Graph) -> None:
    """Compute what depends on no input of the graph, and keep it where it is small."""
    changing = graph.changing()
    constant = [node for node in graph.nodes if not changing.intersection(node.output) and _is_plain(node)]
    names = [name for node in constant for name in node.output if name]
    if not names:
        return
    values = dict(zip(names, _run(graph, constant, names), strict=True))
    small = {
        name: value for name, value in values.items() if isinstance(value, np.ndarray) and value.size <= _MOST_ELEMENTS
    }
    folded = {id(node) for node in constant if all(name in small for name in node.output if name)}
    kept = [node for node in graph.nodes if id(node) not in folded]
    for node in constant:
        if id(node) in folded:
            for name in filter(None, node.output):
                graph.add_value(name, small[name])
    graph.replace_nodes(kept)


def _is_plain(node: Any) -> bool:
    """Whether a node always gives the same, and has no branch that could read from outside."""
    return node.op_type not in _RANDOM and not any(a.HasField("g") or a.graphs for a in node.attribute)


def _run(graph: Graph, nodes: list[Any], names: list[str]) -> list[Array]:
    needed = {name for node in nodes for name in node.input}
    made = helper.make_graph(
        nodes,
        "constants",
        [],
        [onnx.ValueInfoProto(name=name) for name in names],
        [tensor for name, tensor in graph.initialisers.items() if name in needed],
    )
    model = helper.make_model(made, opset_imports=graph.model.opset_import, ir_version=graph.model.ir_version)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values: list[Array] = session.run(names, {})
    return values


def _fold_pads(graph: Graph) -> None:
    """Take zeros around a picture into the padding of the convolutions that read them."""
    for pad in [node for node in graph.nodes if node.op_type == "Pad"]:
        readers = graph.readers.get(pad.output[0], [])
        amounts = _spatial_zeros(graph, pad)
        if amounts is None or pad.output[0] in graph.outputs or not readers:
            continue
        if not all(node.op_type == "Conv" and _pads(node, len(amounts) // 2) is not None for node in readers):
            continue
        for node in readers:
            before = _pads(node, len(amounts) // 2) or []
            kept = [a for a in node.attribute if a.name not in ("pads", "auto_pad")]
            del node.attribute[:]
            both = [old + new for old, new in zip(before, amounts, strict=True)]
            node.attribute.extend([*kept, helper.make_attribute("pads", both)])
            node.input[0] = pad.input[0]
    graph.reindex()


def _spatial_zeros(graph: Graph, pad: Any) -> list[int] | None:
    """How many zeros a Pad puts at the start and the end of each spatial axis; None where it does anything else."""
    mode = next((a.s for a in pad.attribute if a.name == "mode"), b"constant")
    given = [*pad.input, "", "", ""][1:4]
    amounts, value, axes = given
    if mode != b"constant" or amounts not in graph.initialisers or axes:
        return None
    if value and (value not in graph.initialisers or np.any(graph.value(value))):
        return None
    found = graph.value(amounts).astype(int).tolist()
    half = len(found) // 2
    outside = [*found[:2], *found[half : half + 2]]
    if half < 3 or any(outside) or min(found) < 0:
        return None
    return [*found[2:half], *found[half + 2 :]]


def _pads(conv: Any, axes: int) -> list[int] | None:
    """The padding of a convolution, zeros at the starts and then at the ends; None where it follows from the shape."""
    given = {a.name: helper.get_attribute_value(a) for a in conv.attribute}
    if given.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        return None
    pads: list[int] = list(given.get("pads", [0] * (2 * axes)))
    return pads if len(pads) == 2 * axes else None


def drop_unread(graph: Graph) -> None:
    """Take out nodes and constants that nothing reads any more."""
    while True:
        kept = [node for node in graph.nodes if any(o in graph.readers or o in graph.outputs for o in node.output)]
        if len(kept) == len(graph.nodes):
            break
        graph.replace_nodes(kept)
    graph.drop_unread_values()

"""Rewriting an FP32 graph into an equal one in which convolutions lie side by side, as integer kernels want them.

Constants that the exporter wrote as nodes become initialisers, and zeros that a Pad puts around a picture become the
padding of the convolution behind it. Names of tensors that stay are kept: ranges are found by them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper

from taemi_edge.calibration.graphs.constants import fold_constants
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.graphs.names import drop_unread


def simplify(graph: Graph) -> Graph:
    """Give an equal graph, which shares nothing with this one, with small constants folded and zeros padded inside."""
    made = graph.copy()
    fold_constants(made)
    _fold_pads(made)
    drop_unread(made)
    return made


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

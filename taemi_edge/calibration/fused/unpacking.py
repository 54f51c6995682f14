"""Takes queries, keys and values of one product apart before their heads are, as vision transformers pack them.

(batch, steps, 3 x heads x size) that is reshaped to (batch, steps, 3, heads, size), turned and taken apart at its first
axis is as well taken apart at its last axis first. Then each of the three is one stretch of memory with heads together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper

from taemi_edge.calibration.fused.dims import numbers_of
from taemi_edge.calibration.fused.fact import attributes
from taemi_edge.calibration.fused.facts import Facts
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.graphs.names import drop_unread, fresh_name, kept_names

#: Batch, steps, and what is packed.
_PACKED_AXES = 3


def unpack(graph: Graph) -> int:
    """Rewrite every such product.

    Args:
        graph: is changed.

    Returns:
        How many there were.
    """
    facts, kept, count = Facts(graph), kept_names(graph), 0
    for turn in list(graph.nodes):
        packed = graph.producers.get(turn.input[0]) if turn.op_type == "Transpose" and turn.input else None
        if packed is None or packed.op_type != "Reshape" or turn.output[0] in kept:
            continue
        before, after = facts.shape(packed.input[0]), facts.shape(turn.input[0])
        order = list(attributes(turn).get("perm", ()))
        if (
            before is None
            or after is None
            or len(before) != _PACKED_AXES
            or len(after) != _PACKED_AXES + 2
            or order[:1] != [2]
        ):
            continue
        sizes = numbers_of(after[2:])
        parts = None if sizes is None or before[:2] != after[:2] else _parts(graph, turn, sizes[0], kept)
        if sizes is not None and parts is not None:
            _write(graph, packed.input[0], sizes, [axis - (axis > 2) for axis in order[1:]], parts)
            count += 1
    if count:
        drop_unread(graph)
    return count


def _parts(graph: Graph, turn: Any, count: int, kept: set[str]) -> dict[str, int] | None:
    """The tensors that are taken out of the first axis, with their places; None where something else reads it."""
    found = {}
    for reader in graph.readers.get(turn.output[0], []):
        given = attributes(reader)
        if reader.op_type == "Gather" and given.get("axis", 0) == 0 and reader.input[1] in graph.initialisers:
            index = graph.value(reader.input[1])
            if index.shape != ():
                return None
            found[reader.output[0]] = int(index) % count
        elif reader.op_type == "Split" and given.get("axis", 0) == 0 and len(reader.output) == count:
            for place, name in enumerate(reader.output):
                squeezes = graph.readers.get(name, [])
                if name in kept or any(node.op_type != "Squeeze" or not _at_first(graph, node) for node in squeezes):
                    return None
                found |= {node.output[0]: place for node in squeezes}
        else:
            return None
    return found or None


def _at_first(graph: Graph, squeeze: Any) -> bool:
    """Whether a Squeeze takes out the first axis alone."""
    axes = attributes(squeeze).get("axes")
    if axes is None and len(squeeze.input) > 1 and squeeze.input[1] in graph.initialisers:
        axes = graph.value(squeeze.input[1]).tolist()
    return list(axes or ()) == [0]


def _write(graph: Graph, source: str, sizes: list[int], order: list[int], parts: dict[str, int]) -> None:
    """Split the product's last axis, and shape each part as it was wanted."""
    count, heads, size = sizes
    split = [fresh_name(graph, f"{source}/part_{place}") for place in range(count)]
    width = graph.add_value(fresh_name(graph, f"{source}/widths"), np.full(count, heads * size, np.int64))
    target = graph.add_value(fresh_name(graph, f"{source}/heads"), np.array([0, 0, heads, size], np.int64))
    new = [helper.make_node("Split", [source, width], split, axis=2, name=fresh_name(graph, f"{source}/split"))]
    for name, place in parts.items():
        shaped = fresh_name(graph, f"{name}/heads")
        new.append(helper.make_node("Reshape", [split[place], target], [shaped], name=shaped))
        new.append(helper.make_node("Transpose", [shaped], [name], perm=order, name=f"{shaped}/turned"))
    gone = {id(node) for node in graph.nodes if parts.keys() & set(node.output)}
    nodes = [] if source in graph.producers else list(new)
    for node in graph.nodes:
        if id(node) not in gone:
            nodes.append(node)
        if source in node.output:
            nodes += new
    graph.replace_nodes(nodes)

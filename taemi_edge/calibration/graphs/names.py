"""Who reads a tensor, and names that no tensor has."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import helper

from taemi_edge.calibration.graphs.graph import Graph, names_read

#: The operators that ONNX Runtime has beside ONNX's own.
DOMAIN = "com.microsoft"


def has_branches(node: Any) -> bool:
    """Whether a node holds graphs of its own, as If, Loop and Scan do."""
    return any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute)


def is_random(node: Any) -> bool:
    """Whether a node gives something else each time that it runs."""
    return node.op_type.startswith("Random") or node.op_type in ("Bernoulli", "Dropout", "Multinomial")


def kept_names(graph: Graph) -> set[str]:
    """The tensors that must keep their names: outputs, and what is read inside branches and loop bodies."""
    return {name for node in graph.nodes if has_branches(node) for name in names_read(node)} | set(graph.outputs)


def only_reader(graph: Graph, name: str) -> Any | None:
    """The one node that reads a tensor; None where others do, where it is an output, or where a branch reads it."""
    readers = graph.readers.get(name, [])
    if (
        len(readers) != 1
        or name in graph.outputs
        or has_branches(readers[0])
        or list(readers[0].input).count(name) != 1
    ):
        return None
    return readers[0]


def fresh_name(graph: Graph, word: str) -> str:
    """A name that no tensor and no node of the graph has."""
    name, number = word, 1
    taken = {node.name for node in graph.nodes}
    while name in graph.initialisers or name in graph.producers or name in graph.readers or name in taken:
        number += 1
        name = f"{word}_{number}"
    return name


def declare_domain(graph: Graph) -> None:
    """Declare that the graph has operators of ONNX Runtime's own."""
    if not any(o.domain == DOMAIN for o in graph.model.opset_import):
        graph.model.opset_import.append(helper.make_opsetid(DOMAIN, 1))


def drop_unread(graph: Graph) -> None:
    """Take out nodes and constants that no output needs."""
    needed, kept = set(graph.outputs), []
    for node in reversed(graph.nodes):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(names_read(node))
    read = [tensor for tensor in graph.model.graph.initializer if tensor.name in needed]
    if len(read) < len(graph.model.graph.initializer):
        unread = [tensor for tensor in graph.model.graph.initializer if tensor.name not in needed]
        for tensor in unread:
            graph.model.graph.initializer.remove(tensor)
        graph.initialisers = {tensor.name: tensor for tensor in graph.model.graph.initializer}
    if len(kept) < len(graph.nodes):
        graph.replace_nodes(kept[::-1])

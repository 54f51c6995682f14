"""Rewrites a part's graph so that ONNX Runtime computes it in fewer steps on a processor, with the same values.

Needs the package onnx, which devices do without: a build there has the graph as written among its candidates alone.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from taemi_edge.errors import EngineError, TaemiError, first_line

if TYPE_CHECKING:
    from taemi_edge.calibration.graphs.graph import Graph


def rewrite_for_cpu(graph: bytes, what: str) -> bytes:
    """Give an equal graph in which shapes are constants and attention is one operator.

    Computations of shapes that hold for every input become constants, masks that are read through an index are read as
    they are, attention becomes com.microsoft's MultiHeadAttention, and pictures are scaled in whole rows. Quantised
    products stay quantised. The result is run beside the original on inputs of several sizes before it is returned.

    Args:
        graph: the content of an ONNX file, in FP32 or with Q/DQ pairs.
        what: what error messages call it, such as the name of the part.

    Raises:
        EngineError: there is nothing to rewrite, the graph is not one that can be, its values would be others, or the
            package onnx is not installed.

    Example:
        >>> rewrite_for_cpu(b"no graph", "audio")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        taemi_edge.errors.EngineError: audio: expected an ONNX graph...
    """
    if find_spec("onnx") is None:
        raise EngineError(
            f"{what}: rewriting a graph for a processor needs the package onnx: run `pip install "
            f"'taemi-edge[export]'`, or build on the machine that exports"
        )
    from taemi_edge.calibration.fused.checking import require_same_values, require_valid
    from taemi_edge.calibration.graphs.graph import Graph

    try:
        original = Graph.of_bytes(graph, what)
        _require_plain(original, what)
        require_valid(original, what, "a")
        rewritten = original.copy()
        if not _rewrite(rewritten):
            raise EngineError(f"{what}: nothing to fuse: ONNX Runtime computes the graph as well as it is written")
        require_valid(rewritten, what, "a rewritten")
        require_same_values(original, rewritten, what)
    except EngineError:
        raise
    except TaemiError as error:
        raise EngineError(first_line(error)) from error
    except Exception as error:
        raise EngineError(
            f"{what}: expected a graph that can be rewritten for a processor: {type(error).__name__}: "
            f"{first_line(error)}; it is used as written"
        ) from error
    return rewritten.bytes()


def _require_plain(graph: Graph, what: str) -> None:
    """Refuse what the passes cannot see through."""
    if len(graph.model.functions):
        raise EngineError(f"{what}: expected a graph without functions of its own, found some: it is used as written")
    if any(tensor.data_location for tensor in graph.model.graph.initializer):
        raise EngineError(
            f"{what}: expected weights inside the graph, found them in other files: it is used as written"
        )
    made: set[str] = {value.name for value in graph.model.graph.input}
    for node in graph.nodes:
        for name in node.output:
            if name and name in made:
                raise EngineError(f"{what}: expected one maker for each tensor, found two for {name!r}")
            made.add(name)


def _rewrite(graph: Graph) -> bool:
    """Apply every pass; say whether anything changed that ONNX Runtime would not have done itself."""
    from taemi_edge.calibration.fused.attention import fuse_attention
    from taemi_edge.calibration.fused.channels import scale_rows
    from taemi_edge.calibration.fused.folding import fold
    from taemi_edge.calibration.fused.unpacking import unpack
    from taemi_edge.calibration.graphs.constants import fold_constants

    fold_constants(graph)
    shapes = _readers_of_shapes(graph)
    for _ in range(2):  # what was computed from sizes is a constant after the first round
        fold(graph)
        fold_constants(graph)
    unpack(graph)
    changed = scale_rows(graph) + fuse_attention(graph)
    fold(graph)
    return changed > 0 or _readers_of_shapes(graph) < shapes


def _readers_of_shapes(graph: Graph) -> int:
    return sum(node.op_type == "Shape" for node in graph.nodes)

"""What is done to a graph of the bundle before an engine for a processor is built of it: seven-bit weights, and fusing.

Both need onnx, which most devices do not have. A variant that cannot be made is left out with the reason; the others
are chosen from as before.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import msgspec

from taemi_edge import __version__
from taemi_edge.engines.cpu_rewriting import rewrite_for_cpu
from taemi_edge.engines.variants import Variant
from taemi_edge.errors import EngineError, MissingExtraError


def changes_in_words(variant: Variant) -> dict[str, Any]:
    """Give what makes the engine of a variant another than that of its graph as it is written, for keys of the cache.

    Empty for graphs as they are written, whose keys are those of earlier versions.
    """
    found: dict[str, Any] = {}
    if variant.session is not None:
        found["session"] = msgspec.to_builtins(variant.session)
    if variant.has_seven_bits or variant.is_fused:
        changes = [way for way in variant.ways if way in ("7-bit weights", "fused")]  # the flavour is in the graph
        found |= {"ways": changes, "made_by": __version__, "onnx": _onnx_version()}
    return found


def changed_graph(graph: bytes, variant: Variant, part: str) -> bytes:
    """Change a graph of the bundle as a variant asks for.

    Args:
        graph: of the variant's flavour.
        variant: of the part.
        part: for error messages.

    Raises:
        EngineError: the graph cannot be rewritten, or there is nothing to fuse or to round in it.
        MissingExtraError: onnx is not installed.
    """
    what = f"{part} in {variant.name}"
    if not (variant.has_seven_bits or variant.is_fused):
        return graph
    if not find_spec("onnx"):
        raise MissingExtraError("onnx", "export", f"building {what}")
    if variant.has_seven_bits:
        from taemi_edge.calibration.graphs.graph import Graph
        from taemi_edge.calibration.graphs.seven_bits import with_seven_bit_weights

        eight = Graph.of_bytes(graph, what)
        seven = with_seven_bit_weights(eight).bytes()
        if seven == eight.bytes():
            raise EngineError(f"{what}: nothing to round: expected signed weights of eight bits, found none")
        graph = seven
    return rewrite_for_cpu(graph, what) if variant.is_fused else graph


def _onnx_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("onnx")
    except PackageNotFoundError:
        return ""

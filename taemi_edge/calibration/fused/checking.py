"""Compares a rewritten graph with the graph that it was made of, on inputs of many sizes drawn at random.

Sizes that the graph leaves open take several values, one axis with the same name always the same one. Whole numbers are
0 and 1, so they do as ids of tokens and as masks, and some masks hide everything.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime

from taemi_edge.bundle.values import Array
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.graphs.names import drop_unread, kept_names
from taemi_edge.errors import EngineError, first_line
from taemi_edge.runtime.onnx_sessions import session_options

#: What rounding in FP32 may change, as a share of the output's norm; wrong values differ by far more.
_ROUNDING = 1e-3
#: The same where integers are rounded on the way: a difference in the last bit moves some of them by a step.
_ROUNDING_OF_INTEGERS = 0.1
#: Sizes of batches, and lengths of what follows. The short ones come first: work may grow with a length's square. A
#: length that the graph cannot take is left out.
_BATCHES = (1, 3, 2)
_LENGTHS = (8, 3, 33, 1, 20, 70, 700, 4100, 16000)
#: How many elements an input has at most: a feed is made to compare, not to measure.
_MOST_ELEMENTS = 600_000
#: Comparisons that are enough, and fewer than which say too little.
_ENOUGH, _LEAST = 6, 1
_TYPES = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64, 9: np.bool_, 11: np.float64}


def require_same_values(original: Graph, rewritten: Graph, what: str) -> None:
    """Run both graphs on the same inputs.

    Graphs that quantise are compared once more without the rounding, where the difference must be that of FP32.

    Args:
        original: before.
        rewritten: after.
        what: what error messages call the graph.

    Raises:
        EngineError: they differ, or one of them cannot be run.
    """
    pairs = [(original, rewritten, _ROUNDING)]
    if any(_quantises(graph) for graph in (original, rewritten)):
        pairs[0] = (original, rewritten, _ROUNDING_OF_INTEGERS)
        smooth = [without_rounding(graph) for graph in (original, rewritten)]
        if not any(_quantises(graph) for graph in smooth):
            pairs.append((smooth[0], smooth[1], _ROUNDING))
    for before, after, tolerance in pairs:
        _compare(before, after, tolerance, what)


def without_rounding(graph: Graph) -> Graph:
    """Give a copy in which activations are not quantised where they are dequantised at once."""
    made = graph.copy()
    kept, renamed, nodes = kept_names(made), dict[str, str](), []
    for node in made.nodes:
        for place, name in enumerate(node.input):
            node.input[place] = renamed.get(name, name)
        maker = made.producers.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if maker is not None and maker.op_type in _QUANTISERS and node.output[0] not in kept:
            renamed[node.output[0]] = maker.input[0]
        else:
            nodes.append(node)
    made.replace_nodes(nodes)
    drop_unread(made)
    return made


_QUANTISERS = ("QuantizeLinear", "DynamicQuantizeLinear")


def _quantises(graph: Graph) -> bool:
    return any(node.op_type in _QUANTISERS for node in graph.nodes)


def _compare(before: Graph, after: Graph, tolerance: float, what: str) -> None:
    sessions = [_session(graph, what) for graph in (before, after)]
    feeds = _Feeds(before)
    compared = 0
    for number in range(3 * len(_LENGTHS)):
        feed = feeds.draw(number)
        expected = None if feed is None else _run(sessions[0], feed)
        if feed is None or expected is None:
            continue  # a length that the graph cannot take
        found = _run(sessions[1], feed)
        sizes = ", ".join(f"{name} {'x'.join(map(str, value.shape))}" for name, value in feed.items())
        if found is None:
            raise EngineError(f"{what}: expected the rewritten graph to run as the original does, failed at {sizes}")
        worst = max(map(_difference, expected, found), default=0.0)
        if not worst <= tolerance:
            raise EngineError(
                f"{what}: expected a rewritten graph with the values of the original within {tolerance:g} of their "
                f"norm, found a difference of {worst:.3g} at {sizes}"
            )
        compared += 1
        if compared == _ENOUGH:
            break
    if compared < _LEAST:
        raise EngineError(
            f"{what}: expected inputs on which the graph can be compared with the rewritten one, found none"
        )


def _session(graph: Graph, what: str) -> Any:
    options = session_options(1, as_written=True)
    options.log_severity_level = 4  # lengths that a graph cannot take are no news
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    try:
        return onnxruntime.InferenceSession(graph.bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise EngineError(f"{what}: ONNX Runtime cannot open the graph to compare it: {first_line(error)}") from error


def _run(session: Any, feed: dict[str, Array]) -> list[Any] | None:
    try:
        return list(session.run(None, feed))
    except Exception:  # noqa: BLE001  # ONNX Runtime raises Exception itself; None says that it did not run
        return None


def _difference(expected: Any, found: Any) -> float:
    """The norm of the difference as a share of the norm; infinite where shapes or what is no number differ."""
    if not isinstance(expected, np.ndarray) or expected.dtype.kind not in "fiub":
        return 0.0 if np.array_equal(expected, found) else np.inf
    wanted, got = (np.asarray(value, np.float64) for value in (expected, found))
    if wanted.shape != got.shape or not np.array_equal(np.isfinite(wanted), np.isfinite(got)):
        return np.inf
    finite = np.isfinite(wanted)
    norm = float(np.linalg.norm(wanted[finite])) or 1.0
    return float(np.linalg.norm(wanted[finite] - got[finite])) / norm


class _Feeds:
    """Draws inputs of a graph."""

    def __init__(self, graph: Graph) -> None:
        self.random = np.random.default_rng(0)
        self.inputs = [value for value in graph.model.graph.input if value.name not in graph.initialisers]

    def draw(self, number: int) -> dict[str, Array] | None:
        """The inputs of a comparison; None where they would be too large, or are of no type that can be drawn."""
        sizes: dict[str, int] = {}
        feed = {}
        for value in self.inputs:
            tensor = value.type.tensor_type
            shape = [self._size(d, f"{value.name}[{a}]", a, number, sizes) for a, d in enumerate(tensor.shape.dim)]
            if tensor.elem_type not in _TYPES or np.prod(shape, dtype=float) > _MOST_ELEMENTS:
                return None
            feed[value.name] = self._values(_TYPES[tensor.elem_type], shape, number)
        return feed

    def _size(self, dim: Any, place: str, axis: int, number: int, sizes: dict[str, int]) -> int:
        if dim.HasField("dim_value"):
            return int(dim.dim_value)
        lengths = _BATCHES if axis == 0 else _LENGTHS
        base = lengths[number % len(lengths)]
        different = base if axis == 0 else base + int(self.random.integers(0, 1 + base // 4))
        return sizes.setdefault(dim.dim_param or place, different)

    def _values(self, dtype: Any, shape: list[int], number: int) -> Array:
        if dtype in (np.float32, np.float64):
            return self.random.standard_normal(shape).astype(dtype)
        if dtype in (np.uint8, np.int8):
            return self.random.integers(0, 128 if dtype == np.int8 else 256, shape).astype(dtype)
        drawn = self.random.random(shape) < (1.0 if number % 3 == 0 else 0.6)
        if number % 3 == 2 and drawn.ndim > 1:
            drawn[0] = False  # a row of which everything is hidden
        return drawn.astype(dtype)


def require_valid(graph: Graph, what: str, which: str) -> None:
    """Check a graph by ONNX's own rules.

    Raises:
        EngineError: it breaks one.
    """
    try:
        onnx.checker.check_model(graph.model)
    except Exception as error:
        raise EngineError(f"{what}: expected {which} graph that follows ONNX's rules: {first_line(error)}") from error

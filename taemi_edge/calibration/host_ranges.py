"""Finding what INT8 graphs for processors need beside the symmetric plan: unsigned ranges, and equalised channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.calibration.graphs.chains import Chains, Convolution, find_chains
from taemi_edge.calibration.graphs.equalising import channel_factors, equalisable, full_equaliser, is_depthwise
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.graphs.qdq import ScaledTensor
from taemi_edge.calibration.graphs.ranges import TensorStatistics
from taemi_edge.calibration.graphs.simplifying import simplify
from taemi_edge.calibration.graphs.smoothing import fake_quantise_weight
from taemi_edge.calibration.graphs.unsigned_plan import UnsignedPlan, UnsignedTensor

#: The shares of the values, in percent, that a range may keep: all of them, or all but the rarest at each end.
_PERCENTILES = (100.0, 99.99, 99.9)
#: How much of the full equalisation is tried where a convolution mixes channels: its weights pay for it.
_STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
#: The share of the values, in percent, that gives the range of what a Linear reads, and how far the range goes beyond.
#: The factor lies between 1.3 and 1.8, by which the parts of taemi-mobile came nearest to FP32, each by another one, on
#: 8 clips with ranges of 16. It was chosen once by hand.
_NEARLY_ALL, _REACH = 99.99, 1.5
_DIGITS = 6


def simplified_chains(graph: Graph) -> tuple[Graph, Chains]:
    """Give a part as it is rewritten for processors, and all that could be computed in integers around convolutions."""
    simple = simplify(graph)
    return simple, find_chains(simple)


def plan_for_hosts(
    graph: Graph,
    convolutions: Mapping[str, UnsignedTensor],
    watched: Mapping[str, TensorStatistics],
    scaled: Sequence[ScaledTensor],
) -> UnsignedPlan:
    """Give the ranges of one part for processors.

    Args:
        graph: the part in FP32.
        convolutions: the ranges around its convolutions, by tensor.
        watched: what each tensor held, by name.
        scaled: the tensors of the symmetric plan; Linears keep its smoothing.
    """
    tensors = dict(convolutions)
    linears = {layer.node for layer in graph.layers() if layer.is_linear}
    for each in scaled:
        if each.tensor in tensors or not linears.intersection(each.nodes):
            continue
        seen = watched[each.tensor]
        smoothing = np.array(each.smoothing, np.float32) if each.smoothing else None
        rows = seen.rows if smoothing is None else seen.rows / smoothing
        low, high, method = far_reaching_range(rows, *_ends(seen, smoothing))
        tensors[each.tensor] = UnsignedTensor(tensor=each.tensor, low=_short(low), high=_short(high), method=method)
    return UnsignedPlan(tensors=tuple(tensors[name] for name in sorted(tensors)))


def convolution_ranges(
    simple: Graph, chains: Chains, watched: Mapping[str, TensorStatistics]
) -> dict[str, UnsignedTensor]:
    """Give the range of every tensor that may be quantised around the convolutions of a part.

    Args:
        simple, chains: the part as `simplified_chains` gives it.
        watched: what each tensor held, by name.
    """
    readers = equalisable(simple, chains)
    sources = {each.source for each in chains.convolutions.values()}
    found = {}
    for name in sorted(chains.ranged):
        seen = watched[name]
        low, high, method = unsigned_range(seen.rows, seen.low, seen.high)
        mean = tuple(_short(value) for value in seen.rows.mean(0)) if name in sources else ()
        tensor = UnsignedTensor(tensor=name, low=_short(low), high=_short(high), method=method, mean=mean)
        if name in readers:
            tensor = _equalised(tensor, seen, [(simple.value(r.layer.weight), r) for r in readers[name]])
        found[name] = tensor
    return found


def _equalised(
    tensor: UnsignedTensor, seen: TensorStatistics, readers: Sequence[tuple[Array, Convolution]]
) -> UnsignedTensor:
    """Give a tensor with the equaliser by which what its readers make comes nearest to FP32."""
    full = full_equaliser(seen.channel_amax)
    weights = [weight for weight, _ in readers]
    strengths = (1.0,) if all(is_depthwise(weight) for weight in weights) else _STRENGTHS
    best: tuple[float, Array, tuple[float, float, str]] | None = None
    for strength in strengths:
        factors = np.array([float(f"{value:.{_DIGITS}g}") for value in full**strength], np.float32)
        ends = unsigned_range(seen.rows / factors, *_ends(seen, factors))
        error = 0.0 if len(strengths) == 1 else _error(seen.rows, factors, ends[0], ends[1], weights)
        if best is None or error < best[0]:
            best = error, factors, ends
    if best is None or np.all(best[1] == 1.0):
        return tensor
    _, factors, (low, high, _) = best
    return msgspec.structs.replace(
        tensor,
        equaliser=tuple(float(f"{value:.{_DIGITS}g}") for value in factors),
        equal_low=_short(low),
        equal_high=_short(high),
    )


def _error(rows: Array, factors: Array, low: float, high: float, weights: Sequence[Array]) -> float:
    """The squared error of what convolutions make of rows, each tap of theirs taken as an output of its own."""
    error = 0.0
    given = fake_unsigned(rows / factors, low, high)
    for weight in weights:
        if weight.shape[1] != len(factors):
            continue  # grouped: the groups of one tensor are alike
        exact = np.moveaxis(weight, 1, 0).reshape(len(factors), -1)
        scaled = np.moveaxis(weight * channel_factors(weight, factors), 1, 0).reshape(len(factors), -1)
        error += float(((given @ fake_quantise_weight(scaled) - rows @ exact) ** 2).sum())
    return error


def _ends(seen: TensorStatistics, factors: Array | None) -> tuple[float, float]:
    """The smallest and the largest value of a tensor whose channels are divided by factors."""
    if factors is None:
        return seen.low, seen.high
    return float((seen.channel_low / factors).min(initial=0.0)), float((seen.channel_high / factors).max(initial=0.0))


def far_reaching_range(rows: Array, low: float, high: float) -> tuple[float, float, str]:
    """Give the range of what a Linear reads: all values, but not far beyond where nearly all of them are.

    The rare outliers of a transformer steer its attention, and cutting them off costs more than rougher steps.

    Args:
        rows: a sample of its values, of any shape.
        low, high: the smallest and the largest of all its values.

    Example:
        >>> [round(end, 2) for end in far_reaching_range(np.linspace(-1, 1, 101), -1.2, 9.0)[:2]]
        [-1.2, 1.5]
    """
    ends = np.percentile(rows, [100.0 - _NEARLY_ALL, _NEARLY_ALL]) * _REACH
    found = max(min(low, 0.0), min(float(ends[0]), 0.0)), min(max(high, 0.0), max(float(ends[1]), 0.0))
    whole = found == (min(low, 0.0), max(high, 0.0))
    return *found, "minmax" if whole else "percentile"


def unsigned_range(rows: Array, low: float, high: float) -> tuple[float, float, str]:
    """Give the range of a tensor, zero in it, with the least squared error of rounding to 256 steps.

    Args:
        rows: a sample of its values, of any shape.
        low, high: the smallest and the largest of all its values.

    Returns:
        Both ends, and which method found them.
    """
    values = rows.ravel()
    best, least = (min(low, 0.0), max(high, 0.0), "minmax"), np.inf
    for percentile in _PERCENTILES:
        ends = (low, high) if percentile == 100.0 else np.percentile(values, [100.0 - percentile, percentile])
        low_end, high_end = min(float(ends[0]), 0.0), max(float(ends[1]), 0.0)
        error = float(((fake_unsigned(values, low_end, high_end) - values) ** 2).sum())
        if error < least:
            best, least = (low_end, high_end, "minmax" if percentile == 100.0 else "percentile"), error
    return best


def fake_unsigned(values: Array, low: float, high: float) -> Array:
    """Round values to the 256 steps of a range, and give them in the type that they came in.

    >>> fake_unsigned(np.array([-9.0, 0.4, 300.0]), 0.0, 255.0).tolist()
    [0.0, 0.0, 255.0]
    """
    scale = max((high - low) / 255.0, 1e-12)
    zero = np.rint(-low / scale)
    rounded: Array = ((np.clip(np.rint(values / scale) + zero, 0, 255) - zero) * scale).astype(values.dtype)
    return rounded


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")

"""Equalising channels between convolutions, so that one range fits all channels of the tensor between them.

What one convolution makes is divided by a factor a channel, and the next multiplies its weights by it (Nagel et al.
2019, arXiv 1906.04721). Weights have a scale for each output channel, so the first convolution loses nothing, and
neither does a depthwise one behind it: every channel then has all 256 steps.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.calibration.graphs.chains import Chains, Convolution
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.graphs.unsigned_plan import UnsignedTensor

#: A channel is stretched by this much at most: what clips did not show may be larger.
_MOST_STRETCH = 16.0


def equalisable(graph: Graph, chains: Chains) -> dict[str, list[Convolution]]:
    """Find the tensors whose channels may be divided, with the convolutions that read them.

    A convolution in integers makes such a tensor, with nothing or a ReLU behind it, and only others read it.

    Args:
        graph: simplified.
        chains: of the graph.
    """
    found: dict[str, list[Convolution]] = {}
    by_node = chains.convolutions
    for each in by_node.values():
        readers = graph.readers.get(each.output, [])
        alone = readers and all(n.name in by_node and by_node[n.name].source == each.output for n in readers)
        if alone and each.output not in graph.outputs and (each.activation is None or each.least == 0.0):
            found[each.output] = [by_node[node.name] for node in readers]
    return found


def equalised_tensors(graph: Graph, chains: Chains, ranges: Mapping[str, UnsignedTensor]) -> set[str]:
    """The tensors whose channels are divided where these ranges are used."""
    return {name for name in equalisable(graph, chains) if name in ranges and ranges[name].equaliser}


def is_depthwise(weight: Array) -> bool:
    """Whether each output channel of a convolution reads one input channel alone."""
    return int(weight.shape[1]) == 1


def full_equaliser(channel_amax: Array) -> Array:
    """Give the factors by which every channel comes to the same largest magnitude, float32 (C,).

    >>> full_equaliser(np.array([6.0, 3.0, 0.0])).tolist()
    [1.0, 0.5, 1.0]
    """
    largest = float(channel_amax.max(initial=0.0))
    if not largest:
        return np.ones(len(channel_amax), np.float32)
    share = np.where(channel_amax > 0, channel_amax / largest, 1.0)
    factors: Array = np.maximum(share, 1 / _MOST_STRETCH).astype(np.float32)
    return factors


def channel_factors(weight: Array, factors: Array) -> Array:
    """Give what each weight of a convolution is multiplied by, where its input channels were divided by `factors`.

    Args:
        weight: (outputs, inputs of a group, ...).
        factors: (channels of the input,).
    """
    outputs, inputs = weight.shape[:2]
    groups = len(factors) // inputs
    group = np.arange(outputs) // max(1, outputs // groups)
    spread: Array = factors.reshape(groups, inputs)[group].reshape(outputs, inputs, *[1] * (weight.ndim - 2))
    return spread

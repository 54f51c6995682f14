"""Rounding the weights of a layer to eight bits so that what it makes stays the same on average.

Rounding each weight to the nearest step errs by up to half a step, and the errors of the taps of a filter add up where
neighbouring inputs are alike, as the pixels of a picture are: a filter that finds edges then sees brightness too. So
the taps are rounded to keep their sum (error feedback), and what is left of the mean goes into the bias (Nagel et al.
2019, arXiv 1906.04721, section 4.2).
"""

from __future__ import annotations

import numpy as np

from taemi_edge.bundle.values import Array

#: The largest magnitude of a symmetric eight-bit weight.
MOST = 127


def round_to_steps(weight: Array, scale: Array, axis: int) -> Array:
    """Give weights in steps of their channel's scale, int8; of a convolution the taps of each filter keep their sum.

    Args:
        weight: (outputs, inputs, ...) of a convolution, or (inputs, outputs) of a Linear.
        scale: (channels,) along `axis`.
        axis: 0 of a convolution, 1 of a Linear.

    Example:
        >>> round_to_steps(np.array([[[1.4, 1.4, -2.8, 127.0]]]), np.ones(1), 0).tolist()  # nearest: 1, 1, -3, 127
        [[[2, 1, -3, 127]]]
    """
    shape = [1] * weight.ndim
    shape[axis] = -1
    exact = weight / scale.reshape(shape)
    steps = np.clip(np.rint(exact), -MOST, MOST)
    if weight.ndim > 2:
        filters = int(np.prod(weight.shape[:2]))
        steps = _keep_sums(exact.reshape(filters, -1), steps.reshape(filters, -1)).reshape(weight.shape)
    rounded: Array = steps.astype(np.int8)
    return rounded


def _keep_sums(exact: Array, steps: Array) -> Array:
    """Round the taps the other way, the nearest to the middle first, until each row (filters, taps) keeps its sum."""
    lacking = np.rint((exact - steps).sum(1))
    way = np.sign(lacking)[:, None]
    gain = (exact - steps) * way  # from -.5 to .5: how little it costs to move this tap
    movable = np.abs(steps + way) <= MOST
    order = np.argsort(-np.where(movable, gain, -np.inf), axis=1, kind="stable")
    rank = np.argsort(order, axis=1, kind="stable")
    moved: Array = steps + way * ((rank < np.abs(lacking)[:, None]) & movable)
    return moved


def mean_error(weight: Array, rounded: Array, mean: Array) -> Array:
    """Give what rounding adds to each output of a convolution on average, (outputs,).

    Args:
        weight, rounded: (outputs, inputs of a group, ...), exact and rounded.
        mean: of each channel of the input, (channels,); zeros around it count as if they were like the rest.
    """
    outputs, inputs = weight.shape[:2]
    groups = len(mean) // inputs
    by_input = (rounded - weight).reshape(outputs, inputs, -1).sum(2)
    of_group = mean.reshape(groups, inputs)[np.arange(outputs) // max(1, outputs // groups)]
    error: Array = (by_input * of_group).sum(1)
    return error

"""Follows the axes of a tensor through reshapes and transposes, however an exporter wrote them.

Each axis is a row of factors of the axes of the tensor that was started from: (batch, tokens, 384) that is split and
turned into (batch, 12, tokens, 32) has the last axis in two factors, of which the outer one has come to the front.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from taemi_edge.calibration.fused.dims import ONE, Dim
from taemi_edge.calibration.fused.fact import Shape, attributes
from taemi_edge.calibration.fused.facts import Facts

#: Operators that give the same elements in another shape or order.
LAYOUT = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity")


@dataclass(frozen=True)
class Factor:
    """A part of an axis: `size` steps of `stride` elements along axis `axis` of the source."""

    axis: int
    size: Dim
    stride: Dim = ONE


#: The factors of each axis, the outermost first. An axis of size 1 has none.
Axes = tuple[tuple[Factor, ...], ...]


def whole(shape: Shape) -> Axes:
    """The axes of a tensor that nothing has changed yet."""
    return tuple(() if size == ONE else (Factor(axis, size),) for axis, size in enumerate(shape))


def joined(factors: Sequence[Factor]) -> tuple[Factor, ...]:
    """The same factors, with neighbours that are one stretch of an axis put together."""
    found: list[Factor] = []
    for factor in factors:
        last = found[-1] if found else None
        if last is not None and last.axis == factor.axis and last.stride == factor.stride * factor.size:
            found[-1] = Factor(factor.axis, last.size * factor.size, factor.stride)
        else:
            found.append(factor)
    return tuple(found)


def reshaped(axes: Axes, shape: Shape) -> Axes | None:
    """The axes after a reshape; None where an axis of the new shape is no row of factors."""
    rest = list(joined([factor for axis in axes for factor in axis]))
    found = []
    for size in shape:
        taken: list[Factor] = []
        wanted = size
        while wanted != ONE:
            if not rest:
                return None
            factor = rest.pop(0)
            inner = factor.size.divided_by(wanted)
            outer = wanted.divided_by(factor.size)
            if inner is not None:
                taken.append(Factor(factor.axis, wanted, factor.stride * inner))
                if inner != ONE:
                    rest.insert(0, replace(factor, size=inner))
                wanted = ONE
            elif outer is not None:
                taken.append(factor)
                wanted = outer
            else:
                return None
        found.append(tuple(taken))
    return None if rest else tuple(found)


def after(facts: Facts, node: Any, axes: Axes) -> Axes | None:
    """The axes of a node's output; None where it is no layout, or one that cannot be followed."""
    shape = facts.shape(node.output[0])
    if shape is None or node.op_type not in LAYOUT or node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type == "Transpose":
        order = attributes(node).get("perm", list(reversed(range(len(axes)))))
        return tuple(axes[axis] for axis in order)
    return reshaped(axes, shape)

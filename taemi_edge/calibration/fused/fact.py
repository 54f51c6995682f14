"""What holds of one tensor whatever a graph's inputs are, and what rules may ask about the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import onnx
from onnx import helper

from taemi_edge.calibration.fused.dims import Dim

Shape = tuple[Dim, ...]
#: The longest list of numbers that is followed: a tensor's shape is no longer.
MOST_VALUES = 16
#: The types of sizes, and of what compares them.
WHOLE = (onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL)


@dataclass(frozen=True)
class Fact:
    """What holds of one tensor.

    Attributes:
        shape: its sizes, None where even their number is unknown.
        values: its elements where it is a short list of whole numbers, or one.
        fill: the whole number that each of its elements is.
        steps: where an element is a sum over axes of its index times a step, plus a start: the steps and the start.
        dtype: the number of its type in ONNX, 0 where unknown.
    """

    shape: Shape | None = None
    values: tuple[Dim, ...] | None = None
    fill: int | None = None
    steps: tuple[tuple[Dim, ...], Dim] | None = None
    dtype: int = 0


#: What is known where no rule says anything.
NOTHING = Fact()


class Known(Protocol):
    """The facts of the tensors so far.

    Attributes:
        shortest: names of sizes that are the smaller one of two, and those two.
    """

    shortest: dict[str, tuple[Dim, int]]

    def __getitem__(self, name: str) -> Fact: ...

    def shape(self, name: str) -> Shape | None:
        """The sizes of a tensor."""

    def broadcast(self, *shapes: Shape | None) -> Shape | None:
        """The shape of what is computed element by element from tensors of these shapes."""


#: What a rule makes of a node: the fact of its only output, or of all of them.
Rule = Callable[[Known, Any], Fact | tuple[Fact, ...]]


def attributes(node: Any) -> dict[str, Any]:
    """The attributes of a node by name."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}

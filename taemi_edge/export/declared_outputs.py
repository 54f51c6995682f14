"""The outputs that a model can declare: numbers (`Regression`) and classes (`Classes`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from taemi_edge.bundle.outputs import ClassesSpec, OutputSpec, RegressionSpec
from taemi_edge.bundle.values import Array
from taemi_edge.errors import ContractError

#: By how much probabilities may be off: softmax in float16 sums to 1 within a thousandth.
_SLACK = 1e-2


@dataclass(frozen=True)
class Regression:
    """An output of numbers.

    Args:
        names: of the numbers, in the order of the head's output.
        range: the lowest and highest value, for axes and meters; None where there are no bounds.
        metrics: by which named metrics they are judged.

    Example:
        >>> Regression(["valence", "arousal"], range=(-1, 1)).spec().range
        (-1.0, 1.0)
    """

    names: Sequence[str]
    range: tuple[float, float] | None = None
    metrics: Sequence[str] = ()

    def spec(self) -> OutputSpec:
        """The same for a manifest."""
        bounds = None if self.range is None else (float(self.range[0]), float(self.range[1]))
        return RegressionSpec(names=_names(self.names), range=bounds, metrics=tuple(self.metrics))


@dataclass(frozen=True)
class Classes:
    """An output of classes.

    Args:
        names: of the classes, in the order of the head's output.
        gives: whether the head gives "logits" or "probabilities".
        exclusive: whether exactly one class is right, or each for itself may be.
        metrics: by which named metrics they are judged.

    Example:
        >>> Classes(["still", "moving"]).spec().size
        2
    """

    names: Sequence[str]
    gives: Literal["logits", "probabilities"] = "logits"
    exclusive: bool = True
    metrics: Sequence[str] = ()

    def spec(self) -> OutputSpec:
        """The same for a manifest."""
        if self.gives not in ("logits", "probabilities"):
            raise ContractError(f"expected gives to be 'logits' or 'probabilities', got {self.gives!r}")
        return ClassesSpec(
            names=_names(self.names), gives=self.gives, exclusive=bool(self.exclusive), metrics=tuple(self.metrics)
        )


def value_problem(output: OutputSpec, values: Array) -> str:
    """What is wrong with the values of an output for a few windows; nothing where they can be what it declares.

    A few numbers outside of a range are no mistake: a network without a last activation overshoots. All of them are.

    >>> value_problem(Classes(["a", "b"], gives="probabilities").spec(), np.array([[2.0, -1.0]])).partition(":")[0]
    'expected probabilities from 0 to 1, got -1 to 2'
    """
    lowest, highest = float(values.min()), float(values.max())
    got = f"got {lowest:.3g} to {highest:.3g}"
    if isinstance(output, ClassesSpec) and output.gives == "probabilities":
        if lowest < -_SLACK or highest > 1 + _SLACK:
            return f"expected probabilities from 0 to 1, {got}: use gives='logits', or end the head with an activation"
        total = values.sum(axis=1)
        if output.exclusive and np.abs(total - 1).max() > _SLACK:
            return (
                f"expected probabilities that sum to 1, got a sum of {float(total[0]):.3g}: use exclusive=False where "
                f"several classes may be right, or end the head with a softmax"
            )
    if isinstance(output, RegressionSpec) and output.range is not None:
        low, high = output.range
        if (values < low).all() or (values > high).all():
            return f"expected values in the declared range, {low:g} to {high:g}, {got}: declare the range that it gives"
    return ""


def _names(names: Any) -> tuple[str, ...]:
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise ContractError(f"expected a list of names, got {names!r:.60}")
    return tuple(names)

"""The outputs that a model can declare: numbers (`Regression`) and classes (`Classes`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from taemi_edge.bundle.outputs import ClassesSpec, OutputSpec, RegressionSpec
from taemi_edge.errors import ContractError


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


def _names(names: Any) -> tuple[str, ...]:
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise ContractError(f"expected a list of names, got {names!r:.60}")
    return tuple(names)

"""The outputs of a model: groups of numbers (`RegressionSpec`) and of classes (`ClassesSpec`), each under its name.

Both turn one row of what the head gives into the object that a prediction carries.
"""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias, TypedDict

import numpy as np

from taemi_edge.bundle.values import Array, Frozen

#: How many digits a prediction has after the point; smaller numbers of no declared range have as many that count.
_DIGITS = 6
#: A class of a group that is not exclusive is present from this probability on.
PRESENT_FROM = 0.5


class RegressionSpec(Frozen, frozen=True, tag_field="kind", tag="regression"):
    """Numbers with names.

    Attributes:
        names: of the numbers, in the order of the head's output.
        range: the lowest and highest value that they take; None where they have no bounds.
        metrics: by which metrics they are judged; empty for the model's own.
    """

    names: tuple[str, ...]
    range: tuple[float, float] | None = None
    metrics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require_names(self.names)
        if self.range is not None and not -math.inf < self.range[0] < self.range[1] < math.inf:
            raise ValueError(
                f"expected a range (lowest, highest) of two finite numbers, got {self.range}: leave range out where "
                f"there is no bound"
            )

    @property
    def size(self) -> int:
        """How many numbers the head gives for the group."""
        return len(self.names)

    def values(self, raw: Array) -> Array:
        """What a metric reads of the head's output (..., n): the numbers as they are."""
        return raw

    def described(self, raw: Array) -> dict[str, Any]:
        """What a prediction carries of one row, (n,): each number under its name.

        >>> RegressionSpec(names=("valence", "arousal")).described(np.array([0.5, -0.25]))
        {'valence': 0.5, 'arousal': -0.25}
        >>> RegressionSpec(names=("force_n",)).described(np.array([3.2e-7]))
        {'force_n': 3.2e-07}
        """
        return {name: self._rounded(value) for name, value in zip(self.names, raw.tolist(), strict=True)}

    def _rounded(self, value: float) -> float:
        size = abs(value) if self.range is None else self.range[1] - self.range[0]
        return round(value, _DIGITS if not 0 < size < 1 else _DIGITS - 1 - math.floor(math.log10(size)))


class _Classes(TypedDict):
    best: str
    probabilities: dict[str, float]


class DescribedClasses(_Classes, total=False):
    """What a prediction carries of classes. Those that do not exclude each other have `present` as well."""

    present: list[str]


class ClassesSpec(Frozen, frozen=True, tag_field="kind", tag="classes"):
    """Classes with their probabilities.

    Attributes:
        names: of the classes, in the order of the head's output.
        gives: whether the head gives logits or probabilities.
        exclusive: whether exactly one class is right (softmax), or each for itself may be (sigmoid).
        metrics: by which metrics they are judged; empty for the model's own.
    """

    names: tuple[str, ...]
    gives: Literal["logits", "probabilities"] = "logits"
    exclusive: bool = True
    metrics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require_names(self.names)
        if self.exclusive and len(self.names) < 2:
            raise ValueError(f"expected at least two classes that exclude each other, got {len(self.names)}")

    @property
    def size(self) -> int:
        """How many numbers the head gives for the group."""
        return len(self.names)

    def values(self, raw: Array) -> Array:
        """What a metric reads of the head's output (..., n): probabilities, float64."""
        x = raw.astype(np.float64)
        if self.gives == "probabilities":
            return x
        if not self.exclusive:
            positive: Array = 0.5 * (1 + np.tanh(0.5 * x))  # the sigmoid, without overflow
            return positive
        powers = np.exp(x - x.max(axis=-1, keepdims=True))
        probabilities: Array = powers / powers.sum(axis=-1, keepdims=True)
        return probabilities

    def described(self, raw: Array) -> dict[str, Any]:
        """What a prediction carries of one row, (n,): the best class, and the probability of each.

        Classes that do not exclude each other carry `present` as well: those of at least one half.

        >>> ClassesSpec(names=("open", "shut")).described(np.array([0.0, 0.0]))
        {'best': 'open', 'probabilities': {'open': 0.5, 'shut': 0.5}}
        """
        probabilities = self.values(raw)
        best = self.names[int(np.argmax(probabilities))]
        by_name = {name: round(float(p), _DIGITS) for name, p in zip(self.names, probabilities, strict=True)}
        described: DescribedClasses = {"best": best, "probabilities": by_name}
        if not self.exclusive:
            described["present"] = [name for name, p in by_name.items() if p >= PRESENT_FROM]
        return dict(described)


OutputSpec: TypeAlias = RegressionSpec | ClassesSpec


def _require_names(names: tuple[str, ...]) -> None:
    if not names or len(set(names)) < len(names) or not all(isinstance(n, str) and n.strip() for n in names):
        raise ValueError(f"expected at least one name, each different and not empty, got {list(names)}")
    for name in names:
        if not name.isprintable():
            raise ValueError(f"expected names without line breaks and control characters, got {name!r:.80}")

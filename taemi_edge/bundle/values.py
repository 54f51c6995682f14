"""The base of all data classes of a bundle, and the few types that several of them share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from taemi_edge.bundle.limits import MOST_AXES, MOST_LENGTH, MOST_TENSORS
from taemi_edge.bundle.precisions import Precision

Array = NDArray[Any]

#: The part that reads the features of all streams. Every other part encodes the stream whose name it has.
HEAD = "fusion"
#: The key of the tolerance of the whole way, from inputs to outputs, among those of the parts.
END_TO_END = "end_to_end"


class Frozen(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Immutable data. Types are checked and unknown keys are refused when it is read from JSON or TOML."""


class TensorSpec(Frozen, frozen=True):
    """One input or output of a part. A string in its shape names a dynamic dimension."""

    name: str
    dtype: Literal["uint8", "int32", "int64", "float16", "float32"]
    shape: tuple[int | str, ...]

    def __post_init__(self) -> None:
        if len(self.shape) > MOST_AXES:
            raise ValueError(f"{self.name!r:.80}: expected at most {MOST_AXES} axes, got {len(self.shape)}")
        if wrong := [size for size in self.shape if isinstance(size, int) and not 0 <= size <= MOST_LENGTH]:
            raise ValueError(f"{self.name!r:.80}: expected lengths from 0 to {MOST_LENGTH}, got {wrong[0]}")

    def mismatch(self, array: Array) -> str | None:
        """Say in words why `array` does not fit this input; None where it fits.

        >>> TensorSpec(name="pixels", dtype="uint8", shape=("frames", 2, 2, 3)).mismatch(np.zeros((1, 2, 2), np.uint8))
        'pixels: expected uint8 (frames, 2, 2, 3), got uint8 (1, 2, 2)'
        """
        fits = len(array.shape) == len(self.shape) and all(
            size > 0 if isinstance(want, str) else size == want
            for want, size in zip(self.shape, array.shape, strict=True)
        )
        if fits and array.dtype == np.dtype(self.dtype):
            return None
        want = ", ".join(str(d) for d in self.shape)
        got = ", ".join(str(d) for d in array.shape)
        return f"{self.name}: expected {self.dtype} ({want}), got {array.dtype} ({got})"


class PartSpec(Frozen, frozen=True):
    """One of the networks of a bundle: the encoder of a stream, or the head.

    Attributes:
        file: its name in the bundle's folder.
        inputs, outputs: the tensors that it takes and gives.
        parameters: how many weights it has.
        exporter: what made the graph: "torchscript", "dynamo", or "onnx" where the user gave it.
    """

    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    precision: Precision
    opset: int
    parameters: int
    exporter: Literal["torchscript", "dynamo", "onnx"] = "torchscript"

    def __post_init__(self) -> None:
        if (most := max(len(self.inputs), len(self.outputs))) > MOST_TENSORS:
            raise ValueError(f"{self.file!r:.80}: expected at most {MOST_TENSORS} inputs and outputs, got {most:,}")

    def feed_problems(self, feeds: Mapping[str, Array]) -> list[str]:
        """List everything that is wrong with a set of feeds: unknown and missing names, wrong dtypes and shapes."""
        known = {spec.name: spec for spec in self.inputs}
        problems = [f"unknown input {name!r}, expected {', '.join(known)}" for name in feeds if name not in known]
        for name, spec in known.items():
            problem = f"missing input {name!r}" if name not in feeds else spec.mismatch(feeds[name])
            problems += [problem] if problem else []
        return problems


class Tolerance(Frozen, frozen=True):
    """How far outputs may be from PyTorch's.

    Attributes:
        max_abs: the largest absolute error.
        cosine: the least cosine of the angle between the two outputs as vectors.
        pearson: the least Pearson correlation of each number of the head; None where it is not judged.
        flips: the largest share of rows whose best class may differ; None where it is not judged.
        outputs: the largest absolute error of single outputs of the part, by name, where it is another than `max_abs`:
            a share beside a speed in rpm is held against its own range.

    Example:
        >>> limit = Tolerance(max_abs=0.2, cosine=0.9999, outputs={"share": 1e-4})
        >>> limit.of_output("speed"), limit.of_output("share")
        (0.2, 0.0001)
    """

    max_abs: float
    cosine: float
    pearson: float | None = None
    flips: float | None = None
    outputs: dict[str, float] | msgspec.UnsetType = msgspec.UNSET

    def of_output(self, name: str) -> float:
        """Give the largest absolute error of one output."""
        return (self.outputs or {}).get(name, self.max_abs)


def tolerance_by_output(
    limits: Mapping[str, float], cosine: float, pearson: float | None = None, flips: float | None = None
) -> Tolerance:
    """Give the tolerance of a part by the largest absolute error of each of its outputs.

    Example:
        >>> tolerance_by_output({"speed": 0.2, "share": 1e-4}, 0.9999).outputs
        {'share': 0.0001}
        >>> tolerance_by_output({"speed": 0.2}, 0.9999)
        Tolerance(max_abs=0.2, cosine=0.9999, pearson=None, flips=None, outputs=UNSET)
    """
    largest = max(limits.values())
    smaller = {name: limit for name, limit in limits.items() if limit != largest}
    return Tolerance(max_abs=largest, cosine=cosine, pearson=pearson, flips=flips, outputs=smaller or msgspec.UNSET)


#: The tolerance of each part by name, and of the whole way under "end_to_end" (without one: that of the head).
PartTolerances: TypeAlias = dict[str, Tolerance]


def end_to_end_tolerance(tolerances: PartTolerances) -> Tolerance:
    """Give the tolerance of the whole way from inputs to outputs: that of the head where it has none of its own."""
    return tolerances.get(END_TO_END, tolerances[HEAD])

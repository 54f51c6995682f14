"""The tensors of a bundle as a model of Triton: what one is, and the outputs. `requests` has the inputs.

Triton puts a batch axis of length 1 before every shape that is named here.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from taemi_edge.bundle.outputs import OutputSpec
from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.values import Array
from taemi_edge.errors import UsageError
from taemi_edge.runtime.prediction import Prediction
from taemi_edge.runtime.presence import State

#: The outputs beside those of the model itself.
PRESENCE, AGE, PREDICTION = "presence", "age_ms", "prediction"
#: What the numbers of `presence` mean: each is a place in this list.
STATES: tuple[str, ...] = get_args(State)
#: The data types as Triton calls them.
DTYPES = {"UINT8": np.dtype(np.uint8), "FP32": np.dtype(np.float32), "FP64": np.dtype(np.float64)}


@dataclass(frozen=True)
class TensorSpec:
    """An input or an output, without the batch axis.

    Attributes:
        name: of the tensor.
        dtype: as Triton calls it, a key of `DTYPES`.
        dims: the lengths of its axes; -1 where any will do.
    """

    name: str
    dtype: str
    dims: tuple[int, ...]

    @property
    def shown(self) -> str:
        """What is expected, for a message: `FP32 (1, n, 6)`."""
        return f"{self.dtype} ({', '.join(['1', *('n' if length < 0 else str(length) for length in self.dims)])})"

    def without_batch(self, array: Array) -> Array:
        """A tensor of a request without its batch axis.

        Raises:
            UsageError: it has another type or shape.
        """
        wanted = (1, *self.dims)
        fits = len(array.shape) == len(wanted) and all(map(_fits, wanted, array.shape))
        if array.dtype != DTYPES[self.dtype] or not fits:
            dtype = next((name for name, kind in DTYPES.items() if array.dtype == kind), str(array.dtype))
            raise UsageError(f"{self.name}: expected {self.shown}, got {dtype} {array.shape}")
        inner: Array = array[0]
        return inner


def _fits(wanted: int, length: int) -> bool:
    return wanted in (-1, length)


def tensors_by_name(specs: Sequence[TensorSpec], what: str) -> dict[str, TensorSpec]:
    """Inputs or outputs by their names.

    Args:
        what: "input" or "output", for the message.

    Raises:
        UsageError: two of them have the same name.
    """
    named: dict[str, TensorSpec] = {}
    for spec in specs:
        if spec.name in named:
            raise UsageError(
                f"expected a model whose {what}s have different names in Triton, got two {spec.name!r}: export it with "
                f"another name for the stream or output that is called so"
            )
        named[spec.name] = spec
    return named


def output_specs(manifest: Manifest) -> dict[str, TensorSpec]:
    """The outputs by name: those of the model, and then presence, ages and the prediction as JSON.

    Raises:
        UsageError: two outputs would have the same name.
    """
    specs = [TensorSpec(name, "FP32", (spec.size,)) for name, spec in manifest.outputs.items()]
    streams = len(manifest.streams)
    specs += [TensorSpec(PRESENCE, "UINT8", (streams,)), TensorSpec(AGE, "FP32", (streams,))]
    return tensors_by_name([*specs, TensorSpec(PREDICTION, "UINT8", (-1,))], "output")


def answer_tensors(manifest: Manifest, prediction: Prediction, given: Mapping[str, Array] | None) -> dict[str, Array]:
    """The outputs of a prediction by name, with their batch axis.

    What the model gives is NaN where there is no prediction; of classes it is their probabilities. An age is NaN where
    the stream is missing.

    Args:
        given: what the head gave for each group of outputs; None where there is no prediction.

    Example:
        >>> import taemi_edge as te
        >>> with te.load("export/taemi-tiny") as model:
        ...     prediction = model.predict(text="so it is")
        >>> answer = answer_tensors(model.manifest, prediction, None)
        >>> [STATES[code] for code in answer["presence"][0]], answer["intensities"].shape
        (['missing', 'missing', 'live'], (1, 6))
    """
    return {
        **{name: _numbers(spec, None if given is None else given[name]) for name, spec in manifest.outputs.items()},
        PRESENCE: np.array([[STATES.index(prediction.presence[name]) for name in manifest.streams]], np.uint8),
        AGE: np.array([[_or_nan(prediction.age_ms[name]) for name in manifest.streams]], np.float32),
        PREDICTION: np.frombuffer(bytearray(prediction.to_json().encode("utf-8")), np.uint8)[None],
    }


def _numbers(spec: OutputSpec, given: Array | None) -> Array:
    """A group of outputs, float32 (1, n), in memory of its own."""
    if given is None:
        return np.full((1, spec.size), np.nan, np.float32)
    return np.array(spec.values(given)[None], np.float32)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def dlpack_capsule(array: Array) -> Any:
    """An array as a DLPack capsule that whoever takes it has to free, as Triton's Python backend does.

    NumPy's own capsule complains on standard error, with every tensor, when it is taken by the stub of Triton 2.51:
    that marks it by another name than the protocol says.
    """
    capsule = array.__dlpack__()
    ctypes.pythonapi.PyCapsule_SetDestructor(ctypes.py_object(capsule), None)
    return capsule

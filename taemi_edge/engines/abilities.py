"""What a device and its library can compute in. They are asked before anything is built, and so is a user told.

The library is asked for its types, never for its version; the GPU's compute capability (SM) says which types it has.
What is said here of speed is only that there can be none: what is fast is for `--precision auto` to time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from taemi_edge.bundle.precisions import PRECISIONS, Precision
from taemi_edge.engines.compiler import Compiler
from taemi_edge.engines.recipe import TargetRecipe
from taemi_edge.runtime.tensorrt.machine import Machine


class _Need(NamedTuple):
    """What a precision asks of a GPU.

    Attributes:
        sm: the least compute capability.
        found_on: the GPUs that have it, in words.
        instead: what to use where it is missing.
    """

    sm: tuple[int, int]
    found_on: str
    instead: Precision


_NEEDS: Mapping[Precision, _Need] = {
    "bf16": _Need((8, 0), "Ampere, Orin and newer", "fp16"),
    "fp8": _Need((8, 9), "Ada, Hopper, Blackwell, Thor", "int8"),
}


def missing_precisions(target: TargetRecipe, machine: Machine, compiler: Compiler | None) -> dict[Precision, str]:
    """Give the precisions that a target cannot be built in, each with the reason and what to do.

    Args:
        target: the device.
        machine: that builds; of a target that is built ahead of time, the target's compute capability counts.
        compiler: of the target's TensorRT; None for ONNX Runtime, which is asked when it opens a graph.

    Example:
        >>> from taemi_edge.bundle.recipe import load_recipe
        >>> orin = load_recipe("engines", "jetson-agx-orin", TargetRecipe)
        >>> missing_precisions(orin, Machine(architecture="aarch64", gpu="Orin", sm="8.7"), None)
        {}
    """
    if compiler is None:
        return {}
    found = {p: _missing(p, target, machine, compiler) for p in PRECISIONS}
    return {precision: why for precision, why in found.items() if why}


def why_it_is_no_speed(target: TargetRecipe, precision: Precision) -> str:
    """Say why a precision can be tried on a target and gains nothing there; empty where only timing tells.

    >>> from taemi_edge.bundle.recipe import load_recipe
    >>> why_it_is_no_speed(load_recipe("engines", "cpu", TargetRecipe), "fp8")
    "ONNX Runtime's CPU computes it in FP32 and rounds: for parity, no speed"
    """
    if target.is_tensorrt or precision not in _NEEDS:
        return ""
    if target.backend == "onnxruntime-cpu":
        return "ONNX Runtime's CPU computes it in FP32 and rounds: for parity, no speed"
    return "ONNX Runtime's CUDA provider has no kernels that would make it fast"


def _missing(precision: Precision, target: TargetRecipe, machine: Machine, compiler: Compiler) -> str:
    need = _NEEDS.get(precision)
    if need is None:
        return ""
    sm = target.sm if target.ahead_of_time else machine.sm
    if sm and _numbers(sm) < need.sm:
        where = f"--target {target.name} is for" if target.ahead_of_time else f"{machine.gpu or 'this GPU'} has"
        least = f"{need.sm[0]}.{need.sm[1]} or later ({need.found_on})"
        return f"--precision {precision} needs compute capability {least}, {where} {sm}: use {need.instead}"
    if not compiler.has_type(precision):
        return (
            f"--precision {precision} needs a TensorRT with strong typing and {precision.upper()} (10 or later), found "
            f"{compiler.kind} {compiler.version}: use {need.instead}, or a later TensorRT (on a Jetson a later JetPack)"
        )
    return ""


def _numbers(sm: str) -> tuple[int, ...]:
    """The numbers of a compute capability: "12.0" is later than "8.9".

    >>> _numbers("12.0") > _numbers("8.9")
    True
    """
    return tuple(int(digits) for digits in sm.split(".") if digits.isdecimal())

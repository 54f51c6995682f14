"""Loads TensorRT, and PyCUDA, as they are installed.

TensorRT itself, TensorRT-RTX and the latter's bare bindings have one interface. `hasattr` decides what differs between
versions, never a version's number. One process uses one of them.
"""

from __future__ import annotations

import importlib
from typing import Any

from taemi_edge.errors import UsageError

_NAMES = {"tensorrt": ("tensorrt",), "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings")}
_ADVICE = {
    "tensorrt": (
        "on a Jetson make the environment with --system-site-packages, since TensorRT comes with JetPack; "
        "on a server run `pip install tensorrt`"
    ),
    "tensorrt-rtx": "run `pip install 'taemi-edge[rtx]'`",
}


def load_library(kind: str) -> Any:
    """Import TensorRT ("tensorrt") or TensorRT-RTX ("tensorrt-rtx").

    Raises:
        UsageError: it is not installed, or only an empty folder of that name is.
    """
    problems = []
    for name in _NAMES[kind]:
        try:
            module = importlib.import_module(name)
        except (ImportError, OSError) as error:
            problems.append(f"import {name}: {error}")
            continue
        if hasattr(module, "Builder"):
            return module
        problems.append(f"import {name}: the package is empty")
    raise UsageError(f"{kind} cannot be loaded ({problems[0]}): {_ADVICE[kind]}")


def is_strongly_typed(library: Any) -> bool:
    """Whether the graph's own types decide in TensorRT's module; TensorRT 8.6 wants flags instead."""
    flags = library.NetworkDefinitionCreationFlag
    return hasattr(flags, "STRONGLY_TYPED") or not hasattr(library.BuilderFlag, "FP16")


def network_flags(library: Any) -> int:
    """The flags of a network that is typed strongly, where TensorRT's module has that, and has explicit batches."""
    flags = library.NetworkDefinitionCreationFlag
    if hasattr(flags, "STRONGLY_TYPED"):
        return 1 << int(flags.STRONGLY_TYPED)
    return 1 << int(flags.EXPLICIT_BATCH) if hasattr(flags, "EXPLICIT_BATCH") else 0


def quiet_logger(library: Any) -> tuple[Any, list[str]]:
    """A logger for TensorRT that prints nothing, and the list that its errors go into.

    TensorRT's own writes to standard output, where predictions go.
    """
    complaints: list[str] = []

    class Quiet(library.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            library.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (library.ILogger.ERROR, library.ILogger.INTERNAL_ERROR):
                complaints.append(message)
                del complaints[:-20]

    return Quiet(), complaints


def load_cuda() -> Any:
    """PyCUDA's driver module, initialised.

    Raises:
        UsageError: it is not installed, or there is no driver or no GPU.
    """
    try:
        cuda = importlib.import_module("pycuda.driver")
    except (ImportError, OSError) as error:
        raise UsageError(
            f"a GPU is needed and PyCUDA cannot be loaded ({error}): where CUDA is, run `pip install "
            f"'taemi-edge[jetpack6]'` for CUDA 12 or `pip install 'taemi-edge[jetpack7]'` for CUDA 13; else choose "
            f"--target cpu"
        ) from error
    try:
        cuda.init()
        count = cuda.Device.count()
    except cuda.Error as error:
        raise UsageError(
            f"a GPU is needed and CUDA answers {error}: check `nvidia-smi`, or choose --target cpu"
        ) from error
    if not count:
        raise UsageError("a GPU is needed and CUDA finds none: check `nvidia-smi`, or choose --target cpu")
    return cuda

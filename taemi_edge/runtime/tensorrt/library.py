"""Finds out which TensorRT is installed and which machine this is: the GPU, the driver, the Jetson release.

TensorRT itself, TensorRT-RTX and the latter's bare bindings have one interface. `hasattr` decides what differs between
versions, never a version's number. One process uses one of them.
"""

from __future__ import annotations

import importlib
import platform
from pathlib import Path
from typing import Any

from taemi_edge.bundle.values import Frozen
from taemi_edge.errors import UsageError

_NAMES = {"tensorrt": ("tensorrt",), "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings")}
_ADVICE = {
    "tensorrt": (
        "on a Jetson make the environment with --system-site-packages, since TensorRT comes with JetPack; "
        "on a server run `pip install tensorrt`"
    ),
    "tensorrt-rtx": "run `pip install 'taemi-edge[rtx]'`",
}


class Machine(Frozen, frozen=True):
    """The machine that an engine is built for; fields are empty where there is no GPU or no Jetson."""

    architecture: str
    #: The processor's name: what was fastest on one need not be on another.
    processor: str = ""
    gpu: str = ""
    #: Compute capability, such as "8.7".
    sm: str = ""
    driver: str = ""
    cuda: str = ""
    #: The Jetson's release (L4T), such as "R36 (release), REVISION: 4.3".
    l4t: str = ""


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


def this_machine(with_gpu: bool = True) -> Machine:
    """Describe this machine, with the GPU as PyCUDA sees it.

    Args:
        with_gpu: False leaves the GPU out.

    Raises:
        UsageError: `with_gpu`, and there is no PyCUDA, no driver or no GPU.
    """
    architecture, processor, l4t = platform.machine(), _processor(), _l4t()
    if not with_gpu:
        return Machine(architecture=architecture, processor=processor, l4t=l4t)
    cuda = load_cuda()
    device = cuda.Device(0)
    major, minor = device.compute_capability()
    driver = cuda.get_driver_version()
    return Machine(
        architecture=architecture,
        processor=processor,
        gpu=device.name(),
        sm=f"{major}.{minor}",
        driver=f"{_driver_release() or driver}",
        cuda=".".join(map(str, cuda.get_version()[:2])),
        l4t=l4t,
    )


def load_cuda() -> Any:
    """PyCUDA's driver module, initialised.

    Raises:
        UsageError: it is not installed, or there is no driver or no GPU.
    """
    try:
        cuda = importlib.import_module("pycuda.driver")
    except (ImportError, OSError) as error:
        raise UsageError(
            f"a GPU is needed and PyCUDA cannot be loaded ({error}): run `pip install 'taemi-edge[tensorrt]'` where "
            f"CUDA is, or choose --target cpu"
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


def _driver_release() -> str:
    """The driver's own version; empty where /proc does not have it."""
    file = Path("/proc/driver/nvidia/version")
    words = file.read_text(encoding="utf-8").split() if file.is_file() else []
    return next((word for word in words if word.count(".") >= 1 and word[0].isdigit()), "")


def _processor() -> str:
    """The name in /proc/cpuinfo; empty where it has none, as on most Arm devices."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _l4t() -> str:
    file = Path("/etc/nv_tegra_release")
    if not file.is_file():
        return ""
    first = file.read_text(encoding="utf-8").splitlines()[0]
    return ", ".join(field.strip(" #") for field in first.split(",")[:2])

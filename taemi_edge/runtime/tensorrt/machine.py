"""Says which machine this is, and whether engines that were built on another one may run here.

All Jetson Orin modules call their GPU "Orin" and have compute capability 8.7, from the Nano with 8 multiprocessors to
the AGX with 16. TensorRT chose the kernels of an engine by their times on one of them. So a machine is known by the
number of multiprocessors, the memory and the model that its firmware names, too. Power modes of a Jetson switch
multiprocessors off: one module is two devices then.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from taemi_edge.bundle.values import Frozen
from taemi_edge.errors import printable
from taemi_edge.runtime.tensorrt.library import load_cuda

#: The sizes that memory is sold in, in GiB. What a GPU reports is less: the kernel keeps some of it, more or less with
#: each release. So it is rounded up to the next of them (an Orin Nano with 8 GB reports 7.4).
_MEMORY_SIZES_GB = (
    2,
    4,
    6,
    8,
    10,
    12,
    16,
    20,
    24,
    32,
    40,
    48,
    64,
    80,
    96,
    128,
    144,
    192,
    256,
    288,
    384,
    512,
    768,
    1024,
)
#: How much of a file about the machine is read, and how long a name in it may be: none is nearly as long.
_MOST_BYTES, _MOST_NAME = 1 << 20, 100
#: What decides whether an engine may run, in the order in which people read it. The rest of a machine (driver, CUDA,
#: L4T, processor) decides what is found in the engine cache.
_DECIDING = ("gpu", "architecture", "sm", "sm_count", "memory_gb", "model")


class Machine(Frozen, frozen=True):
    """The machine that an engine is built for; fields are empty where there is no GPU, no Jetson or no answer."""

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
    #: How many multiprocessors the GPU has, such as "16".
    sm_count: str = ""
    #: The GPU's memory, rounded up to a size that is sold: it does not change with what the kernel reserves.
    memory_gb: str = ""
    #: What the firmware calls the machine (its device tree), such as "NVIDIA Jetson AGX Orin Developer Kit".
    model: str = ""
    #: Of a machine that runs engines on its processor: what that can do, such as "avx2 avx512_vnni".
    features: str = ""
    #: And whether its integer kernels add up: "exact" or "saturating" (`taemi_edge.runtime.processor`).
    integer_sums: str = ""


def this_machine(with_gpu: bool = True, root: Path = Path("/")) -> Machine:
    """Describe this machine, with the GPU as PyCUDA sees it.

    Args:
        with_gpu: False leaves the GPU out.
        root: the folder that stands for "/".

    Raises:
        UsageError: `with_gpu`, and there is no PyCUDA, no driver or no GPU.
    """
    host = {
        "architecture": platform.machine(),
        "processor": _processor(root),
        "l4t": l4t_release(root),
        "model": device_model(root),
    }
    if not with_gpu:
        return Machine(**host)
    cuda = load_cuda()
    device = cuda.Device(0)
    major, minor = device.compute_capability()
    return Machine(
        **host,
        gpu=device.name(),
        sm=f"{major}.{minor}",
        driver=_driver_release(root) or str(cuda.get_driver_version()),
        cuda=".".join(map(str, cuda.get_version()[:2])),
        sm_count=str(device.get_attribute(cuda.device_attribute.MULTIPROCESSOR_COUNT)),
        memory_gb=sold_memory_gb(int(device.total_memory())),
    )


def is_same_device(built_on: Mapping[str, str], machine: Machine) -> bool:
    """Whether engines that were built on one device may run on another, as far as the two are known.

    What one of them does not know is not compared: older manifests name the GPU and its compute capability alone, and a
    container may hide the device tree.

    Args:
        built_on: the machine in the record of the engines.
        machine: where they shall run.

    Example:
        >>> nano = Machine(architecture="aarch64", gpu="Orin", sm="8.7", sm_count="8", memory_gb="8")
        >>> is_same_device({"gpu": "Orin", "sm": "8.7", "sm_count": "16", "memory_gb": "64"}, nano)
        False
        >>> is_same_device({"gpu": "Orin", "sm": "8.7"}, nano)
        True
    """
    return _agree(built_on, machine, _DECIDING)


def is_same_machine(built_on: Mapping[str, str], machine: Machine) -> bool:
    """Whether a build on this machine would give the same engines: driver, CUDA and release are compared, too."""
    return _agree(built_on, machine, machine.__struct_fields__)


def described(machine: Machine | Mapping[str, str]) -> str:
    """A device in words, by which two of them can be told apart.

    Args:
        machine: one, or the machine in the record of engines, which anybody may have written.

    Example:
        >>> described(Machine(architecture="aarch64", gpu="Orin", sm="8.7", sm_count="8", memory_gb="8"))
        'Orin (aarch64, compute capability 8.7, 8 SMs, 8 GB)'
        >>> described({"architecture": "x86_64"})
        'a machine without a GPU (x86_64)'
    """
    given: Mapping[str, str] = msgspec.to_builtins(machine) if isinstance(machine, Machine) else machine
    known = {name: _name(given.get(name, "")) for name in _DECIDING}
    forms = {"sm": "compute capability {}", "sm_count": "{} SMs", "memory_gb": "{} GB"}
    details = [forms.get(name, "{}").format(known[name]) for name in _DECIDING[1:] if known[name]]
    gpu = known["gpu"] or "a machine without a GPU"
    return f"{gpu} ({', '.join(details)})" if details else gpu


def way_back(built_on: Mapping[str, str], machine: Machine) -> str:
    """What can be done where engines of another device were opened; its first word continues a sentence."""
    rebuild = "build it on this device with `taemi-edge build-engine`, or pass --rebuild"
    others = [name for name in _DECIDING if name != "sm_count"]
    if not machine.model or _agree(built_on, machine, ["sm_count"]) or not _agree(built_on, machine, others):
        return rebuild
    return f"{rebuild}, or go back to the power mode that they were built in (nvpmodel)"


def sold_memory_gb(memory_bytes: int) -> str:
    """Round a GPU's memory up to a size that is sold; empty where it has none.

    >>> sold_memory_gb(7620 << 20), sold_memory_gb(62800 << 20), sold_memory_gb(81079 << 20), sold_memory_gb(0)
    ('8', '64', '80', '')
    """
    if memory_bytes <= 0:
        return ""
    fitting = (size for size in _MEMORY_SIZES_GB if memory_bytes <= size << 30)
    return str(next(fitting, -(-memory_bytes // (1 << 30))))


def device_model(root: Path = Path("/")) -> str:
    """What the device tree calls this machine; empty where there is none, as on servers and in most containers."""
    return _name(_content(root / "proc/device-tree/model").split("\0")[0])


def l4t_release(root: Path = Path("/")) -> str:
    """The Jetson's release, such as "R36 (release), REVISION: 4.3"; empty elsewhere."""
    first = _content(root / "etc/nv_tegra_release").partition("\n")[0]
    return _name(", ".join(field.strip(" #") for field in first.split(",")[:2]))


def _agree(built_on: Mapping[str, str], machine: Machine, names: Iterable[str]) -> bool:
    found: dict[str, str] = msgspec.to_builtins(machine)
    return not any(built_on.get(name) and found[name] and built_on[name] != found[name] for name in names)


def _driver_release(root: Path) -> str:
    """The driver's own version; empty where /proc does not have it."""
    words = _content(root / "proc/driver/nvidia/version").split()
    return _name(next((word for word in words if re.fullmatch(r"\d+(\.\d+)+", word)), ""))


def _processor(root: Path) -> str:
    """The name in /proc/cpuinfo; empty where it has none, as on most Arm devices."""
    lines = _content(root / "proc/cpuinfo").splitlines()
    return _name(next((line.partition(":")[2] for line in lines if line.startswith("model name")), ""))


def _content(file: Path) -> str:
    """What a file about the machine says; empty where there is none."""
    try:
        if not file.is_file():  # a pipe would be waited for
            return ""
        with file.open("rb") as stream:
            return stream.read(_MOST_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ""


def _name(text: str) -> str:
    """A name as it may stand in a message and in a manifest, whatever wrote it."""
    return printable(text.strip()[:_MOST_NAME])

"""TensorRT's timing cache: the times of the kernels that it tried, kept from one build to the next.

It makes builds faster and changes nothing else. So whatever is wrong with a file of it, the build goes on: one that was
cut or written by somebody else never reaches TensorRT, and one that TensorRT refuses is replaced.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taemi_edge.engines.cache import EngineCache, key_of
from taemi_edge.errors import first_line
from taemi_edge.runtime.tensorrt.machine import Machine

if TYPE_CHECKING:
    import tensorrt as trt

log = logging.getLogger("taemi_edge.engines")

#: What times depend on, beside the library. The release and the processor change none.
_FIELDS = ("gpu", "sm", "sm_count", "memory_gb", "model", "cuda", "driver")


@dataclass(frozen=True)
class TimingFile:
    """One file of times in an engine cache.

    Attributes:
        cache: in which it lies.
        name: of the file; it says which library, GPU, CUDA and driver the times are of.
    """

    cache: EngineCache
    name: str

    def read(self) -> bytes:
        """Give the times; empty where there are none yet, or where the file is not what was written."""
        content = self.cache.read_times(self.name)
        if content is None and self.cache.has_times(self.name):
            log.warning(
                "the timing cache %s is cut or not ours: it is replaced, and this build measures all kernels", self.name
            )
        return content or b""

    def write(self, content: bytes) -> None:
        """Keep the times. Where the folder cannot be written they are not kept, and the cache says so."""
        self.cache.write_times(self.name, content)


def timing_file(cache: EngineCache, library: str, machine: Machine) -> TimingFile:
    """Name the file of times for a library on a machine.

    Args:
        cache: where it lies.
        library: with its version, such as "tensorrt 10.3.0".
        machine: the GPU, its size, CUDA and the driver are in the name.

    Example:
        >>> orin = Machine(architecture="aarch64", gpu="Orin", sm="8.7", sm_count="8", cuda="12.6", driver="540.4.0")
        >>> timing_file(EngineCache(), "tensorrt 10.3.0", orin).name[:55]
        'tensorrt-10.3.0-Orin-sm8.7-8sms-cuda12.6-driver540.4.0-'
    """
    parts = {
        "library": library,
        "gpu": machine.gpu or "any",
        "sm": f"sm{machine.sm or '-any'}",
        "sms": f"{machine.sm_count or 'any'}sms",
        "cuda": f"cuda{machine.cuda or '-any'}",
        "driver": f"driver{machine.driver or '-any'}",
    }
    words = "-".join(re.sub(r"[^A-Za-z0-9.]+", "-", part) for part in parts.values())
    digest = key_of(library=library, **{name: getattr(machine, name) for name in _FIELDS})
    return TimingFile(cache, f"{words[:150]}-{digest[:12]}.bin")  # names that become alike still differ in the digest


def open_times(config: trt.IBuilderConfig, file: TimingFile | None) -> trt.ITimingCache | None:
    """Give a builder the times that are kept, or an empty cache where they do not fit.

    Args:
        config: of the build.
        file: None for no cache.

    Returns:
        The cache that the build fills; None where the library has none or takes none.
    """
    if file is None or not hasattr(config, "create_timing_cache"):
        return None
    if hasattr(config, "set_compute_capability"):
        return None  # TensorRT-RTX has the calls, which do nothing there, and warns of them
    kept = file.read()
    if kept and (cache := _taken(config, kept, f"the timing cache {file.name} does not fit and is replaced")):
        return cache
    return _taken(config, b"", "this build keeps no times")


def keep_times(cache: trt.ITimingCache | None, file: TimingFile | None) -> None:
    """Write what a build measured.

    Args:
        cache: what `open_times` gave.
        file: where it is kept.
    """
    if cache is None or file is None:
        return
    try:
        content = bytes(cache.serialize())
    except Exception as error:  # noqa: BLE001 - whatever the library throws here, the engine is built
        log.warning("this build keeps no times: TensorRT does not give them (%s)", first_line(error))
        return
    file.write(content)


def _taken(config: trt.IBuilderConfig, content: bytes, otherwise: str) -> trt.ITimingCache | None:
    """Hand times to a builder; None, with a line in the log, where it refuses them in any way."""
    try:
        cache: trt.ITimingCache | None = config.create_timing_cache(content)
        taken: object = cache is not None and config.set_timing_cache(cache, ignore_mismatch=False)
        reason = "TensorRT refuses it"
    except Exception as error:  # noqa: BLE001 - versions differ in what they throw, and the build can do without
        taken, reason = False, first_line(error)
    if taken:
        return cache
    log.warning("%s: %s", otherwise, reason)
    return None

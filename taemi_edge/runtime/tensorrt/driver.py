"""Finds cuda-bindings, through which graphs are captured, and says why there is none that fits this device.

PyCUDA has no graphs. Its streams can be captured through cuda-bindings, whose version follows CUDA's: one that is made
for a newer CUDA than the driver knows cannot be used. Whatever it raises is a reason to run call by call.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from taemi_edge.errors import BackendError, first_line

#: Where cuda-bindings has CUDA's driver; older versions have the second alone.
_NAMES = ("cuda.bindings.driver", "cuda.cuda")
_ADVICE = (
    "install the cuda-bindings of this device's CUDA, `pip install 'taemi-edge[jetpack6]'` for CUDA 12 or "
    "`pip install 'taemi-edge[jetpack7]'` for CUDA 13"
)
_captures = threading.local()


class DriverCallError(BackendError):
    """CUDA refused a call through cuda-bindings: the device may be lost, or a capture alone has failed."""


def load_driver() -> tuple[Any, str]:
    """cuda-bindings' driver module and "", or None and why there is none that can be used.

    It is asked for the version of the driver, since cuda-bindings looks for CUDA when it is first called.
    """
    problems = []
    for name in _NAMES:
        try:
            driver = importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - what a package of another CUDA raises is not known beforehand
            problems.append(first_line(error))
            continue
        problem = _misfit(driver)
        return (None, problem) if problem else (driver, "")
    return None, f"cuda-bindings cannot be loaded ({problems[0]}): {_ADVICE}"


def checked(driver: Any, doing: str, answer: tuple[Any, ...]) -> Any:
    """Return the value of cuda-bindings' answer (status, value...).

    Raises:
        DriverCallError: the status says that the call failed.
    """
    status, *values = answer
    if int(status) != int(driver.CUresult.CUDA_SUCCESS):
        _, name = driver.cuGetErrorName(status)
        raise DriverCallError(f"CUDA failed while {doing}: {name.decode() if name else status}")
    return values[0] if values else None


@contextmanager
def capture() -> Iterator[None]:
    """Mark that this thread captures what it puts on streams: nothing may wait for the GPU meanwhile."""
    _captures.under_way = True
    try:
        yield
    finally:
        _captures.under_way = False


def is_capturing() -> bool:
    """Whether this thread captures what it puts on streams."""
    return getattr(_captures, "under_way", False)


def _misfit(driver: Any) -> str:
    """Why cuda-bindings cannot be used with this device's driver; "" where it can."""
    try:
        checked(driver, "starting CUDA", driver.cuInit(0))
        known = int(checked(driver, "reading the driver's version", driver.cuDriverGetVersion()))
        made_for = int(driver.CUDA_VERSION)
    except Exception as error:  # noqa: BLE001 - it raises errors of its own where the driver lacks what it wants
        return f"cuda-bindings cannot use the driver of this device ({first_line(error)}): {_ADVICE}"
    if made_for // 1000 <= known // 1000:
        return ""
    return (
        f"cuda-bindings is made for CUDA {_version(made_for)} and the driver of this device knows CUDA "
        f"{_version(known)}: run `pip install 'cuda-bindings<{known // 1000 + 1}'`"
    )


def _version(number: int) -> str:
    """CUDA's version as it is written: 12060 is 12.6."""
    return f"{number // 1000}.{number % 1000 // 10}"

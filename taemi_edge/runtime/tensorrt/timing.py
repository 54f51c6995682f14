"""Times moments on CUDA streams by name, also inside captured graphs.

A mark is a CUDA event that is recorded under a name; the time between two marks is how long the GPU took.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from taemi_edge.runtime.tensorrt.driver import checked

if TYPE_CHECKING:
    from taemi_edge.runtime.tensorrt.gpu import Gpu


class DriverMarks:
    """Marks through cuda-bindings, which also work inside captured graphs.

    Args:
        driver: cuda-bindings' driver module.
        names: the marks that will be recorded.
    """

    def __init__(self, driver: Any, names: tuple[str, ...]) -> None:
        self._driver = driver
        # cuda-bindings of CUDA 13 calls what CUDA 12.8 named _v2, under either name
        self._elapsed = getattr(driver, "cuEventElapsedTime", None) or driver.cuEventElapsedTime_v2
        self._external = int(driver.CUevent_record_flags.CU_EVENT_RECORD_EXTERNAL)
        self._events = {name: checked(driver, "making an event", driver.cuEventCreate(0)) for name in names}

    def record(self, name: str, stream: Any, capturing: bool) -> None:
        """Record the moment at which the stream reaches this call.

        Args:
            capturing: whether the stream is being captured: the mark must be external to the graph then.
        """
        flags = self._external if capturing else 0
        handle = self._driver.CUstream(stream.handle)
        answer = self._driver.cuEventRecordWithFlags(self._events[name], handle, flags)
        checked(self._driver, "recording an event", answer)

    def ms(self, first: str, then: str) -> float:
        """Milliseconds between two marks that the GPU has passed."""
        answer = self._elapsed(self._events[first], self._events[then])
        return float(checked(self._driver, "reading an event", answer))

    def close(self) -> None:
        """Destroy the events."""
        for event in self._events.values():
            self._driver.cuEventDestroy(event)
        self._events.clear()


class PycudaMarks:
    """The same marks through PyCUDA, where nothing is captured."""

    def __init__(self, cuda: Any, names: tuple[str, ...]) -> None:
        self._events = {name: cuda.Event() for name in names}

    def record(self, name: str, stream: Any, capturing: bool) -> None:
        """Record the moment at which the stream reaches this call."""
        self._events[name].record(stream)

    def ms(self, first: str, then: str) -> float:
        """Milliseconds between two marks that the GPU has passed."""
        return float(self._events[then].time_since(self._events[first]))

    def close(self) -> None:
        """Drop the events."""
        self._events.clear()


#: Either kind of marks.
Marks = DriverMarks | PycudaMarks


def new_marks(gpu: Gpu, driver: Any, names: tuple[str, ...]) -> Marks:
    """Marks through cuda-bindings where it is installed, else through PyCUDA.

    Args:
        driver: cuda-bindings' driver module, or None.
    """
    with gpu.errors("making events"):
        return PycudaMarks(gpu.cuda, names) if driver is None else DriverMarks(driver, names)


def part_marks(gpu: Gpu, driver: Any, parts: Iterable[str]) -> Marks:
    """Marks for a whole call, "begin" and "end", and for each part of it, such as "fusion begin"."""
    return new_marks(gpu, driver, ("begin", "end", *(f"{part} {edge}" for part in parts for edge in ("begin", "end"))))

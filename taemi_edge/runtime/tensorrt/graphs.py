"""Work on CUDA streams in, a graph that replays it out: captured through cuda-bindings on PyCUDA's streams.

PyCUDA has no graphs. Where cuda-bindings is not installed everything runs as well, call by call; `load_driver` says
why it is not there.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from taemi_edge.errors import DeviceLostError


def load_driver() -> tuple[Any, str]:
    """cuda-bindings' driver module and "", or None and why there is none."""
    problems = []
    for name in ("cuda.bindings.driver", "cuda.cuda"):
        try:
            return importlib.import_module(name), ""
        except (ImportError, OSError) as error:
            problems.append(str(error))
    return None, f"cuda-bindings cannot be loaded ({problems[0]}): run `pip install 'taemi-edge[tensorrt]'`"


class CapturedGraph:
    """What was captured, ready to be replayed on the same stream."""

    def __init__(self, driver: Any, stream: Any, enqueue: Callable[[], None]) -> None:
        """Capture what `enqueue` puts on the stream, and on others that it joins with events.

        An exception from it, Ctrl-C included, ends the capture and leaves the stream as it was.

        Raises:
            DeviceLostError: CUDA refuses.
        """
        self._driver, self._stream = driver, driver.CUstream(stream.handle)
        self._graph = self._executable = None
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        try:
            self._check("beginning a capture", driver.cuStreamBeginCapture(self._stream, mode))
            enqueue()
        except BaseException:
            _, graph = driver.cuStreamEndCapture(self._stream)
            if graph is not None and int(graph):
                driver.cuGraphDestroy(graph)
            raise
        self._graph = self._check("ending a capture", driver.cuStreamEndCapture(self._stream))
        try:
            self._executable = self._check("making a graph", driver.cuGraphInstantiate(self._graph, 0))
            self._check("loading a graph", driver.cuGraphUpload(self._executable, self._stream))
        except BaseException:
            self.close()
            raise
        self._launch = driver.cuGraphLaunch

    def launch(self) -> None:
        """Replay it; nothing waits."""
        status = self._launch(self._executable, self._stream)
        if int(status[0]):
            self._check("replaying a graph", status)

    def close(self) -> None:
        """Destroy it; a device that is lost has done so already."""
        if self._executable is not None:
            self._driver.cuGraphExecDestroy(self._executable)
        if self._graph is not None:
            self._driver.cuGraphDestroy(self._graph)
        self._executable = self._graph = None

    def _check(self, doing: str, answer: tuple[Any, ...]) -> Any:
        return _checked(self._driver, doing, answer)


class DriverMarks:
    """Moments on streams, by name, that are timed inside graphs too."""

    def __init__(self, driver: Any, names: tuple[str, ...]) -> None:
        self._driver = driver
        self._external = int(driver.CUevent_record_flags.CU_EVENT_RECORD_EXTERNAL)
        self._events = {name: _checked(driver, "making an event", driver.cuEventCreate(0)) for name in names}

    def record(self, name: str, stream: Any, capturing: bool) -> None:
        """Note the moment at which the stream comes by."""
        flags = self._external if capturing else 0
        handle = self._driver.CUstream(stream.handle)
        answer = self._driver.cuEventRecordWithFlags(self._events[name], handle, flags)
        _checked(self._driver, "recording an event", answer)

    def ms(self, first: str, then: str) -> float:
        """Milliseconds between two moments that have passed."""
        answer = self._driver.cuEventElapsedTime(self._events[first], self._events[then])
        return float(_checked(self._driver, "reading an event", answer))

    def close(self) -> None:
        for event in self._events.values():
            self._driver.cuEventDestroy(event)
        self._events.clear()


class PycudaMarks:
    """The same through PyCUDA, where nothing is captured."""

    def __init__(self, cuda: Any, names: tuple[str, ...]) -> None:
        self._events = {name: cuda.Event() for name in names}

    def record(self, name: str, stream: Any, capturing: bool) -> None:
        self._events[name].record(stream)

    def ms(self, first: str, then: str) -> float:
        return float(self._events[then].time_since(self._events[first]))

    def close(self) -> None:
        self._events.clear()


def _checked(driver: Any, doing: str, answer: tuple[Any, ...]) -> Any:
    """The value of cuda-bindings' (status, value...); its status as an error of ours."""
    status, *values = answer
    if int(status) != int(driver.CUresult.CUDA_SUCCESS):
        _, name = driver.cuGetErrorName(status)
        raise DeviceLostError(f"the GPU was lost while {doing}: {name.decode() if name else status}")
    return values[0] if values else None

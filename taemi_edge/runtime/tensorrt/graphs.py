"""Captures what is put on CUDA streams as a graph, and replays it: one call in place of dozens.

PyCUDA has no graphs, so that they are captured through cuda-bindings on PyCUDA's streams. Where cuda-bindings is not
installed everything runs as well, call by call; `load_driver` says why it cannot be loaded.
"""

from __future__ import annotations

import importlib
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from taemi_edge.errors import DeviceLostError
from taemi_edge.runtime.tensorrt.calls import EncoderCase, GraphCase, HeadCase

if TYPE_CHECKING:
    from taemi_edge.runtime.tensorrt.gpu import Gpu

#: How many graphs a cache keeps. The number of cases grows with that of streams; the usual ones are few.
MAX_GRAPHS = 96
#: How many cases that came up once are remembered.
_MOST_NOTED = 4096


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
    """A sequence of calls that was captured on a stream, ready to be replayed on it.

    Args:
        driver: cuda-bindings' driver module.
        stream: a PyCUDA stream.
        enqueue: puts the calls on the stream.
    """

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
        """Replay the calls; nothing waits."""
        status = self._launch(self._executable, self._stream)
        if int(status[0]):
            self._check("replaying a graph", status)

    def close(self) -> None:
        """Destroy the graph; CUDA has already done so where the device is lost."""
        if self._executable is not None:
            self._driver.cuGraphExecDestroy(self._executable)
        if self._graph is not None:
            self._driver.cuGraphDestroy(self._graph)
        self._executable = self._graph = None

    def _check(self, doing: str, answer: tuple[Any, ...]) -> Any:
        return checked(self._driver, doing, answer)


class GraphCache:
    """The captured graphs of an executor, one for each case that came up twice.

    Args:
        driver: cuda-bindings' driver module; None captures nothing.
        most: how many graphs are kept; beyond them the one that was used least recently is destroyed.
    """

    def __init__(self, driver: Any, gpu: Gpu, most: int = MAX_GRAPHS) -> None:
        self._driver, self._gpu, self._most = driver, gpu, most
        self._graphs: OrderedDict[GraphCase, CapturedGraph] = OrderedDict()
        self._noted: OrderedDict[GraphCase, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._graphs)

    def find(self, case: GraphCase, enqueue: Callable[[], None]) -> CapturedGraph | None:
        """The graph of a case, captured now if the case came up before; None where its calls must be launched.

        Args:
            enqueue: puts the calls of the case on the GPU's stream.

        Raises:
            DeviceLostError: CUDA refuses.
        """
        graph = self._graphs.get(case)
        if graph is None and case in self._noted and self._driver is not None:
            with self._gpu.errors("capturing a graph"):
                graph = CapturedGraph(self._driver, self._gpu.stream, enqueue)
            while len(self._graphs) >= self._most:
                self._graphs.popitem(last=False)[1].close()
            self._graphs[case] = graph
        if graph is not None:
            self._graphs.move_to_end(case)
        return graph

    def note(self, case: GraphCase) -> None:
        """Remember that a case came up: a case that comes up once more is worth a graph."""
        self._noted[case] = None
        self._noted.move_to_end(case)
        if len(self._noted) > _MOST_NOTED:
            self._noted.popitem(last=False)

    def forget(self, shape: EncoderCase | HeadCase) -> None:
        """Destroy the graphs that use calls of a shape, whose execution context is about to go.

        A new context must run once before it is captured, so it is forgotten as well that their cases came up.
        """
        for case in [case for case in self._graphs if case.uses(shape)]:
            self._graphs.pop(case).close()
        for case in [case for case in self._noted if case.uses(shape)]:
            del self._noted[case]

    def close(self) -> None:
        """Destroy all graphs."""
        for graph in self._graphs.values():
            graph.close()
        self._graphs.clear()


def checked(driver: Any, doing: str, answer: tuple[Any, ...]) -> Any:
    """Return the value of cuda-bindings' answer (status, value...).

    Raises:
        DeviceLostError: the status says that the call failed.
    """
    status, *values = answer
    if int(status) != int(driver.CUresult.CUDA_SUCCESS):
        _, name = driver.cuGetErrorName(status)
        raise DeviceLostError(f"the GPU was lost while {doing}: {name.decode() if name else status}")
    return values[0] if values else None

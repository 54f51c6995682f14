"""Captures what is put on CUDA streams as a graph, and replays it: one call in place of dozens.

Graphs are captured through cuda-bindings on PyCUDA's streams. Where cuda-bindings is not installed or does not fit,
and where a capture fails, the same calls are launched one by one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from taemi_edge.errors import BackendError, DeviceLostError, first_line
from taemi_edge.runtime.tensorrt.calls import EncoderCase, GraphCase, HeadCase
from taemi_edge.runtime.tensorrt.driver import capture, checked, load_driver
from taemi_edge.runtime.tensorrt.timing import DriverMarks

if TYPE_CHECKING:
    from taemi_edge.runtime.tensorrt.gpu import Gpu

#: How many graphs a cache keeps, and as many again of cases that are timed: of those that are timed now and then, none
#: takes the place of one that is not. The number of cases grows with that of streams; the usual ones are few.
MAX_GRAPHS = 96
#: How many cases that came up once, or that cannot be captured, are remembered.
_MOST_NOTED = 4096


def open_driver(gpu: Gpu) -> tuple[Any, str]:
    """cuda-bindings' driver module and "", or None and why nothing is captured on this GPU.

    A graph of two marks is captured and replayed, so that what does not work here is found when an executor is opened.

    Raises:
        DeviceLostError: the GPU is lost.
    """
    driver, problem = load_driver()
    if driver is None:
        return None, problem
    try:
        _replay_marks(driver, gpu)
    except Exception as error:  # noqa: BLE001 - cuda-bindings raises errors of its own where the driver lacks a function
        gpu.require_alive("trying a captured graph")
        return None, f"a captured graph does not run on this device ({first_line(error)})"
    return driver, ""


def _replay_marks(driver: Any, gpu: Gpu) -> None:
    """Capture two marks, replay them, and read the time between them."""
    marks = DriverMarks(driver, ("begin", "end"))
    try:

        def enqueue() -> None:
            marks.record("begin", gpu.stream, capturing=True)
            marks.record("end", gpu.stream, capturing=True)

        graph = CapturedGraph(driver, gpu.stream, enqueue)
        try:
            graph.launch()
            gpu.stream.synchronize()
            marks.ms("begin", "end")
        finally:
            graph.close()
    finally:
        marks.close()


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
            DriverCallError: CUDA refuses.
        """
        self._driver, self._stream = driver, driver.CUstream(stream.handle)
        self._graph = self._executable = None
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        try:
            self._check("beginning a capture", driver.cuStreamBeginCapture(self._stream, mode))
            with capture():
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


def try_capture(driver: Any, gpu: Gpu, enqueue: Callable[[], None]) -> tuple[CapturedGraph | None, str]:
    """Capture calls and "", or None and why only the capture failed: the GPU is there, and can be given the calls.

    Args:
        driver: cuda-bindings' driver module.
        enqueue: puts the calls on the GPU's stream.

    Raises:
        DeviceLostError: the GPU is lost.
    """
    try:
        return CapturedGraph(driver, gpu.stream, enqueue), ""
    except DeviceLostError:
        raise
    except (BackendError, RuntimeError, gpu.cuda.Error) as error:
        gpu.require_alive("capturing a graph")
        return None, first_line(error)


class GraphCache:
    """The captured graphs of an executor, one for each case that came up twice, timed or not.

    Args:
        driver: cuda-bindings' driver module; None captures nothing.
        most: how many graphs are kept of cases that are timed, and of others; beyond them the one that was used least
            recently is destroyed.

    Attributes:
        uncapturable: the cases whose capture failed, and why: they are launched call by call from then on.
    """

    def __init__(self, driver: Any, gpu: Gpu, most: int = MAX_GRAPHS) -> None:
        self._driver, self._gpu, self._most = driver, gpu, most
        #: Of the cases that are not timed, and of those that are.
        self._graphs: tuple[OrderedDict[GraphCase, CapturedGraph], ...] = (OrderedDict(), OrderedDict())
        #: None of them is timed.
        self._noted: OrderedDict[GraphCase, None] = OrderedDict()
        self.uncapturable: OrderedDict[GraphCase, str] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._graphs))

    def find(self, case: GraphCase, enqueue: Callable[[], None]) -> CapturedGraph | None:
        """The graph of a case, captured now if the case came up before; None where its calls must be launched.

        Args:
            enqueue: puts the calls of the case on the GPU's stream.

        Raises:
            DeviceLostError: the GPU is lost.
        """
        graphs = self._graphs[case.timed]
        graph = graphs.get(case)
        if graph is None and self._driver is not None and case.untimed in self._noted and case not in self.uncapturable:
            graph = self._captured(case, enqueue)
        if graph is not None:
            graphs.move_to_end(case)
        return graph

    def note(self, case: GraphCase) -> None:
        """Remember that a case came up: a case that comes up once more, timed or not, is worth a graph."""
        self._noted[case.untimed] = None
        self._noted.move_to_end(case.untimed)
        if len(self._noted) > _MOST_NOTED:
            self._noted.popitem(last=False)

    def _captured(self, case: GraphCase, enqueue: Callable[[], None]) -> CapturedGraph | None:
        """Capture a case; None where only the capture failed and the GPU is there."""
        graph, problem = try_capture(self._driver, self._gpu, enqueue)
        if graph is None:
            self.uncapturable[case] = problem
            if len(self.uncapturable) > _MOST_NOTED:
                self.uncapturable.popitem(last=False)
            return None
        graphs = self._graphs[case.timed]
        while len(graphs) >= self._most:
            graphs.popitem(last=False)[1].close()
        graphs[case] = graph
        return graph

    def forget(self, shape: EncoderCase | HeadCase) -> None:
        """Destroy the graphs that use calls of a shape, whose execution context is about to go.

        A new context must run once before it is captured, so it is forgotten as well that their cases came up.
        """
        for graphs in self._graphs:
            for case in [case for case in graphs if case.uses(shape)]:
                graphs.pop(case).close()
        for case in [case for case in self._noted if case.uses(shape)]:
            del self._noted[case]

    def close(self) -> None:
        """Destroy all graphs."""
        for graphs in self._graphs:
            for graph in graphs.values():
                graph.close()
            graphs.clear()

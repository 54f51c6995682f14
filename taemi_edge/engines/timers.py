"""Timers of candidates: each runs one candidate on the shapes of ordinary hops and says how long the device took.

An engine of TensorRT is timed as the runtime runs it: from inputs that lie on the device already, as a captured CUDA
graph where that is possible, and by events on the device. A graph of ONNX Runtime is timed by runs of its session.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Protocol

import numpy as np

from taemi_edge.bundle.precisions import Precision
from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.values import Array, PartSpec
from taemi_edge.engines.asked_shapes import Shapes
from taemi_edge.engines.part_builder import BuiltPart
from taemi_edge.runtime.sessions import Session

#: One feed of a part for each shape: its inputs by name.
Feeds = Sequence[Mapping[str, Array]]


class Timer(Protocol):
    """One candidate that can be timed."""

    @property
    def how(self) -> str:
        """How it was timed, in words."""

    def run_ms(self) -> float:
        """Run each shape once, and give the mean of their times in milliseconds."""


def stretched(shapes: Shapes, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Inputs of the wanted shapes that repeat those of a golden feed; masks let every step count.

    Args:
        shapes: of the inputs, by name.
        feeds: a golden feed of the part.

    Example:
        >>> golden = {"ids": np.array([[7, 8]]), "mask": np.array([[1, 0]])}
        >>> {name: value.tolist() for name, value in stretched({"ids": (2, 3), "mask": (2, 3)}, golden).items()}
        {'ids': [[7, 8, 7], [7, 8, 7]], 'mask': [[1, 1, 1], [1, 1, 1]]}
    """
    masks = {"mask", *(f"{name}_mask" for name in feeds)}
    found = {}
    for name, shape in shapes.items():
        value = feeds[name]
        repeated = value[np.ix_(*(np.arange(n) % size for n, size in zip(shape, value.shape, strict=True)))]
        found[name] = np.ones_like(repeated) if name in masks else np.ascontiguousarray(repeated)
    return found


@contextmanager
def engine_timers(
    backend: str, manifest: Manifest, built: Sequence[BuiltPart], feeds: Feeds
) -> Iterator[dict[Precision, Timer]]:
    """Open the engines of one part for timing; they are closed at the end.

    Args:
        backend: TensorRT's name, as targets have it.
        built: the candidates, one a precision.
        feeds: what they are timed on.
    """
    from taemi_edge.runtime.tensorrt.gpu import Gpu
    from taemi_edge.runtime.tensorrt.graphs import open_driver
    from taemi_edge.runtime.tensorrt.library import load_library

    with ExitStack() as stack:
        gpu = stack.enter_context(Gpu(load_library(backend)))
        driver, why_uncaptured = open_driver(gpu)
        timers: dict[Precision, Timer] = {}
        for candidate in built:
            timer = EngineTimer(gpu, driver, candidate, manifest.parts[candidate.part], feeds)
            stack.callback(timer.close)
            timer.why_uncaptured = why_uncaptured
            timers[candidate.precision] = timer
        yield timers


class SessionTimer:
    """Times the runs of a session, host and all."""

    def __init__(self, session: Session, feeds: Feeds) -> None:
        self._session, self._feeds = session, feeds

    @property
    def how(self) -> str:
        """Not captured: the host is timed as well."""
        return "by runs of the session"

    def run_ms(self) -> float:
        times_ms = []
        for feed in self._feeds:
            started = time.perf_counter()
            self._session.run(feed)
            times_ms.append((time.perf_counter() - started) * 1e3)
        return statistics.fmean(times_ms)


class EngineTimer:
    """Times an engine on inputs that were copied to the device beforehand, from event to event.

    Args:
        gpu: where it runs.
        driver: cuda-bindings' driver module; None runs every shape uncaptured.
        candidate: the engine.
        spec: the part's inputs and outputs.
        feeds: what it is timed on.

    Attributes:
        why_uncaptured: why there is no driver module; empty where there is one.
    """

    why_uncaptured = ""

    def __init__(self, gpu: Any, driver: Any, candidate: BuiltPart, spec: PartSpec, feeds: Feeds) -> None:
        from taemi_edge.runtime.tensorrt.calls import EncoderCase, GraphCase
        from taemi_edge.runtime.tensorrt.engine import Engine
        from taemi_edge.runtime.tensorrt.graphs import GraphCache
        from taemi_edge.runtime.tensorrt.timing import new_marks

        self._gpu = gpu
        self._marks = new_marks(gpu, driver, ("begin", "end"))
        self._graphs = GraphCache(driver, gpu)
        self._engine = Engine(gpu, candidate.file.read_bytes(), candidate.part, spec)
        self._bound = {}
        for number, feed in enumerate(feeds):
            binding = self._engine.bind({name: value.shape for name, value in feed.items()})
            for name, value in feed.items():
                binding.at(**{name: gpu.allocate_like(value)})
            for output in spec.outputs:
                size = int(np.prod(binding.shapes[output.name])) * np.dtype(output.dtype).itemsize
                binding.at(**{output.name: gpu.allocate(size)})
            self._bound[GraphCase((EncoderCase(candidate.part, number),), None)] = binding

    @property
    def how(self) -> str:
        """Captured, or why not."""
        reasons = [self.why_uncaptured, *self._graphs.uncapturable.values()]
        why = next((reason for reason in reasons if reason), "")
        return f"on the device, uncaptured: {why}" if why else "on the device, as CUDA graphs"

    def run_ms(self) -> float:
        """Replay the graph of each shape; a shape is captured when it is run for the second time."""
        times_ms = []
        for case in self._bound:
            graph = self._graphs.find(case, partial(self._enqueue, case, capturing=True))
            self._graphs.note(case)
            with self._gpu.errors("timing engines"):
                if graph is not None:
                    graph.launch()
                else:
                    self._enqueue(case, capturing=False)
                self._gpu.stream.synchronize()
                times_ms.append(self._marks.ms("begin", "end"))
        return statistics.fmean(times_ms)

    def close(self) -> None:
        """Drop the graphs, and then the engine; the memory goes with the GPU's context."""
        self._graphs.close()
        self._bound.clear()
        self._marks.close()
        self._engine.close()

    def _enqueue(self, case: Any, capturing: bool) -> None:
        stream = self._gpu.stream
        self._marks.record("begin", stream, capturing)
        self._bound[case].enqueue(stream)
        self._marks.record("end", stream, capturing)

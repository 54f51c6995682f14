"""Timers of candidates: each runs one candidate on the shapes of ordinary hops and says how long the device took.

An engine of TensorRT is timed as the runtime runs it: from inputs that lie on the device already, as a captured CUDA
graph where that is possible, and by events on the device. A graph of ONNX Runtime is timed by runs of its session.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Protocol

import numpy as np

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
) -> Iterator[dict[str, Timer]]:
    """Open the engines of one part for timing; they are closed at the end.

    Args:
        backend: TensorRT's name, as targets have it.
        built: the candidates.
        feeds: what they are timed on.

    Yields:
        Their timers by name.
    """
    from taemi_edge.runtime.tensorrt.gpu import Gpu
    from taemi_edge.runtime.tensorrt.graphs import open_driver
    from taemi_edge.runtime.tensorrt.library import load_library

    with ExitStack() as stack:
        gpu = stack.enter_context(Gpu(load_library(backend)))
        driver, why_uncaptured = open_driver(gpu)
        timers: dict[str, Timer] = {}
        for candidate in built:
            timer = EngineTimer(gpu, driver, candidate, manifest.parts[candidate.part], feeds)
            stack.callback(timer.close)
            timer.why_uncaptured = why_uncaptured
            timers[candidate.name] = timer
        yield timers


def time_in_turn(timers: Mapping[str, Timer], runs: Runs, told: Callable[[int, int], None]) -> dict[str, list[float]]:
    """Time candidates in turn, so that a clock or a load that changes changes for all.

    Args:
        timers: of the candidates, by name.
        runs: how often each is timed.
        told: is called after each turn, with how many there were and how many there will be.

    Returns:
        The milliseconds of each turn by candidate.
    """
    times_ms: dict[str, list[float]] = {name: [] for name in timers}
    if not timers:
        return times_ms
    fastest_ms, turns = math.inf, runs.warm_up + runs.least
    for turn in count(1):
        for name, timer in timers.items():
            took_ms = timer.run_ms()
            fastest_ms = min(fastest_ms, took_ms)
            if turn > runs.warm_up:
                times_ms[name].append(took_ms)
        if turn == runs.warm_up:
            turns += runs.further(fastest_ms)
        told(turn, turns)
        if turn >= turns:
            return times_ms
    raise AssertionError("turns are counted without end")


@dataclass(frozen=True)
class Runs:
    """How often candidates are timed.

    Attributes:
        least: turns that count.
        warm_up: turns before them; the first ones fill caches.
        enough_ms: a short part is timed more often, until its turns take this time together; 0 never does so.
        most: how many times as often as `least` it is timed at most.

    Example:
        >>> Runs(30, enough_ms=150).further(1.0), Runs(30, enough_ms=150).further(10.0), Runs(30).further(1.0)
        (120, 0, 0)
    """

    least: int
    warm_up: int = 3
    enough_ms: float = 0.0
    most: int = 5

    def further(self, fastest_ms: float) -> int:
        """How many turns are added where the fastest candidate takes so long."""
        wanted = math.ceil(self.enough_ms / max(fastest_ms, 1e-3))
        return max(0, min(wanted, self.most * self.least) - self.least)


class SessionTimer:
    """Times the runs of a session, host and all; rows that would change each other run one by one, as in a hop."""

    def __init__(self, session: Session, feeds: Feeds) -> None:
        self._session = session
        self._row_by_row = bool(getattr(session, "mixes_rows", False))
        self._calls = [_rows_of(feed) if self._row_by_row else [feed] for feed in feeds]

    @property
    def how(self) -> str:
        """Not captured: the host is timed as well."""
        return "by runs of the session" + (", row by row" if self._row_by_row else "")

    def run_ms(self) -> float:
        times_ms = []
        for calls in self._calls:
            started = time.perf_counter()
            for feed in calls:
                self._session.run(feed)
            times_ms.append((time.perf_counter() - started) * 1e3)
        return statistics.fmean(times_ms)


def _rows_of(feed: Mapping[str, Array]) -> list[Mapping[str, Array]]:
    """The rows of a batch as feeds of one row each."""
    count = len(next(iter(feed.values())))
    return [{name: value[at : at + 1] for name, value in feed.items()} for at in range(count)]


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

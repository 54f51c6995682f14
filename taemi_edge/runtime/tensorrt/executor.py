"""Runs whole hops on the GPU with TensorRT: encoders side by side, features that stay on the device, then the head.

    slots ──> gather ──> encoder of a stream ─> scatter ─┐
          ──> gather ──> encoder of another  ─> scatter ─┼─> masks, or windows in order ──> head ──> results
          ──> ...                            ─> scatter ─┘

What a hop needs is described in a few numbers (`descriptor`), which kernels turn into batches of inputs, rows of rings
and masks: the host neither copies an input that lies in a slot nor writes a mask. Each encoder runs on a CUDA stream of
its own. A kernel scatters its output rows into the rings, at the rows that the host has chosen.

Most heads read whole rings under masks: where the order of steps does not matter to them, a window may lie in a ring in
any order. Where every source has lost a stream, such a head reads the stand-in's own buffer, (sources, steps, D): no
encoder runs and nothing is copied. Where only some sources have lost it, their masks leave the rows at the end of their
rings, which hold the stand-in. So the shapes and addresses of a hop depend only on how much is new and on which streams
are there.

For heads to which the order matters, and for those without masks, another kernel lays each window's rows in order into
a buffer of exactly as many steps as the longest window has. Without masks only windows of equal lengths share a call.

A CUDA graph is captured for each case of shapes and addresses, when the executor is opened or when the case comes up
again, and replayed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.values import HEAD, Array
from taemi_edge.errors import BackendError
from taemi_edge.media.native_output import quiet_native_code
from taemi_edge.media.slots import SlotPool
from taemi_edge.runtime.rings import Span
from taemi_edge.runtime.tensorrt.bindings import Bindings
from taemi_edge.runtime.tensorrt.buffers import Features, Inputs, Results, Windows
from taemi_edge.runtime.tensorrt.calls import EncoderCase, GraphCase, HeadCase, split_into_calls
from taemi_edge.runtime.tensorrt.descriptor import CallWriter, Descriptor
from taemi_edge.runtime.tensorrt.engine import Engine, open_engine
from taemi_edge.runtime.tensorrt.gpu import open_gpu
from taemi_edge.runtime.tensorrt.graphs import GraphCache, open_driver
from taemi_edge.runtime.tensorrt.launcher import Launcher
from taemi_edge.runtime.tensorrt.layout import DeviceLayout, layout_on_device
from taemi_edge.runtime.tensorrt.warm_up import run_usual, usual_cases
from taemi_edge.runtime.work import Layout, Stopwatch, Work, WorkResult, require_finite

#: Where times are not asked for, the parts of every so many-th hop are timed: an event costs a call on the GPU.
TIMED_EVERY = 16


class _Closable(Protocol):
    def close(self) -> None: ...


Resource = TypeVar("Resource", bound=_Closable)


@dataclass
class Counters:
    """How many calls were replayed from graphs, and how many were launched one by one."""

    replayed: int = 0
    launched: int = 0


class TrtExecutor:
    """Implements `taemi_edge.runtime.work.Executor` on a bundle of TensorRT engines.

    Args:
        bundle: a bundle of engines that were built for this GPU.
        layout: how many sources there are, and how long their windows and hops are.
        graphs: capture CUDA graphs where cuda-bindings is installed.
        mapped: whether the GPU reads inputs and descriptors from the host's own memory, and writes results there; None
            does so where it can. Each byte is read once, so that it costs no more than a copy.
        timed: whether the parts of every hop are timed, or only those of one in TIMED_EVERY.

    Raises:
        UsageError: no TensorRT, no PyCUDA or no GPU here.
        EngineError: the engines are for another machine, or not what the manifest says.
        BackendError: not enough memory, or more sources than the engines were built for.
    """

    def __init__(
        self,
        bundle: Bundle,
        layout: Layout,
        *,
        graphs: bool = True,
        mapped: bool | None = None,
        timed: bool = False,
    ) -> None:
        self.counters = Counters()
        #: Set it to False to run the same calls without graphs.
        self.replaying = True
        self._replayed = False
        self._every, self._hops = 1 if timed else TIMED_EVERY, 0
        #: Whether no fault of an earlier call is left where the GPU notes them.
        self._is_clean = False
        self._closing = ExitStack()
        self._gpu = self._opened(open_gpu(bundle))
        try:
            driver, self._no_driver = open_driver(self._gpu) if graphs else (None, "graphs were switched off")
            self._open(bundle, layout, driver, mapped)
            self._warm_up(layout)
        except BaseException:
            self.close()
            raise

    @property
    def backend(self) -> str:
        """Where the last call ran: "tensorrt+graph" where a graph was replayed, else "tensorrt"."""
        return "tensorrt+graph" if self._replayed else "tensorrt"

    @property
    def why_uncaptured(self) -> str:
        """Why calls are launched one by one: all of them, or those whose capture failed; "" where nothing is wrong."""
        return self._no_driver or next(reversed(self._graphs.uncapturable.values()), "")

    @property
    def device_ms(self) -> float:
        """How long the GPU took for the last call that was timed, in milliseconds."""
        return self._launcher.device_ms()

    def execute(self, works: Sequence[Work]) -> list[WorkResult]:
        """Run works of different sources together; see `Executor.execute`."""
        timed = not self._hops % self._every
        watch = Stopwatch() if timed else None
        outputs: dict[int, dict[str, Array]] = {}
        are_numbers = True
        if not self._is_clean:
            self._results.clear()
        self._is_clean = False
        for case, windows in self._calls(works):
            self._run(case if watch is None else replace(case, timed=True), watch)
            if windows:
                are_numbers &= self._take_outputs(windows, outputs)
        self._hops += bool(outputs)  # what is encoded before the last call of a long hop belongs to that hop
        faults = self._results.faults()
        self._is_clean = not faults
        part_ms = None if watch is None else watch.total_ms
        results = _results(works, outputs, part_ms, faults)
        if not are_numbers:
            for result in results:
                require_finite(result.outputs or {})
        return results

    def features(self, source: int, stream: str, rows: Span) -> Array:
        """A copy of features, float32 (T, D), from the rows of a source's ring."""
        copied: Array = self._features.read(source, stream)[rows.rows(self.capacity[stream])]
        return copied

    def slots(self, stream: str) -> SlotPool | None:
        """Where the inputs of a stream may be written so that nobody copies them; None where inputs are copied."""
        return self._inputs.slots[stream].pool

    def device_memory(self) -> tuple[int, int] | None:
        """Free and total bytes of the GPU."""
        return self._gpu.memory()

    def close(self) -> None:
        """Free everything, last opened first; whatever belongs to the GPU's context goes before it."""
        # a lost GPU lets native code complain while it is closed, and nobody can act on that
        with quiet_native_code() if self._gpu.lost else nullcontext():
            self._gpu.settle()  # Ctrl-C may have come before a call was waited for
            self._closing.close()

    def _open(self, bundle: Bundle, layout: Layout, driver: Any, mapped: bool | None) -> None:
        """Open the engines and allocate what they read and write."""
        manifest = bundle.manifest
        engines = {part: self._opened(open_engine(self._gpu, bundle, part)) for part in manifest.part_names}
        self._layout = layout_on_device(manifest, layout, engines)
        self.steps, self.capacity = self._layout.steps, dict(self._layout.capacity)
        _require_profiles(engines[HEAD], self._layout, layout)
        if mapped is None:
            mapped = bool(self._gpu.device.get_attribute(self._gpu.cuda.device_attribute.CAN_MAP_HOST_MEMORY))
        self.mapped = mapped
        self._features = Features(self._gpu, bundle.tokens, self._layout)
        self._results = self._opened(Results(self._gpu, self._layout, mapped))
        self._inputs = self._opened(Inputs(self._gpu, self._layout, layout, mapped))
        descriptor = self._opened(Descriptor(self._gpu, self._layout, mapped))
        self._writer = self._opened(CallWriter(descriptor, self._layout, self._inputs.slots))
        windows = Windows(self._gpu, self._layout, self._features)
        buffers = (self._inputs, self._features, windows, self._results)
        self._bindings = self._opened(Bindings(engines, self._layout, buffers, self._forget_graphs))
        launcher = Launcher(self._gpu, driver, self._layout, descriptor, buffers, self._bindings)
        self._launcher = self._opened(launcher)
        self._graphs = self._opened(GraphCache(driver, self._gpu))

    def _opened(self, resource: Resource) -> Resource:
        """Remember to close what was just opened."""
        self._closing.callback(resource.close)
        return resource

    def _calls(self, works: Sequence[Work]) -> Iterator[tuple[GraphCase, Sequence[Work]]]:
        """Write the calls of some works, each when it is asked for; an ordinary hop is one."""
        if hop := self._writer.write_hop(works):
            yield hop
            return
        layout = self._layout
        for call in split_into_calls(works, layout.most, layout.varying, layout.groups):
            yield self._writer.write(call), call.windows

    def _take_outputs(self, works: Sequence[Work], outputs: dict[int, dict[str, Array]]) -> bool:
        """Copy what the head gave for the windows of a call, by source; returns whether all of it are numbers."""
        are_numbers, count = True, len(works)
        at = [work.source for work in works] if self._layout.reads_rings else list(range(count))
        in_order = at == list(range(count))
        given: list[dict[str, Array]] = [{} for _ in works]
        for name, values in self._results.groups.items():
            copied = values[:count].copy() if in_order else values[at]
            are_numbers &= bool(np.isfinite(copied).all())
            for of_one, row in zip(given, copied, strict=True):
                of_one[name] = row
        for work, of_one in zip(works, given, strict=True):
            outputs[work.source] = of_one
        return are_numbers

    def _run(self, case: GraphCase, watch: Stopwatch | None = None) -> None:
        """Replay the case's graph, or launch its calls where there is none yet.

        Args:
            watch: counts the time of each part of a timed case.
        """
        self._bindings.prepare(case)
        graph = None
        if self.replaying:
            graph = self._graphs.find(case, partial(self._enqueue, case, capturing=True))
        if graph is None:
            self._graphs.note(case)
        with self._gpu.errors("running a window"):
            try:
                if graph is not None:
                    graph.launch()
                    self.counters.replayed += 1
                else:
                    self._enqueue(case, capturing=False)
                    self.counters.launched += 1
                self._gpu.stream.synchronize()
            except BaseException:  # Ctrl-C as well: the next hop writes what this one may still read
                self._gpu.settle()
                raise
            if watch is not None:
                watch.add(self._launcher.parts_ms(case))
        self._replayed = graph is not None

    def _enqueue(self, case: GraphCase, capturing: bool) -> None:
        self._launcher.enqueue(case, capturing)

    def _forget_graphs(self, shape: EncoderCase | HeadCase) -> None:
        self._graphs.forget(shape)

    def _warm_up(self, layout: Layout) -> None:
        """Run and capture what an ordinary hop needs in the usual presence patterns."""
        timed = self._every == 1
        self._writer.write_warm_up()
        run_usual([replace(case, timed=timed) for case in usual_cases(self._layout, layout)], self._run)
        self.counters = Counters()


def _results(
    works: Sequence[Work],
    outputs: Mapping[int, Mapping[str, Array]],
    part_ms: Mapping[str, float] | None,
    faults: Mapping[int, frozenset[str]],
) -> list[WorkResult]:
    """The results of works; without outputs where new features were no numbers."""
    none: frozenset[str] = frozenset()
    if not faults:
        return [WorkResult(outputs[work.source] if work.fuse else None, part_ms, none) for work in works]
    bad = [faults.get(work.source, none) for work in works]
    return [
        WorkResult(outputs[work.source] if work.fuse and not of_one else None, part_ms, of_one)
        for work, of_one in zip(works, bad, strict=True)
    ]


def _require_profiles(head: Engine, device: DeviceLayout, layout: Layout) -> None:
    """Refuse a layout that the head's engine was not built for, before anything is allocated."""
    every = frozenset(device.streams)
    longest = {name: min(device.capacity[name], device.spec(name).max_steps) for name in device.streams}
    case = device.ring_case(every) if device.reads_rings else device.window_case(layout.sources, longest)
    if problems := head.outside(device.head_shapes(case)):
        raise BackendError(
            f"{layout.sources} sources with windows of {layout.window_s:g} s do not fit the engines: "
            f"{problems[0]}; `taemi-edge build-engine --sources {layout.sources}` does so"
        )

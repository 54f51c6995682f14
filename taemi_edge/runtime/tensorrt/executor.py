"""Runs whole hops on the GPU with TensorRT: encoders side by side, features that stay on the device, then the head.

    upload ──> encoder of a stream ─> scatter ─┐
           ──> encoder of another  ─> scatter ─┼─> (gather) ──> head ──> outputs
           ──> ...                 ─> scatter ─┘

Each encoder runs on a CUDA stream of its own. A kernel scatters its output rows into the rings, at the rows that the
host has chosen.

Most heads read whole rings under masks: where the order of steps does not matter to them, a window may lie in a ring in
any order. Where every source has lost a stream, such a head reads the stand-in's own buffer, (sources, steps, D): no
encoder runs and nothing is copied. Where only some sources have lost it, their masks leave the rows at the end of their
rings, which hold the stand-in. So the shapes and addresses of a hop depend only on how much is new and on which streams
are there.

For heads to which the order matters, and for those without masks, another kernel gathers each window's rows in order
into a buffer of exactly as many steps as the longest window has. Without masks only windows of equal lengths share a
call.

A CUDA graph is captured for each case of shapes and addresses, when the executor is opened or when the case comes up
again, and replayed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.values import HEAD, Array
from taemi_edge.errors import BackendError
from taemi_edge.media.native_output import quiet_native_code
from taemi_edge.runtime.rings import Span
from taemi_edge.runtime.tensorrt.bindings import Bindings
from taemi_edge.runtime.tensorrt.buffers import Features, Inputs, Outputs, choose_mapped
from taemi_edge.runtime.tensorrt.calls import Call, EncoderCase, GraphCase, HeadCase, split_into_calls
from taemi_edge.runtime.tensorrt.engine import Engine, open_engine
from taemi_edge.runtime.tensorrt.gather import GatherKernel
from taemi_edge.runtime.tensorrt.gpu import open_gpu
from taemi_edge.runtime.tensorrt.graphs import GraphCache, open_driver
from taemi_edge.runtime.tensorrt.inputs import write_inputs, write_warm_up
from taemi_edge.runtime.tensorrt.layout import DeviceLayout, layout_on_device
from taemi_edge.runtime.tensorrt.scatter import ScatterKernel
from taemi_edge.runtime.tensorrt.timing import part_marks
from taemi_edge.runtime.tensorrt.warm_up import run_usual, usual_cases
from taemi_edge.runtime.work import Layout, Stopwatch, Work, WorkResult, require_finite


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
        mapped: whether the GPU reads the host's own memory; None measures which is faster here.

    Raises:
        UsageError: no TensorRT, no PyCUDA or no GPU here.
        EngineError: the engines are for another machine, or not what the manifest says.
        BackendError: not enough memory, or more sources than the engines were built for.
    """

    def __init__(self, bundle: Bundle, layout: Layout, *, graphs: bool = True, mapped: bool | None = None) -> None:
        self.counters = Counters()
        #: Set it to False to run the same calls without graphs.
        self.replaying = True
        self._replayed = False
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
        """How long the GPU took for the last call, in milliseconds."""
        return self._marks.ms("begin", "end")

    @property
    def mapped(self) -> bool:
        """Whether the GPU reads the host's own memory."""
        return self._inputs.mapped

    def execute(self, works: Sequence[Work]) -> list[WorkResult]:
        """Run works of different sources together; see `Executor.execute`."""
        watch = Stopwatch()
        faults = np.zeros((len(self._layout.streams), self._layout.sources), np.int32)
        outputs: dict[int, dict[str, Array]] = {}
        for call in split_into_calls(works, self._layout.most, self._layout.length, self._layout.groups):
            case = write_inputs(self._inputs, self._layout, call)
            self._run(case)
            faults |= self._outputs.faults.host
            outputs |= self._outputs_of(call)
            watch.add(self._times(case))
        return [self._result(work, outputs, faults, watch) for work in works]

    def features(self, source: int, stream: str, rows: Span) -> Array:
        """A copy of features, float32 (T, D), from the rows of a source's ring."""
        copied: Array = self._features.read(source, stream)[rows.rows(self.capacity[stream])]
        return copied

    def slots(self, stream: str) -> None:
        """Where the inputs of a stream may be written so that nobody copies them."""
        return

    def device_memory(self) -> tuple[int, int] | None:
        """Free and total bytes of the GPU."""
        return self._gpu.memory()

    def close(self) -> None:
        """Free everything, last opened first; whatever belongs to the GPU's context goes before it."""
        # a lost GPU lets native code complain while it is closed, and nobody can act on that
        with quiet_native_code() if self._gpu.lost else nullcontext():
            self._closing.close()

    def _open(self, bundle: Bundle, layout: Layout, driver: Any, mapped: bool | None) -> None:
        """Open the engines and allocate what they read and write."""
        manifest = bundle.manifest
        engines = {part: self._opened(open_engine(self._gpu, bundle, part)) for part in manifest.part_names}
        self._layout = layout_on_device(manifest, layout, engines)
        self.steps, self.capacity = self._layout.steps, dict(self._layout.capacity)
        _require_profiles(engines[HEAD], self._layout, layout)
        self._features = Features(self._gpu, bundle.tokens, self._layout)
        self._outputs = self._opened(Outputs(self._gpu, self._layout))
        self._streams = {name: self._gpu.new_stream() for name in manifest.streams}
        self._closing.callback(self._streams.clear)
        self._joins = self._join_events()
        self._closing.callback(self._joins.clear)
        self._marks = self._opened(part_marks(self._gpu, driver, manifest.part_names))
        self._scatter = self._opened(ScatterKernel(self._gpu))
        self._gather = None if self._layout.reads_rings else self._opened(GatherKernel(self._gpu))
        if mapped is None:
            mapped = choose_mapped(self._layout, layout, engines, self._features)
        self._inputs = self._opened(Inputs(self._gpu, self._layout, mapped))
        buffers = (self._inputs, self._features, self._outputs)
        self._bindings = self._opened(Bindings(engines, self._layout, buffers, self._forget_graphs))
        self._graphs = self._opened(GraphCache(driver, self._gpu))

    def _opened(self, resource: Resource) -> Resource:
        """Remember to close what was just opened."""
        self._closing.callback(resource.close)
        return resource

    def _join_events(self) -> dict[str, Any]:
        """The events by which the encoders' streams wait for the upload, and the head for the encoders."""
        flags = self._gpu.cuda.event_flags.DISABLE_TIMING
        return {name: self._gpu.cuda.Event(flags) for name in ("start", *self._layout.streams)}

    def _outputs_of(self, call: Call) -> dict[int, dict[str, Array]]:
        """What the head gave for the windows of a call, by source and by group of outputs."""
        groups = self._outputs.groups.host
        at = [work.source if self._layout.reads_rings else row for row, work in enumerate(call.windows)]
        return {
            work.source: {name: values[row].copy() for name, values in groups.items()}
            for row, work in zip(at, call.windows, strict=True)
        }

    def _result(
        self, work: Work, outputs: Mapping[int, Mapping[str, Array]], faults: Array, watch: Stopwatch
    ) -> WorkResult:
        bad = frozenset(name for i, name in enumerate(self._layout.streams) if faults[i, work.source])
        given = None
        if work.fuse and not bad:
            given = outputs[work.source]
            require_finite(given)
        return WorkResult(given, watch.total_ms, bad)

    def _run(self, case: GraphCase) -> None:
        """Replay the case's graph, or launch its calls where there is none yet."""
        self._bindings.prepare(case)
        graph = None
        if self.replaying:
            graph = self._graphs.find(case, partial(self._enqueue, case, capturing=True))
        self._graphs.note(case)
        with self._gpu.errors("running a window"):
            if graph is not None:
                graph.launch()
                self.counters.replayed += 1
            else:
                self._enqueue(case, capturing=False)
                self.counters.launched += 1
            self._gpu.stream.synchronize()
        self._replayed = graph is not None

    def _enqueue(self, case: GraphCase, capturing: bool) -> None:
        """Put a call on the streams: uploads, encoders side by side, fusion, what comes back."""
        gpu, main, faults = self._gpu, self._gpu.stream, self._outputs.faults
        self._marks.record("begin", main, capturing)
        self._inputs.control.upload(main)
        gpu.cuda.memset_d32_async(faults.address, 0, len(self._layout.streams) * self._layout.sources, main)
        self._joins["start"].record(main)
        for encoder in case.encoders:
            part = encoder.stream
            stream = self._streams[part]
            stream.wait_for_event(self._joins["start"])
            self._marks.record(f"{part} begin", stream, capturing)
            self._encode(encoder, stream)
            self._marks.record(f"{part} end", stream, capturing)
            self._joins[part].record(stream)
            main.wait_for_event(self._joins[part])
        if case.head is not None:
            self._marks.record(f"{HEAD} begin", main, capturing)
            self._lay_windows(case.head, main)
            self._bindings.head(case.head).enqueue(main)
            self._marks.record(f"{HEAD} end", main, capturing)
            self._outputs.groups.download(main)
        faults.download(main)
        self._marks.record("end", main, capturing)

    def _encode(self, case: EncoderCase, stream: Any) -> None:
        """Run an encoder, and lay its output rows into the rings."""
        name, layout = case.stream, self._layout
        self._inputs.upload(name, case.length, case.batch, stream)
        self._bindings.encoder(case).enqueue(stream)
        faults = self._outputs.faults.address + 4 * layout.streams.index(name) * layout.sources
        encoded, rings = int(self._features.encoded[name]), int(self._features.rings[name])
        addresses = (encoded, self._inputs.control.address[f"{name} rows"], rings, faults)
        count = case.batch * layout.encoded_steps(name, case.length)
        self._scatter.enqueue(stream, count, addresses, layout.dim(name), layout.ring_rows(name))

    def _lay_windows(self, case: HeadCase, stream: Any) -> None:
        """Lay the rows of all windows in order, where the head does not read rings."""
        if self._gather is None:
            return
        for name, steps in zip(self._layout.streams, case.steps, strict=True):
            rings, windows = int(self._features.rings[name]), int(self._features.read_by_head[name])
            addresses = (rings, self._inputs.control.address[f"{name} window"], windows)
            self._gather.enqueue(stream, case.batch * steps, addresses, self._layout.dim(name))

    def _forget_graphs(self, shape: EncoderCase | HeadCase) -> None:
        self._graphs.forget(shape)

    def _times(self, case: GraphCase) -> dict[str, float]:
        """Milliseconds of each part of the last call."""
        ran = [encoder.stream for encoder in case.encoders] + ([] if case.head is None else [HEAD])
        with self._gpu.errors("reading times"):
            return {part: self._marks.ms(f"{part} begin", f"{part} end") for part in ran}

    def _warm_up(self, layout: Layout) -> None:
        """Run and capture what an ordinary hop needs in the usual presence patterns."""
        write_warm_up(self._inputs, self._layout)
        run_usual(list(usual_cases(self._layout, layout)), self._run)
        self.counters = Counters()


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

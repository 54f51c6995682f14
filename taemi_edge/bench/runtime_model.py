"""The contender that is the bundle itself, run as `taemi-edge run` runs it: by TensorRT or by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from taemi_edge.bench.ceilings import host_ceilings, tensorrt_ceilings
from taemi_edge.bench.feeds import BenchWindow, WindowKind, joined_outputs
from taemi_edge.bench.timed_model import HostRun, TimedRun, WithoutDeviceTimes
from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.streams import ChunkedSpec, Pattern, TextSpec
from taemi_edge.bundle.values import Array
from taemi_edge.parity.samples import Row
from taemi_edge.runtime.kinds import fixed_steps
from taemi_edge.runtime.opening import open_executor, open_sessions
from taemi_edge.runtime.rings import Span
from taemi_edge.runtime.sessions import Device, require_device
from taemi_edge.runtime.tensorrt.driver import load_driver
from taemi_edge.runtime.tensorrt.graphs import CapturedGraph, open_driver, try_capture
from taemi_edge.runtime.tensorrt.timing import DriverMarks, PycudaMarks
from taemi_edge.runtime.work import Executor, Item, Layout, Work


class RuntimeModel:
    """A `taemi_edge.bench.timed_model.TimedModel` of a bundle. One executor runs all windows with as many sources.

    Args:
        device: where it runs; None takes what the bundle was built for.
        threads: threads for each part; 0 takes all cores.

    Raises:
        UsageError, EngineError: the bundle cannot run on that device here.
    """

    def __init__(self, bundle: Bundle, device: Device | None, threads: int) -> None:
        self._bundle, self._threads = bundle, threads
        self._device = require_device(bundle, device)
        self._executor: Executor | None = None
        self._layout: Layout | None = None
        if self._device == "tensorrt":
            from taemi_edge.runtime.tensorrt.gpu import open_gpu

            open_gpu(bundle).close()
        else:
            open_sessions(bundle, self._device, threads).close()

    def describe(self) -> dict[str, str]:
        manifest = self._bundle.manifest
        built = manifest.engine.candidates if manifest.engine else ()
        names: dict[str, str] = {part: spec.precision for part, spec in manifest.parts.items()}
        names |= {candidate.part: candidate.name for candidate in built if candidate.kept}
        precisions = ", ".join(f"{part} {names[part]}" for part in manifest.part_names)
        described = {"device": self._device, "precision": precisions}
        if self._device == "tensorrt" and manifest.engine is not None:
            return {**described, "library": manifest.engine.library, "graphs": load_driver()[1] or "captured"}
        import onnxruntime

        return {**described, "library": f"onnxruntime {onnxruntime.__version__}", "threads": str(self._threads)}

    def part(self, part: str, feeds: Mapping[str, Array]) -> TimedRun:
        if self._device == "tensorrt":
            return _CapturedPartRun(self._bundle, part, feeds)
        sessions = open_sessions(self._bundle, self._device, self._threads)
        return HostRun(lambda: sessions[part].run(feeds), sessions.close)

    def window(self, kind: WindowKind, window: BenchWindow, pattern: Pattern, sources: int) -> TimedRun:
        manifest = self._bundle.manifest
        layout = Layout(sources, window.length_s, window.hop_s)
        if self._executor is None or self._layout != layout:
            self.close()
            self._executor = open_executor(self._bundle, layout, self._device, self._threads, timed=True)
            self._layout = layout
        return RepeatedWindow(self._executor, manifest, kind, window, pattern, sources)

    def ceilings(self) -> dict[str, float]:
        if self._device != "tensorrt":
            return host_ceilings(self._threads) if self._device == "cpu" else {}
        return tensorrt_ceilings(self._bundle)

    def close(self) -> None:
        if self._executor is not None:
            self._executor.close()
        self._executor = None


class RepeatedWindow:
    """A `TimedRun` of the same hop of one window through an executor.

    The rows of the rings are chosen here, so that each repetition overwrites what the one before it wrote.

    Args:
        executor: runs the hop; it stays open.
        kind: "hop" encodes what came with the last hop, "window" the whole window.
        pattern: the streams that are present.
        sources: how many sources have this window.
    """

    def __init__(
        self,
        executor: Executor,
        manifest: Manifest,
        kind: WindowKind,
        window: BenchWindow,
        pattern: Pattern,
        sources: int,
    ) -> None:
        self.executor = executor
        items = {name: _items(executor, manifest, name, rows) for name, rows in window.rows.items() if name in pattern}
        first = {name: len(window.before(kind, name)) for name in items}
        old = {name: of_one[: first[name]] for name, of_one in items.items()}
        new = {name: of_one[first[name] :] for name, of_one in items.items()}
        most = {name: manifest.streams[name].max_steps for name in items}
        rows = {n: _kept_rows(of_one).newest(most[n], executor.capacity[n]) for n, of_one in items.items()}
        for source in range(sources):
            executor.execute([Work(source, old, fuse=False)])
        self.works = [Work(source, new, rows) for source in range(sources)]
        self._done = executor.execute(self.works)

    def run(self) -> None:
        self._done = self.executor.execute(self.works)

    def output(self) -> Array:
        """The outputs of each source, one after the other, (sources, n)."""
        return np.stack([joined_outputs(done.outputs) for done in self._done if done.outputs is not None])

    def device_ms(self) -> float | None:
        """Milliseconds of the parts; on a GPU with everything between them."""
        device_ms: float | None = getattr(self.executor, "device_ms", None)
        return sum(self.parts_ms().values()) if device_ms is None else device_ms

    def parts_ms(self) -> dict[str, float]:
        """Milliseconds of each part in the last run."""
        return dict(self._done[0].part_ms or {})

    def replay(self, graphs: bool) -> None:
        if hasattr(self.executor, "replaying"):
            self.executor.replaying = graphs

    def close(self) -> None:
        """Do nothing: the executor runs the next window."""


def _items(executor: Executor, manifest: Manifest, stream: str, rows: Sequence[Row]) -> list[Item]:
    """All inputs of a stream, each with its own rows of the ring; the steps of a chunk's context have none."""
    spec = manifest.streams[stream]
    if isinstance(spec, TextSpec):  # whoever runs the encoder makes the mask
        fixed = fixed_steps(manifest, stream)
        return [Item({"ids": row["ids"]}, Span(0, fixed or len(row["ids"]))) for row in rows]
    steps, items, at = executor.steps[stream], [], 0
    for row in rows:
        is_chunk = isinstance(spec, ChunkedSpec) and spec.chunk_samples
        length = len(next(iter(row.values()))) if is_chunk else steps.lengths[0]
        kept = steps.kept(length)
        items.append(Item(row, Span(at, kept), steps.encoded(length) - kept))
        at += kept
    return items


def _kept_rows(items: Sequence[Item]) -> Span:
    """The rows of a ring that hold the features of some inputs, which follow one another."""
    first = items[0].rows.start if items else 0
    return Span(first, sum(item.rows.count for item in items))


class _CapturedPartRun(WithoutDeviceTimes):
    """A `TimedRun` of one engine on feeds that lie on the device."""

    def __init__(self, bundle: Bundle, part: str, feeds: Mapping[str, Array]) -> None:
        from taemi_edge.runtime.tensorrt.engine import open_engine
        from taemi_edge.runtime.tensorrt.gpu import open_gpu

        self._gpu = open_gpu(bundle)
        self._graph: CapturedGraph | None = None
        self._marks: DriverMarks | PycudaMarks | None = None
        try:
            names = [spec.name for spec in bundle.manifest.parts[part].outputs]
            engine = open_engine(self._gpu, bundle, part)
            self._binding = engine.bind({name: value.shape for name, value in feeds.items()})
            self._outputs = {name: np.empty(self._binding.shapes[name], np.float32) for name in names}
            self._addresses = {name: self._gpu.allocate(value.nbytes) for name, value in self._outputs.items()}
            places = {name: self._gpu.allocate_like(value) for name, value in feeds.items()}
            self._binding.at(**places, **self._addresses)
            self._replaying = True
            driver, _ = open_driver(self._gpu)
            marks = ("begin", "end")
            self._marks = PycudaMarks(self._gpu.cuda, marks) if driver is None else DriverMarks(driver, marks)
            self._enqueue(False)
            self._gpu.stream.synchronize()
            if driver is not None:
                self._graph, _ = try_capture(driver, self._gpu, lambda: self._enqueue(True))
        except BaseException:
            self.close()
            raise

    def run(self) -> None:
        with self._gpu.errors("running a part"):
            if self._graph is not None and self._replaying:
                self._graph.launch()
            else:
                self._enqueue(False)
            self._gpu.stream.synchronize()

    def output(self) -> Array:
        with self._gpu.errors("reading an output"):
            for name, values in self._outputs.items():
                self._gpu.cuda.memcpy_dtoh(values, self._addresses[name])
        return joined_outputs(self._outputs)

    def device_ms(self) -> float | None:
        return None if self._marks is None else self._marks.ms("begin", "end")

    def replay(self, graphs: bool) -> None:
        self._replaying = graphs

    def close(self) -> None:
        if self._graph is not None:
            self._graph.close()
        if self._marks is not None:
            self._marks.close()
        self._graph = self._marks = None
        self.__dict__.pop("_binding", None)  # contexts go before their GPU
        self._gpu.close()

    def _enqueue(self, capturing: bool) -> None:
        if self._marks is not None:
            self._marks.record("begin", self._gpu.stream, capturing)
        self._binding.enqueue(self._gpu.stream)
        if self._marks is not None:
            self._marks.record("end", self._gpu.stream, capturing)

"""The bundle as `taemi-edge run` runs it: on TensorRT with everything on the GPU, else through ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from taemi_edge.bench.ceilings import host_ceilings, tensorrt_ceilings
from taemi_edge.bench.feeds import Kind, Window
from taemi_edge.bench.ways import HostCall, Prepared, Untold
from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.spec import Array, Manifest, Modality
from taemi_edge.runtime.opening import open_executor, open_sessions
from taemi_edge.runtime.sessions import Device, require_device
from taemi_edge.runtime.tensorrt.graphs import CapturedGraph, load_driver
from taemi_edge.runtime.tensorrt.timing import DriverMarks, PycudaMarks
from taemi_edge.runtime.work import Executor, Layout, SoundChunk, Work


class RuntimeWay:
    """Implements `taemi_edge.bench.ways.Way`; one executor serves all windows of as many sources.

    Raises:
        UsageError, EngineError: the bundle cannot run on that device here.
    """

    def __init__(self, bundle: Bundle, device: Device | None, threads: int) -> None:
        self._bundle, self._threads = bundle, threads
        self._device = require_device(bundle, device)
        self._executor: Executor | None = None
        self._sources = 0
        if self._device == "tensorrt":
            from taemi_edge.runtime.tensorrt.gpu import open_gpu

            open_gpu(bundle).close()
        else:
            open_sessions(bundle, self._device, threads).close()

    def describe(self) -> dict[str, str]:
        manifest = self._bundle.manifest
        precisions = ", ".join(f"{p} {manifest.parts.of(p).precision}" for p in ("vision", "audio", "text", "fusion"))
        described = {"device": self._device, "precision": precisions}
        if self._device == "tensorrt" and manifest.engine is not None:
            return {**described, "library": manifest.engine.library, "graphs": load_driver()[1] or "captured"}
        import onnxruntime

        return {**described, "library": f"onnxruntime {onnxruntime.__version__}", "threads": str(self._threads)}

    def part(self, part: str, feeds: Mapping[str, Array]) -> Prepared:
        if self._device == "tensorrt":
            return _CapturedPart(self._bundle, part, feeds)
        sessions = open_sessions(self._bundle, self._device, self._threads)
        [name] = (spec.name for spec in self._bundle.manifest.parts.of(part).outputs)
        return HostCall(lambda: sessions[part].run(feeds)[name], sessions.close)

    def window(self, kind: Kind, window: Window, pattern: frozenset[Modality], sources: int) -> Prepared:
        manifest = self._bundle.manifest
        if self._executor is None or self._sources != sources:
            self.close()
            layout = Layout(sources, manifest.window.length_s, manifest.window.hop_s)
            self._executor = open_executor(self._bundle, layout, self._device, self._threads)
            self._sources = sources
        return RepeatedWindow(self._executor, manifest, kind, window, pattern, sources)

    def ceilings(self) -> dict[str, float]:
        if self._device != "tensorrt":
            return host_ceilings() if self._device == "cpu" else {}
        return tensorrt_ceilings(self._bundle)

    def close(self) -> None:
        if self._executor is not None:
            self._executor.close()
        self._executor = None


class RepeatedWindow:
    """The same hop of one window, again and again, through an executor; implements `Prepared`.

    Rows of the rings are named by hand, so that a repeated hop overwrites what it wrote before.
    """

    def __init__(
        self,
        executor: Executor,
        manifest: Manifest,
        kind: Kind,
        window: Window,
        pattern: frozenset[Modality],
        sources: int,
    ) -> None:
        self.executor = executor
        samples = window.samples.shape[1]
        steps, kept = executor.steps.encoded(samples), executor.steps.kept(samples)
        sounds = []
        for index, chunk in enumerate(window.samples):
            rows = np.full(steps, -1, np.int32)
            rows[-kept:] = np.arange(index * kept, (index + 1) * kept)
            sounds.append(SoundChunk(chunk, rows))
        frames = len(window.pixels)
        pixel_rows = np.arange(frames, dtype=np.int32)
        every: dict[Modality, Array] = {
            "vision": np.arange(frames),
            "audio": np.arange(len(sounds) * kept),
            "text": np.arange(len(window.ids)),
        }
        rows_of = {m: rows for m, rows in every.items() if m in pattern}
        first_frame = frames - window.new_frames if kind == "hop" else 0
        first_sound = len(sounds) - window.new_chunks if kind == "hop" else 0
        see, hear, read = (m in pattern for m in ("vision", "audio", "text"))
        before = [
            Work(
                source,
                list(window.pixels[:first_frame]) if see else (),
                pixel_rows[:first_frame] if see else pixel_rows[:0],
                sounds[:first_sound] if hear else (),
                fuse=False,
            )
            for source in range(sources)
        ]
        for work in before:
            executor.execute([work])
        self.works = [
            Work(
                source,
                list(window.pixels[first_frame:]) if see else (),
                pixel_rows[first_frame:] if see else pixel_rows[:0],
                sounds[first_sound:] if hear else (),
                window.ids if read else None,
                rows_of,
            )
            for source in range(sources)
        ]
        self._done = executor.execute(self.works)

    def run(self) -> None:
        self._done = self.executor.execute(self.works)

    def output(self) -> Array:
        """Intensities (sources, 6)."""
        return np.stack([done.intensities for done in self._done if done.intensities is not None])

    def device_ms(self) -> float | None:
        """What the parts took; on a GPU with everything between them."""
        device_ms: float | None = getattr(self.executor, "device_ms", None)
        return sum(self._done[0].part_ms.values()) if device_ms is None else device_ms

    def parts_ms(self) -> dict[str, float]:
        """Each part's share of the last run."""
        return dict(self._done[0].part_ms)

    def replay(self, graphs: bool) -> None:
        if hasattr(self.executor, "replaying"):
            self.executor.replaying = graphs

    def close(self) -> None:
        """The executor goes on to the next window."""


class _CapturedPart(Untold):
    """One engine on feeds that lie on the device; implements `Prepared`."""

    def __init__(self, bundle: Bundle, part: str, feeds: Mapping[str, Array]) -> None:
        from taemi_edge.runtime.tensorrt.engine import open_engine
        from taemi_edge.runtime.tensorrt.gpu import open_gpu

        self._gpu = open_gpu(bundle)
        self._graph: CapturedGraph | None = None
        self._marks: DriverMarks | PycudaMarks | None = None
        try:
            [spec] = bundle.manifest.parts.of(part).outputs
            engine = open_engine(self._gpu, bundle, part)
            self._binding = engine.bind({name: value.shape for name, value in feeds.items()})
            self._output = np.empty(self._binding.shapes[spec.name], np.float32)
            self._address = self._gpu.allocate(self._output.nbytes)
            places = {name: self._gpu.allocate_like(value) for name, value in feeds.items()}
            self._binding.at(**places, **{spec.name: self._address})
            self._replaying = True
            driver, _ = load_driver()
            names = ("begin", "end")
            self._marks = PycudaMarks(self._gpu.cuda, names) if driver is None else DriverMarks(driver, names)
            self._enqueue(False)
            self._gpu.stream.synchronize()
            if driver is not None:
                self._graph = CapturedGraph(driver, self._gpu.stream, lambda: self._enqueue(True))
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
            self._gpu.cuda.memcpy_dtoh(self._output, self._address)
        return self._output

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

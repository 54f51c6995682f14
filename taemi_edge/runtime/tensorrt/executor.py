"""Runs whole hops on the GPU with TensorRT: encoders side by side, features that stay on the device, then the head.

    upload ──> vision ─> scatter ─┐
           ──> audio  ─> scatter ─┼─> fusion ──> intensities
           ──> text   ─> scatter ─┘

Each encoder runs on a CUDA stream of its own. A kernel scatters its output rows into the rings, at the rows that the
host has chosen. The fusion head reads whole rings under masks: its keys have no positions, so that the order of a
ring's rows does not matter. Where every source has lost a stream, the head reads the missing-stream token's own buffer,
(sources, 1, D): no encoder runs and nothing is copied. Where only some sources have lost it, their masks leave one row
at the end of their rings, which holds the token.

So the shapes and addresses of a hop depend only on how much is new and on which streams are there. A CUDA graph is
captured for each such case, when the executor is opened or when the case comes up again, and replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.spec import MODALITIES, PARTS, PRESENCE_PATTERNS, Modality
from taemi_edge.bundle.values import Array
from taemi_edge.errors import BackendError
from taemi_edge.media.native_output import quiet_native_code
from taemi_edge.runtime.tensorrt.bindings import Bindings
from taemi_edge.runtime.tensorrt.buffers import Features, Inputs, Outputs, choose_mapped
from taemi_edge.runtime.tensorrt.calls import (
    TOKENS_STEP,
    GraphCase,
    padded,
    split_into_calls,
    usual_frame_counts,
)
from taemi_edge.runtime.tensorrt.engine import Engine, open_engine
from taemi_edge.runtime.tensorrt.gpu import open_gpu
from taemi_edge.runtime.tensorrt.graphs import GraphCache, load_driver
from taemi_edge.runtime.tensorrt.inputs import write_inputs, write_warm_up
from taemi_edge.runtime.tensorrt.layout import DeviceLayout, layout_on_device
from taemi_edge.runtime.tensorrt.scatter import ScatterKernel
from taemi_edge.runtime.tensorrt.timing import part_marks
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
        driver, self.why_uncaptured = load_driver() if graphs else (None, "graphs were switched off")
        self._closing = ExitStack()
        self._gpu = self._opened(open_gpu(bundle))
        try:
            engines: dict[str, Engine] = {part: self._opened(open_engine(self._gpu, bundle, part)) for part in PARTS}
            self._layout = layout_on_device(bundle.manifest, layout, engines)
            self.steps, self.capacity = {"audio": self._layout.steps}, dict(self._layout.capacity)
            _require_profiles(engines["fusion"], self._layout, layout)
            self._features = Features(self._gpu, bundle.tokens, self._layout)
            self._outputs = self._opened(Outputs(self._gpu, layout.sources))
            self._streams = {m: self._gpu.new_stream() for m in MODALITIES}
            self._closing.callback(self._streams.clear)
            self._joins = self._join_events()
            self._closing.callback(self._joins.clear)
            self._marks = self._opened(part_marks(self._gpu, driver))
            self._scatter = self._opened(ScatterKernel(self._gpu))
            if mapped is None:
                mapped = choose_mapped(bundle, layout, engines["vision"], self._features.encoded["vision"])
            self._inputs = self._opened(Inputs(self._gpu, self._layout, mapped))
            self._bindings = self._opened(Bindings(engines, self._layout, self._inputs, self._features, self._outputs))
            self._graphs = self._opened(GraphCache(driver, self._gpu))
            self._warm_up(layout)
        except BaseException:
            self.close()
            raise

    @property
    def backend(self) -> str:
        """Where the last call ran: "tensorrt+graph" where a graph was replayed, else "tensorrt"."""
        return "tensorrt+graph" if self._replayed else "tensorrt"

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
        faults = np.zeros((len(MODALITIES), self._layout.sources), np.int32)
        for call in split_into_calls(works, self._layout.most):
            case = write_inputs(self._inputs, self._layout, call)
            self._run(case)
            faults |= self._outputs.faults.host
            watch.add(self._times(case))
        return [self._result(work, faults, watch) for work in works]

    def features(self, source: int, modality: Modality, rows: Array) -> Array:
        """A copy of features, float32 (T, D), from the rows of a source's ring."""
        copied: Array = self._features.read(source, modality)[rows]
        return copied

    def device_memory(self) -> tuple[int, int] | None:
        """Free and total bytes of the GPU."""
        return self._gpu.memory()

    def close(self) -> None:
        """Free everything, last opened first; whatever belongs to the GPU's context goes before it."""
        # a lost GPU lets native code complain while it is closed, and nobody can act on that
        with quiet_native_code() if self._gpu.lost else nullcontext():
            self._closing.close()

    def _opened(self, resource: Resource) -> Resource:
        """Remember to close what was just opened."""
        self._closing.callback(resource.close)
        return resource

    def _join_events(self) -> dict[str, Any]:
        """The events by which the encoders' streams wait for the upload, and the head for the encoders."""
        flags = self._gpu.cuda.event_flags.DISABLE_TIMING
        return {name: self._gpu.cuda.Event(flags) for name in ("start", *MODALITIES)}

    def _result(self, work: Work, faults: Array, watch: Stopwatch) -> WorkResult:
        bad = frozenset(m for i, m in enumerate(MODALITIES) if faults[i, work.source])
        outputs = None
        if work.fuse and not bad:
            outputs = {"intensities": self._outputs.intensities.host[work.source].copy()}
            require_finite(outputs)
        return WorkResult(outputs, watch.total_ms, bad)

    def _run(self, case: GraphCase) -> None:
        """Replay the case's graph, or launch its calls where there is none yet."""
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
        gpu.cuda.memset_d32_async(faults.address, 0, len(MODALITIES) * self._layout.sources, main)
        self._joins["start"].record(main)
        for part, encode in self._encoders(case):
            stream = self._streams[part]
            stream.wait_for_event(self._joins["start"])
            self._marks.record(f"{part} begin", stream, capturing)
            encode(stream)
            self._marks.record(f"{part} end", stream, capturing)
            self._joins[part].record(stream)
            main.wait_for_event(self._joins[part])
        if case.live is not None:
            self._marks.record("fusion begin", main, capturing)
            self._bindings.fusion(case.live).enqueue(main)
            self._marks.record("fusion end", main, capturing)
            self._outputs.intensities.download(main)
        faults.download(main)
        self._marks.record("end", main, capturing)

    def _encoders(self, case: GraphCase) -> Iterator[tuple[Modality, Callable[[Any], None]]]:
        if case.frames:
            yield "vision", partial(self._encode_frames, case.frames)
        if case.audio[0]:
            yield "audio", partial(self._encode_sounds, case.audio)
        if case.text[0]:
            yield "text", partial(self._encode_texts, case.text)

    def _encode_frames(self, frames: int, stream: Any) -> None:
        self._inputs.pixels.upload(stream, frames)
        self._bindings.vision(frames).enqueue(stream)
        self._scatter_rows("vision", frames, stream)

    def _encode_sounds(self, shape: tuple[int, int], stream: Any) -> None:
        chunks, samples = shape
        self._inputs.samples[samples].upload(stream, chunks)
        self._bindings.audio(shape).enqueue(stream)
        self._scatter_rows("audio", chunks * self._layout.steps.encoded(samples), stream)

    def _encode_texts(self, shape: tuple[int, int], stream: Any) -> None:
        self._bindings.text(shape).enqueue(stream)
        self._scatter_rows("text", shape[0] * shape[1], stream)

    def _scatter_rows(self, modality: Modality, count: int, stream: Any) -> None:
        """Lay an encoder's output rows into the rings."""
        faults = self._outputs.faults.address + 4 * MODALITIES.index(modality) * self._layout.sources
        encoded, rings = int(self._features.encoded[modality]), int(self._features.rings[modality])
        addresses = (encoded, self._inputs.control.address[f"{modality} rows"], rings, faults)
        self._scatter.enqueue(stream, count, addresses, self._layout.dim(modality), self._layout.ring_rows(modality))

    def _times(self, case: GraphCase) -> dict[str, float]:
        """Milliseconds of each part of the last call."""
        ran = {"vision": case.frames, "audio": case.audio[0], "text": case.text[0], "fusion": case.live is not None}
        with self._gpu.errors("reading times"):
            return {part: self._marks.ms(f"{part} begin", f"{part} end") for part, did in ran.items() if did}

    def _warm_up(self, layout: Layout) -> None:
        """Run and capture what an ordinary hop needs in every presence pattern."""
        write_warm_up(self._inputs)
        for case in _usual_cases(self._layout, layout):
            self._run(case)
            self._run(case)  # a case is captured when it comes up for the second time
        self.counters = Counters()


def _usual_cases(device: DeviceLayout, layout: Layout) -> Iterator[GraphCase]:
    """The cases of ordinary hops; several sources rarely lose a stream together, so only the complete pattern then."""
    manifest, sources, most = device.manifest, layout.sources, device.most
    chunks = sources * max(1, round(layout.hop_s / manifest.audio.chunk_s))
    audio = (padded(min(chunks, most["audio"]), most["audio"]), device.steps.lengths[-1])
    text = (padded(min(sources, most["text"]), most["text"]), min(2 * TOKENS_STEP, device.most_tokens))
    for pattern in PRESENCE_PATTERNS if sources == 1 else PRESENCE_PATTERNS[:1]:
        sound = audio if "audio" in pattern else (0, 0)
        for frames in usual_frame_counts(manifest, layout, most["vision"]) if "vision" in pattern else [0]:
            for words in [(0, 0), text] if "text" in pattern else [(0, 0)]:
                yield GraphCase(frames, sound, words, pattern)


def _require_profiles(fusion: Engine, device: DeviceLayout, layout: Layout) -> None:
    """Refuse a layout that the fusion engine was not built for, before anything is allocated."""
    problems = fusion.outside(device.fusion_shapes(frozenset(MODALITIES)))
    if problems:
        raise BackendError(
            f"{layout.sources} sources with windows of {layout.window_s:g} s do not fit the engines: "
            f"{problems[0]}; `taemi-edge build-engine --sources {layout.sources}` does so"
        )

"""Whole windows on the GPU: encoders side by side, features in rings that never leave the device, tokens by address.

    upload ──> vision ─> scatter ─┐
           ──> audio  ─> scatter ─┼─> fusion ──> intensities
           ──> text   ─> scatter ─┘

Each encoder runs on a stream of its own, and a kernel lays its rows where indices on the device say. The fusion head
reads whole rings under masks: its keys have no positions, so a ring needs no unrolling. A stream that every source
has lost is bound to its token's buffer, (sources, 1, D): no encoder runs and nothing is copied. One that only some have
lost is masked down to the token's own row at the end of their rings.

So the shapes and addresses of a hop depend only on how much is new and on which streams are there: a CUDA graph is
captured for each such case, when the executor is opened or when the case comes up again, and replayed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import numpy as np

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.spec import EMOTIONS, MODALITIES, PARTS, PRESENCE_PATTERNS, Array, Modality
from taemi_edge.errors import BackendError
from taemi_edge.media.native_output import quiet_native_code
from taemi_edge.runtime.rings import StepCounts, ring_capacity
from taemi_edge.runtime.tensorrt.gpu import Binding, Gpu, open_engine, open_gpu
from taemi_edge.runtime.tensorrt.graphs import DriverMarks, CapturedGraph, PycudaMarks, load_driver
from taemi_edge.runtime.tensorrt.staging import Packed, Staged
from taemi_edge.runtime.work import WorkResult, Layout, SoundChunk, Stopwatch, Work, require_finite

#: Batches are padded up to one of these, which bounds how many graphs there can be.
BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
#: Texts are padded up to a multiple of so many tokens.
TOKENS_STEP = 16
#: More are not kept: a case beyond them runs uncaptured.
MAX_GRAPHS = 96
_THREADS = 256


@dataclass(frozen=True)
class Case:
    """What decides the shapes and addresses of a call: padded batches, and the streams that anyone has.

    `audio` is (chunks, samples of each), `text` (texts, tokens of each); zeros where there is nothing new. `live` is
    None where only encoders run.
    """

    frames: int
    audio: tuple[int, int]
    text: tuple[int, int]
    live: frozenset[Modality] | None


@dataclass(eq=False)
class _Call:
    """One call to the device: what of the works goes in together."""

    frames: list[tuple[int, Array, int]] = field(default_factory=list)
    sounds: list[tuple[int, SoundChunk]] = field(default_factory=list)
    texts: list[tuple[int, Array]] = field(default_factory=list)
    windows: Sequence[Work] = ()


@dataclass
class Counters:
    """What the executor did so far."""

    replayed: int = 0
    launched: int = 0


class TrtExecutor:
    """Implements `taemi_edge.runtime.work.Executor` on a bundle of TensorRT engines.

    Args:
        graphs: capture CUDA graphs where cuda-bindings is installed.
        mapped: whether the GPU reads the host's own memory; None measures which is faster here.

    Raises:
        UsageError: no TensorRT, no PyCUDA or no GPU here.
        EngineError: the engines are for another machine, or not what the manifest says.
        BackendError: not enough memory, or more sources than the engines were built for.
    """

    def __init__(self, bundle: Bundle, layout: Layout, *, graphs: bool = True, mapped: bool | None = None) -> None:
        self._manifest, self._layout = bundle.manifest, layout
        self.counters = Counters()
        #: Set it to False to run the same calls without graphs.
        self.replaying = True
        self._graphs: dict[Case, CapturedGraph] = {}
        self._seen_once: set[Case] = set()
        self._bindings: dict[tuple[object, ...], Binding] = {}
        self._marks: DriverMarks | PycudaMarks | None = None
        self._driver: Any
        self._driver, self.why_uncaptured = load_driver() if graphs else (None, "graphs were switched off")
        self._gpu: Gpu = open_gpu(bundle)
        try:
            self._engines = {part: open_engine(self._gpu, bundle, part) for part in PARTS}
            self.steps = StepCounts(self._manifest, self._count_steps)
            self.capacity = ring_capacity(self._manifest, layout.window_s, self.steps)
            self._open(bundle, mapped)
            self._warm_up()
        except BaseException:
            self.close()
            raise

    # ------------------------------------------------------------------------------------------------- running

    @property
    def backend(self) -> str:
        """Where the last call ran."""
        return "tensorrt+graph" if self._replayed else "tensorrt"

    @property
    def device_ms(self) -> float:
        """How long the GPU took for the last call."""
        return self._marks_open.ms("begin", "end")

    @property
    def mapped(self) -> bool:
        """Whether the GPU reads the host's own memory."""
        return self._pixels.mapped

    def execute(self, works: Sequence[Work]) -> list[WorkResult]:
        watch = Stopwatch()
        faults = np.zeros((len(MODALITIES), self._layout.sources), np.int32)
        for call in self._calls(works):
            case = self._fill(call)
            self._run(case)
            faults |= self._faults.host
            watch.add(self._times(case))
        done = []
        for work in works:
            bad = frozenset(m for i, m in enumerate(MODALITIES) if faults[i, work.source])
            intensities = None
            if work.fuse and not bad:
                intensities = require_finite(self._intensities.host[work.source].copy())
            done.append(WorkResult(intensities, watch.total_ms, bad))
        return done

    def features(self, source: int, modality: Modality, rows: Array) -> Array:
        spans = self._ring_rows[modality], self._manifest.feature_dim_of(modality)
        ring = np.empty(spans, np.float32)
        start = int(self._rings[modality]) + source * ring.nbytes
        with self._gpu.errors("reading features"):
            self._gpu.cuda.memcpy_dtoh(ring, start)
        copied: Array = ring[rows]
        return copied

    def device_memory(self) -> tuple[int, int] | None:
        return self._gpu.memory()

    def close(self) -> None:
        with quiet_native_code() if self._gpu.lost else nullcontext():
            self._close()

    def _close(self) -> None:
        for graph in self._graphs.values():
            graph.close()
        if self._marks is not None:
            self._marks.close()
        for engine in getattr(self, "_engines", {}).values():
            engine.close()
        for name in ("_pixels", "_samples", "_control", "_intensities", "_faults", "_scatter", "_streams", "_joins"):
            self.__dict__.pop(name, None)  # pinned memory, streams and kernels go before their context
        self._graphs.clear()
        self._bindings.clear()
        self._gpu.close()

    def _calls(self, works: Sequence[Work]) -> Iterator[_Call]:
        """The works in calls of at most what the engines take; the last one also fuses."""
        frames = [(w.source, *pair) for w in works for pair in zip(w.pixels, w.pixel_rows, strict=True)]
        sounds = [(work.source, sound) for work in works for sound in work.sounds]
        texts = [(work.source, work.ids) for work in works if work.ids is not None]
        lengths = sorted({len(sound.samples) for _, sound in sounds})
        most = self._most
        fits = len(frames) <= most["vision"] and len(sounds) <= most["audio"] and len(texts) <= most["text"]
        if fits and len(lengths) <= 1:  # as every ordinary hop does
            yield _Call(frames, sounds, texts, [work for work in works if work.fuse])
            return
        by_length = [[pair for pair in sounds if len(pair[1].samples) == length] for length in lengths]
        pieces = (
            list(_split(frames, most["vision"])),
            [piece for group in by_length for piece in _split(group, most["audio"])],
            list(_split(texts, most["text"])),
        )
        windows = [work for work in works if work.fuse]
        count = max(*map(len, pieces), 1 if windows else 0)
        for index in range(count):
            vision, audio, text = (piece[index] if index < len(piece) else [] for piece in pieces)
            yield _Call(vision, audio, text, windows if index == count - 1 else ())

    def _run(self, case: Case) -> None:
        """Replay the case's graph; without one run its calls, and capture them if it came up before."""
        graph = self._graphs.get(case) if self.replaying else None
        if graph is None and self.replaying and case in self._seen_once:
            graph = self._capture(case)
        self._seen_once.add(case)
        with self._gpu.errors("running a window"):
            if graph is not None:
                graph.launch()
                self.counters.replayed += 1
            else:
                self._enqueue(case, capturing=False)
                self.counters.launched += 1
            self._gpu.stream.synchronize()
        self._replayed = graph is not None

    def _capture(self, case: Case) -> CapturedGraph | None:
        if self._driver is None or len(self._graphs) >= MAX_GRAPHS:
            return None
        with self._gpu.errors("capturing a graph"):
            self._graphs[case] = CapturedGraph(self._driver, self._gpu.stream, lambda: self._enqueue(case, capturing=True))
        return self._graphs[case]

    def _enqueue(self, case: Case, capturing: bool) -> None:
        """Put a call on the streams: uploads, encoders side by side, fusion, what comes back."""
        gpu, main = self._gpu, self._gpu.stream
        self._mark("begin", main, capturing)
        self._control.upload(main)
        gpu.cuda.memset_d32_async(self._faults.address, 0, len(MODALITIES) * self._layout.sources, main)
        self._joins["start"].record(main)
        for part, encode in self._encoders(case):
            stream = self._streams[part]
            stream.wait_for_event(self._joins["start"])
            self._mark(f"{part} begin", stream, capturing)
            encode(stream)
            self._mark(f"{part} end", stream, capturing)
            self._joins[part].record(stream)
            main.wait_for_event(self._joins[part])
        if case.live is not None:
            self._mark("fusion begin", main, capturing)
            self._fusion(case.live).enqueue(main)
            self._mark("fusion end", main, capturing)
            self._intensities.download(main)
        self._faults.download(main)
        self._mark("end", main, capturing)

    def _encoders(self, case: Case) -> Iterator[tuple[Modality, Callable[[Any], None]]]:
        if case.frames:
            yield "vision", lambda stream: self._encode_frames(case.frames, stream)
        if case.audio[0]:
            yield "audio", lambda stream: self._encode_sounds(case.audio, stream)
        if case.text[0]:
            yield "text", lambda stream: self._encode_texts(case.text, stream)

    def _encode_frames(self, frames: int, stream: Any) -> None:
        self._pixels.upload(stream, frames)
        self._vision(frames).enqueue(stream)
        self._lay("vision", frames, stream)

    def _encode_sounds(self, shape: tuple[int, int], stream: Any) -> None:
        chunks, samples = shape
        self._samples[samples].upload(stream, chunks)
        self._audio(shape).enqueue(stream)
        self._lay("audio", chunks * self.steps.encoded(samples), stream)

    def _encode_texts(self, shape: tuple[int, int], stream: Any) -> None:
        self._words(shape).enqueue(stream)
        self._lay("text", shape[0] * shape[1], stream)

    def _lay(self, modality: Modality, count: int, stream: Any) -> None:
        """Scatter an encoder's output rows into the rings."""
        index = MODALITIES.index(modality)
        self._scatter.prepared_async_call(
            (count, 1),
            (_THREADS, 1, 1),
            stream,
            int(self._encoded[modality]),
            self._control.address[f"{modality} rows"],
            int(self._rings[modality]),
            self._faults.address + 4 * index * self._layout.sources,
            self._manifest.feature_dim_of(modality),
            self._ring_rows[modality],
        )

    # ------------------------------------------------------------------------------------- what the device reads

    def _fill(self, call: _Call) -> Case:
        """Write a call's inputs, indices and masks where the device reads them; its case."""
        control = self._control.host
        for m in MODALITIES:
            control[f"{m} rows"].fill(-1)
        for at, (source, pixels, row) in enumerate(call.frames):
            self._pixels.host[at] = pixels
            control["vision rows"][at] = -1 if row < 0 else self._row(source, "vision", row)
        audio = self._fill_sounds(call.sounds)
        text = self._fill_texts(call.texts)
        live = self._fill_masks(call.windows) if call.windows else None
        frames = padded(len(call.frames), self._most["vision"])
        return Case(frames, audio, text, live)

    def _fill_sounds(self, sounds: list[tuple[int, SoundChunk]]) -> tuple[int, int]:
        if not sounds:
            return 0, 0
        samples = len(sounds[0][1].samples)
        steps, rows = self.steps.encoded(samples), self._control.host["audio rows"]
        for at, (source, sound) in enumerate(sounds):
            self._samples[samples].host[at] = sound.samples
            placed = rows[at * steps : (at + 1) * steps]
            kept = sound.rows >= 0
            placed[kept] = self._row(source, "audio", sound.rows[kept])
        return padded(len(sounds), self._most["audio"]), samples

    def _fill_texts(self, texts: list[tuple[int, Array]]) -> tuple[int, int]:
        if not texts:
            return 0, 0
        batch = padded(len(texts), self._most["text"])
        longest = max(len(ids) for _, ids in texts)
        tokens = min(-(-longest // TOKENS_STEP) * TOKENS_STEP, self._most_tokens)
        control, size = self._control.host, batch * tokens
        ids, mask = (control[name][:size].reshape(batch, tokens) for name in ("ids", "text input mask"))
        rows = control["text rows"][:size].reshape(batch, tokens)
        ids.fill(0)
        mask.fill(0)
        mask[:, 0] = 1
        for at, (source, words) in enumerate(texts):
            ids[at, : len(words)], mask[at, : len(words)] = words, 1
            rows[at, : len(words)] = self._row(source, "text", np.arange(len(words)))
        return batch, tokens

    def _fill_masks(self, works: Sequence[Work]) -> frozenset[Modality]:
        """Which rows of its rings each source's window is; the streams that anyone has."""
        live: set[Modality] = {m for work in works for m in work.window}
        for m in live:
            mask = self._control.host[f"{m} mask"]
            mask.fill(0)
            for work in works:
                rows = work.window.get(m)
                mask[work.source, self.capacity[m] if rows is None else rows] = 1
        return frozenset(live)

    def _row(self, source: int, modality: Modality, row: Any) -> Any:
        """A row of one source's ring as a row of all rings."""
        return source * self._ring_rows[modality] + row

    # ---------------------------------------------------------------------------------------------- opening

    def _count_steps(self, samples: int) -> int:
        shape: tuple[int, ...] = self._engines["audio"].bind({"samples": (1, samples)}).shapes["features"]
        return shape[1]

    def _open(self, bundle: Bundle, mapped: bool | None) -> None:
        """Allocate everything that calls use: rings, tokens, staging, outputs, streams, events."""
        gpu, sources = self._gpu, self._layout.sources
        dims = {m: self._manifest.feature_dim_of(m) for m in MODALITIES}
        self._ring_rows = {m: self.capacity[m] + (sources > 1) for m in MODALITIES}
        self._require_profiles()
        self._rings, self._tokens = {}, {}
        for m in MODALITIES:
            rings = np.zeros((sources, self._ring_rows[m], dims[m]), np.float32)
            rings[:, self.capacity[m] :] = bundle.tokens[m]
            self._rings[m] = gpu.allocate_like(rings)
            self._tokens[m] = gpu.allocate_like(np.tile(bundle.tokens[m].astype(np.float32), (sources, 1, 1)))
        self._ones = gpu.allocate_like(np.ones((sources, 1), np.int32))
        spans: dict[Modality, str] = {"vision": "frames", "audio": "batch", "text": "batch"}
        #: How many frames, chunks and texts fit into one call.
        self._most = most = {m: self._engines[m].span(dimension)[1] for m, dimension in spans.items()}
        self._most_tokens = self._manifest.text.max_tokens
        steps = max(self.steps.encoded(samples) for samples in self.steps.lengths)
        rows: dict[Modality, int] = {
            "vision": most["vision"],
            "audio": most["audio"] * steps,
            "text": most["text"] * self._most_tokens,
        }
        self._encoded = {m: gpu.allocate(4 * rows[m] * dims[m]) for m in MODALITIES}
        self._intensities = Staged(gpu, (sources, len(EMOTIONS)), np.float32, mapped=False)
        self._faults = Staged(gpu, (len(MODALITIES), sources), np.int32, mapped=False)
        self._streams = {m: gpu.new_stream() for m in MODALITIES}
        flags = gpu.cuda.event_flags.DISABLE_TIMING
        self._joins = {name: gpu.cuda.Event(flags) for name in ("start", *MODALITIES)}
        names = ("begin", "end", *(f"{part} {edge}" for part in PARTS for edge in ("begin", "end")))
        self._marks = PycudaMarks(gpu.cuda, names) if self._driver is None else DriverMarks(self._driver, names)
        self._replayed = False
        kernel = (files("taemi_edge.runtime.tensorrt") / "kernels" / "scatter.ptx").read_bytes()
        with gpu.errors("loading a kernel"):
            self._scatter = gpu.cuda.module_from_buffer(kernel).get_function("scatter_rows")
            self._scatter.prepare("PPPPii")
        self._stage(rows, mapped)

    def _stage(self, rows: Mapping[Modality, int], mapped: bool | None) -> None:
        """Allocate what the host fills: copied or mapped, whichever the vision encoder runs faster on here."""
        chosen = self._faster_mapped() if mapped is None else mapped
        height, width = self._manifest.vision.size_hw
        self._pixels = Staged(self._gpu, (self._most["vision"], height, width, 3), np.uint8, chosen)
        self._samples = {n: Staged(self._gpu, (self._most["audio"], n), np.float32, chosen) for n in self.steps.lengths}
        shapes: dict[str, tuple[int, ...]] = {f"{m} rows": (rows[m],) for m in MODALITIES}
        shapes |= {f"{m} mask": (self._layout.sources, self._ring_rows[m]) for m in MODALITIES}
        shapes |= {"ids": (rows["text"],), "text input mask": (rows["text"],)}
        self._control = Packed(self._gpu, shapes, chosen)

    def _faster_mapped(self) -> bool:
        """Time the vision encoder on one hop's frames, copied to the device and read from the host."""
        gpu = self._gpu
        if not gpu.device.get_attribute(gpu.cuda.device_attribute.CAN_MAP_HOST_MEMORY):
            return False
        frames = padded(self._usual_frames()[0] or 1, self._most["vision"])
        binding = self._engines["vision"].bind({"pixels": (frames, *self._manifest.vision.size_hw, 3)})
        times: dict[bool, float] = {}
        with gpu.errors("measuring transfers"):
            for mapped in (False, True):
                staged = Staged(gpu, binding.shapes["pixels"], np.uint8, mapped)
                binding.at(pixels=staged.address, features=self._encoded["vision"])
                runs = []
                for _ in range(12):
                    first, then = gpu.cuda.Event(), gpu.cuda.Event()
                    first.record(gpu.stream)
                    staged.upload(gpu.stream)
                    binding.enqueue(gpu.stream)
                    then.record(gpu.stream)
                    then.synchronize()
                    runs.append(then.time_since(first))
                times[mapped] = float(np.median(runs[2:]))
        return times[True] < times[False]

    def _warm_up(self) -> None:
        """Run and capture what an ordinary hop asks for in every presence pattern."""
        manifest, sources = self._manifest, self._layout.sources
        chunks = sources * max(1, round(self._layout.hop_s / manifest.audio.chunk_s))
        audio = (padded(min(chunks, self._most["audio"]), self._most["audio"]), self.steps.lengths[-1])
        tokens = min(2 * TOKENS_STEP, self._most_tokens)
        texts = padded(min(sources, self._most["text"]), self._most["text"])
        for m in MODALITIES:
            self._control.host[f"{m} rows"].fill(-1)
            self._control.host[f"{m} mask"][:, 0] = 1
        self._control.host["text input mask"].fill(1)
        for pattern in PRESENCE_PATTERNS if sources == 1 else PRESENCE_PATTERNS[:1]:
            for frames in self._usual_frames() if "vision" in pattern else [0]:
                for text in [(0, 0), (texts, tokens)] if "text" in pattern else [(0, 0)]:
                    case = Case(frames, audio if "audio" in pattern else (0, 0), text, pattern)
                    self._run(case)
                    self._run(case)
        self.counters = Counters()

    def _usual_frames(self) -> list[int]:
        """How many frames the hops of all sources bring, padded: a rate that is no multiple gives two counts."""
        each = self._manifest.vision.frames_per_second * self._layout.hop_s
        most = self._most["vision"]
        counts = {math.floor(each) * self._layout.sources, math.ceil(each) * self._layout.sources}
        return sorted({padded(min(count, most), most) for count in counts})

    def _require_profiles(self) -> None:
        """Refuse a layout that the fusion engine was not built for, before anything is allocated."""
        problems = self._engines["fusion"].outside(self._fusion_shapes(frozenset(MODALITIES)))
        if problems:
            raise BackendError(
                f"{self._layout.sources} sources with windows of {self._layout.window_s:g} s do not fit the engines: "
                f"{problems[0]}; `taemi-edge build-engine --sources {self._layout.sources}` does so"
            )

    # ------------------------------------------------------------------------------------------------ bindings

    def _fusion_shapes(self, live: frozenset[Modality]) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        for m in MODALITIES:
            steps = self._ring_rows[m] if m in live else 1
            shapes[m] = (self._layout.sources, steps, self._manifest.feature_dim_of(m))
            shapes[f"{m}_mask"] = shapes[m][:2]
        return shapes

    def _fusion(self, live: frozenset[Modality]) -> Binding:
        """The head on the rings of the streams that are there and on the tokens of the others."""

        def bound() -> Binding:
            places: dict[str, Any] = {"intensities": self._intensities.address}
            for m in MODALITIES:
                places[m] = self._rings[m] if m in live else self._tokens[m]
                places[f"{m}_mask"] = self._control.address[f"{m} mask"] if m in live else self._ones
            return self._engines["fusion"].bind(self._fusion_shapes(live)).at(**places)

        return self._kept(("fusion", live), bound)

    def _vision(self, frames: int) -> Binding:
        shape = (frames, *self._manifest.vision.size_hw, 3)
        places = {"pixels": self._pixels.address, "features": self._encoded["vision"]}
        return self._kept(("vision", frames), lambda: self._engines["vision"].bind({"pixels": shape}).at(**places))

    def _audio(self, shape: tuple[int, int]) -> Binding:
        places = {"samples": self._samples[shape[1]].address, "features": self._encoded["audio"]}
        return self._kept(("audio", shape), lambda: self._engines["audio"].bind({"samples": shape}).at(**places))

    def _words(self, shape: tuple[int, int]) -> Binding:
        control = self._control.address
        places = {"ids": control["ids"], "mask": control["text input mask"], "features": self._encoded["text"]}
        shapes = {"ids": shape, "mask": shape}
        return self._kept(("text", shape), lambda: self._engines["text"].bind(shapes).at(**places))

    def _kept(self, key: tuple[object, ...], make: Callable[[], Binding]) -> Binding:
        """A binding that is made once: a captured graph goes on using it."""
        if key not in self._bindings:
            self._bindings[key] = make()
        return self._bindings[key]

    # -------------------------------------------------------------------------------------------------- timing

    @property
    def _marks_open(self) -> DriverMarks | PycudaMarks:
        if self._marks is None:
            raise BackendError("expected an open executor, got one that was closed")
        return self._marks

    def _mark(self, name: str, stream: Any, capturing: bool) -> None:
        self._marks_open.record(name, stream, capturing)

    def _times(self, case: Case) -> dict[str, float]:
        """Milliseconds of each part of the last call."""
        ran = {"vision": case.frames, "audio": case.audio[0], "text": case.text[0], "fusion": case.live is not None}
        with self._gpu.errors("reading times"):
            return {part: self._marks_open.ms(f"{part} begin", f"{part} end") for part, did in ran.items() if did}


def padded(count: int, most: int) -> int:
    """A batch's size as it is run: the next bucket, at most what the engine takes; 0 stays.

    >>> padded(5, 48), padded(0, 48), padded(40, 44)
    (6, 0, 44)
    """
    return 0 if count == 0 else min(next((b for b in BUCKETS if b >= count), most), most)


def _split(items: list[Any], most: int) -> Iterator[list[Any]]:
    for at in range(0, len(items), most):
        yield items[at : at + most]

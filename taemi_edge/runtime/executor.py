"""What hops ask for in, intensities out: encode what is new, keep features in rings, bind tokens, fuse.

One protocol, two ways to do it. `HostExecutor` runs any `Sessions` and keeps features in numpy; on TensorRT,
`taemi_edge.runtime.trt_executor` keeps them on the GPU and replays a CUDA graph. Several sources share a call: their
frames, their sound, their texts and their windows are batched.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Protocol

import numpy as np

from taemi_edge.bundle import Bundle
from taemi_edge.errors import BackendError
from taemi_edge.runtime.inputs import MAX_BATCH
from taemi_edge.runtime.rings import StepCounts, ring_capacity
from taemi_edge.runtime.session import Device, Sessions, open_sessions, require_device
from taemi_edge.spec import MODALITIES, PARTS, Array, Modality


@dataclass(frozen=True, eq=False)
class Sound:
    """A chunk of sound with its context, float32 (samples,); `rows`, int32 (T,): where each step goes, or -1."""

    samples: Array
    rows: Array


@dataclass(frozen=True, eq=False)
class Work:
    """What one source asks for at one hop.

    Attributes:
        source: which of the executor's sources.
        pixels: new face crops, uint8 (H, W, 3) each; `pixel_rows` int32 (frames,): where their features go.
        sounds: new chunks of sound.
        ids: the window's words as token ids, int32 (T,), if they changed; their features take rows 0 to T - 1.
        window: the rows that count of every stream that is there; a stream that is not in it is replaced by its token.
        fuse: whether a prediction is wanted, or the encoders alone.
    """

    source: int = 0
    pixels: Sequence[Array] = ()
    pixel_rows: Array = field(default_factory=lambda: np.zeros(0, np.int32))
    sounds: Sequence[Sound] = ()
    ids: Array | None = None
    window: Mapping[Modality, Array] = field(default_factory=dict)
    fuse: bool = True

    @property
    def parts(self) -> set[str]:
        """The parts that have anything to do for it."""
        asked = {
            "vision": len(self.pixels),
            "audio": len(self.sounds),
            "text": self.ids is not None,
            "fusion": self.fuse,
        }
        return {part for part, wanted in asked.items() if wanted}


@dataclass(frozen=True, eq=False)
class Done:
    """What came of a `Work`.

    Attributes:
        intensities: float32 (6,); None where no prediction was asked for, or a fault was found.
        part_ms: how long each part's call took that this work had a share in.
        faults: streams whose new features held a NaN or an infinity; those features were not kept.
    """

    intensities: Array | None
    part_ms: Mapping[str, float]
    faults: frozenset[Modality] = frozenset()


@dataclass(frozen=True)
class Layout:
    """How many sources there are, how far back their windows look, and how often a prediction is made."""

    sources: int
    window_s: float
    hop_s: float


class Executor(Protocol):
    """Runs the works of one bundle; all calls come from one thread."""

    steps: StepCounts
    #: How many rows each source has in the ring of a stream.
    capacity: dict[Modality, int]

    @property
    def backend(self) -> str:
        """Where the last call ran: "cpu", "cuda", "tensorrt" or "tensorrt+graph"."""
        ...

    def execute(self, works: Sequence[Work]) -> list[Done]:
        """Run works of different sources together.

        Raises:
            DeviceLostError: the device is gone, and with it all features.
            BackendError: feeds that do not fit, or intensities that are no numbers.
        """
        ...

    def features(self, source: int, modality: Modality, rows: Array) -> Array:
        """A copy of features, float32 (T, D)."""
        ...

    def device_memory(self) -> tuple[int, int] | None:
        """Free and total bytes of the GPU; None where none is used."""
        ...

    def close(self) -> None: ...


def open_executor(bundle: Bundle, layout: Layout, device: Device | None = None, threads: int = 0) -> Executor:
    """The way to run a bundle on a device: on the GPU throughout where it holds TensorRT's engines.

    Raises:
        UsageError, EngineError, BackendError: see `taemi_edge.runtime.session.open_sessions`.
    """
    chosen = require_device(bundle, device)
    if chosen == "tensorrt":
        from taemi_edge.runtime.trt_executor import TrtExecutor

        return TrtExecutor(bundle, layout)
    return HostExecutor(bundle, layout, open_sessions(bundle, chosen, threads), chosen)


class HostExecutor:
    """Implements `Executor` on sessions that take and give numpy arrays; owns them."""

    def __init__(self, bundle: Bundle, layout: Layout, sessions: Sessions, backend: str = "cpu") -> None:
        manifest = bundle.manifest
        self._backend = backend
        self.sessions = sessions
        self.steps = StepCounts(manifest, self._count_steps)
        self.capacity = ring_capacity(manifest, layout.window_s, self.steps)
        self._tokens = {m: np.ascontiguousarray(bundle.tokens[m], np.float32) for m in MODALITIES}
        self._rings: dict[Modality, Array] = {
            m: np.zeros((layout.sources, self.capacity[m], manifest.feature_dim_of(m)), np.float32) for m in MODALITIES
        }

    @property
    def backend(self) -> str:
        return self._backend

    def execute(self, works: Sequence[Work]) -> list[Done]:
        watch = Stopwatch()
        faults: dict[int, set[Modality]] = {work.source: set() for work in works}
        self._encode_frames(works, watch, faults)
        self._encode_sounds(works, watch, faults)
        self._encode_texts(works, watch, faults)
        clean = [work for work in works if work.fuse and not faults[work.source]]
        intensities = dict(zip([w.source for w in clean], self._fuse(clean, watch), strict=True)) if clean else {}
        return [Done(intensities.get(work.source), watch.total_ms, frozenset(faults[work.source])) for work in works]

    def features(self, source: int, modality: Modality, rows: Array) -> Array:
        copied: Array = self._rings[modality][source][rows]
        return copied

    def device_memory(self) -> tuple[int, int] | None:
        return None

    def close(self) -> None:
        self.sessions.close()

    def _count_steps(self, samples: int) -> int:
        silence = np.zeros((1, samples), np.float32)
        return int(self.sessions["audio"].run({"samples": silence})["features"].shape[1])

    def _encode_frames(self, works: Sequence[Work], watch: Stopwatch, faults: dict[int, set[Modality]]) -> None:
        frames = [(work.source, *frame) for work in works for frame in zip(work.pixels, work.pixel_rows, strict=True)]
        for batch in _batches(frames):
            with watch.timed("vision"):
                encoded = self.sessions["vision"].run({"pixels": np.stack([pixels for _, pixels, _ in batch])})
            at = 0
            for source, frames_of_one in groupby(batch, key=lambda frame: frame[0]):
                rows = np.array([row for _, _, row in frames_of_one])
                self._keep(source, "vision", rows, encoded["features"][at : at + len(rows)], faults)
                at += len(rows)

    def _encode_sounds(self, works: Sequence[Work], watch: Stopwatch, faults: dict[int, set[Modality]]) -> None:
        sounds = [(work.source, sound) for work in works for sound in work.sounds]
        for length in sorted({len(sound.samples) for _, sound in sounds}):
            for batch in _batches([pair for pair in sounds if len(pair[1].samples) == length]):
                with watch.timed("audio"):
                    encoded = self.sessions["audio"].run({"samples": np.stack([s.samples for _, s in batch])})
                for (source, sound), features in zip(batch, encoded["features"], strict=True):
                    self._keep(source, "audio", sound.rows, features, faults)

    def _encode_texts(self, works: Sequence[Work], watch: Stopwatch, faults: dict[int, set[Modality]]) -> None:
        texts = [(work.source, work.ids) for work in works if work.ids is not None]
        for batch in _batches(texts):
            feeds = pad_texts([ids for _, ids in batch])
            with watch.timed("text"):
                encoded = self.sessions["text"].run(feeds)
            for (source, ids), features in zip(batch, encoded["features"], strict=True):
                self._keep(source, "text", np.arange(len(ids)), features[: len(ids)], faults)

    def _keep(
        self, source: int, modality: Modality, rows: Array, features: Array, faults: dict[int, set[Modality]]
    ) -> None:
        """Lay features (T, D) into their rows; what holds a NaN tells of itself and is not kept.

        What has no row comes first: the context of a chunk, or what later rows of the same call overwrite.
        """
        first = int(np.count_nonzero(rows < 0))
        kept = features[first:]
        if not np.isfinite(kept.sum(dtype=np.float64)):  # NaN and infinities stay in a sum, and it allocates nothing
            faults[source].add(modality)
        elif len(kept):
            self._rings[modality][source][as_slice(rows[first:])] = kept

    def _fuse(self, works: Sequence[Work], watch: Stopwatch) -> Array:
        """Intensities (B, 6) of windows of different lengths and patterns in one call."""
        feeds: dict[str, Array] = {}
        for m in MODALITIES:
            feeds[m], feeds[f"{m}_mask"] = self._window(m, works)
        with watch.timed("fusion"):
            intensities = self.sessions["fusion"].run(feeds)["intensities"]
        return require_finite(intensities)

    def _window(self, modality: Modality, works: Sequence[Work]) -> tuple[Array, Array]:
        """One stream of all works, (B, T, D) and its mask (B, T): a lost one is its token, shorter ones are padded."""
        ring, token = self._rings[modality], self._tokens[modality]
        if len(works) == 1:
            rows = works[0].window.get(modality)
            only = token[None] if rows is None else ring[works[0].source][as_slice(rows)]
            return only[None], np.ones((1, len(only)), np.int32)
        longest = max(len(work.window.get(modality, (0,))) for work in works)
        features = np.zeros((len(works), longest, len(token)), np.float32)
        mask = np.zeros((len(works), longest), np.int32)
        for row, work in enumerate(works):
            rows = work.window.get(modality)
            steps = 1 if rows is None else len(rows)
            features[row, :steps] = token if rows is None else ring[work.source][rows]
            mask[row, :steps] = 1
        return features, mask


class Stopwatch:
    """Adds up milliseconds under names."""

    def __init__(self) -> None:
        self.total_ms: dict[str, float] = {}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.add({name: (time.perf_counter() - start) * 1e3})

    def add(self, parts_ms: Mapping[str, float]) -> None:
        """Count what was timed elsewhere."""
        for name, ms in parts_ms.items():
            self.total_ms[name] = self.total_ms.get(name, 0.0) + ms


def pad_texts(texts: Sequence[Array]) -> dict[str, Array]:
    """Token ids (T,) each as the text encoder's feeds, padded with 0 to the longest: `ids` and `mask`, int32 (B, T)."""
    longest = max(len(ids) for ids in texts)
    feeds = {name: np.zeros((len(texts), longest), np.int32) for name in ("ids", "mask")}
    for row, ids in enumerate(texts):
        feeds["ids"][row, : len(ids)] = ids
        feeds["mask"][row, : len(ids)] = 1
    return feeds


def as_slice(rows: Array) -> Array | slice:
    """Rows that follow one another as a slice, which copies nothing; others as they are."""
    first, last = int(rows[0]), int(rows[-1])
    return slice(first, last + 1) if last - first + 1 == len(rows) else rows


def require_finite(intensities: Array) -> Array:
    """Intensities as they are.

    Raises:
        BackendError: one is no number although all features were.
    """
    if not np.isfinite(intensities).all():
        raise BackendError(
            "fusion gave NaN for features that are numbers: check the bundle with `taemi-edge parity`, and build or "
            "export it anew"
        )
    return intensities


def merged(first: Done, then: Done) -> Done:
    """Two calls for one hop as one: the later intensities, the times of both."""
    watch = Stopwatch()
    watch.add(first.part_ms)
    watch.add({part: ms for part, ms in then.part_ms.items() if part in PARTS})
    return replace(then, part_ms=watch.total_ms, faults=first.faults | then.faults)


def _batches(items: list[tuple]) -> Iterator[list[tuple]]:  # type: ignore[type-arg]
    for at in range(0, len(items), MAX_BATCH):
        yield items[at : at + MAX_BATCH]

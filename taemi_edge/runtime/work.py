"""The seam between a source's window and whatever runs its model: what a hop asks for, and what comes back."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from taemi_edge.bundle.spec import PARTS, Array, Modality
from taemi_edge.errors import BackendError
from taemi_edge.runtime.rings import StepCounts


@dataclass(frozen=True, eq=False)
class SoundChunk:
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
    sounds: Sequence[SoundChunk] = ()
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
class WorkResult:
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

    def execute(self, works: Sequence[Work]) -> list[WorkResult]:
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


def merged(first: WorkResult, then: WorkResult) -> WorkResult:
    """Two calls for one hop as one: the later intensities, the times of both."""
    watch = Stopwatch()
    watch.add(first.part_ms)
    watch.add({part: ms for part, ms in then.part_ms.items() if part in PARTS})
    return replace(then, part_ms=watch.total_ms, faults=first.faults | then.faults)

"""The interface between a source's window and whatever runs its model.

A window makes `Work`, which says what to encode and to fuse; an executor makes a `WorkResult` of it. `Executor` is the
protocol; `host_executor` and `tensorrt.executor` implement it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from taemi_edge.bundle.spec import PARTS, Modality
from taemi_edge.bundle.values import Array
from taemi_edge.errors import BackendError
from taemi_edge.runtime.rings import StepCounts


@dataclass(frozen=True, eq=False)
class SoundChunk:
    """A chunk of sound for the audio encoder.

    Attributes:
        samples: the chunk with its context, float32 (samples,).
        rows: the row of the ring for each step that the encoder gives, int32 (T,); -1 for steps that are not kept.
    """

    samples: Array
    rows: Array


@dataclass(frozen=True, eq=False)
class Work:
    """What one source needs from the executor at one hop.

    Attributes:
        source: the source's number.
        pixels: new face crops, uint8 (H, W, 3) each.
        pixel_rows: the row of the ring for the features of each crop, int32 (frames,); -1 for those not kept.
        sounds: new chunks of sound.
        ids: the window's words as token ids, int32 (T,), if they changed; their features take rows 0 to T - 1.
        window: the rows of the window, by stream; a stream that is not in it is replaced by its token.
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
        """The parts that run for this work."""
        needed = {
            "vision": len(self.pixels),
            "audio": len(self.sounds),
            "text": self.ids is not None,
            "fusion": self.fuse,
        }
        return {part for part, runs in needed.items() if runs}


@dataclass(frozen=True, eq=False)
class WorkResult:
    """The result of a `Work`.

    Attributes:
        intensities: float32 (6,); None where no prediction was wanted, or a fault was found.
        part_ms: how long the call of each part took that this work shared, in milliseconds.
        faults: streams whose new features held a NaN or an infinity; those features were not kept.
    """

    intensities: Array | None
    part_ms: Mapping[str, float]
    faults: frozenset[Modality] = frozenset()


@dataclass(frozen=True)
class Layout:
    """What an executor is opened for.

    Attributes:
        sources: how many there are.
        window_s: how far back a prediction looks, in seconds.
        hop_s: how often a prediction is made, in seconds.
    """

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
            DeviceLostError: the device is gone, and all features with it.
            BackendError: feeds that do not fit, or intensities that are NaN.
        """
        ...

    def features(self, source: int, modality: Modality, rows: Array) -> Array:
        """A copy of features, float32 (T, D), from the rows (T,) of a source's ring."""
        ...

    def device_memory(self) -> tuple[int, int] | None:
        """Free and total bytes of the GPU; None where none is used."""
        ...

    def close(self) -> None:
        """Free the device."""


class Stopwatch:
    """Adds up milliseconds under names.

    Example:
        >>> watch = Stopwatch()
        >>> watch.add({"vision": 1.5})
        >>> watch.add({"vision": 0.5, "fusion": 1.0})
        >>> watch.total_ms
        {'vision': 2.0, 'fusion': 1.0}
    """

    def __init__(self) -> None:
        self.total_ms: dict[str, float] = {}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Count what the `with` block takes."""
        start = time.perf_counter()
        yield
        self.add({name: (time.perf_counter() - start) * 1e3})

    def add(self, parts_ms: Mapping[str, float]) -> None:
        """Add milliseconds that were measured elsewhere."""
        for name, ms in parts_ms.items():
            self.total_ms[name] = self.total_ms.get(name, 0.0) + ms


def pad_texts(texts: Sequence[Array]) -> dict[str, Array]:
    """Make the text encoder's feeds of B texts.

    Args:
        texts: token ids, int32 (T,) each.

    Returns:
        `ids` and `mask`, int32 (B, T) each, padded with 0 to the longest text.

    Example:
        >>> pad_texts([np.array([5, 6]), np.array([7])])["ids"].tolist()
        [[5, 6], [7, 0]]
    """
    longest = max(len(ids) for ids in texts)
    feeds = {name: np.zeros((len(texts), longest), np.int32) for name in ("ids", "mask")}
    for row, ids in enumerate(texts):
        feeds["ids"][row, : len(ids)] = ids
        feeds["mask"][row, : len(ids)] = 1
    return feeds


def as_slice(rows: Array) -> Array | slice:
    """Rows that follow one another as a slice, which copies nothing; other rows as they are.

    >>> as_slice(np.array([3, 4, 5]))
    slice(3, 6, None)
    """
    first, last = int(rows[0]), int(rows[-1])
    return slice(first, last + 1) if last - first + 1 == len(rows) else rows


def require_finite(intensities: Array) -> Array:
    """Return intensities as they are, if all of them are finite.

    Raises:
        BackendError: one is NaN or infinite although all features were finite.
    """
    if not np.isfinite(intensities).all():
        raise BackendError(
            "fusion gave NaN for features that are numbers: check the bundle with `taemi-edge parity`, and build or "
            "export it anew"
        )
    return intensities


def merged(first: WorkResult, then: WorkResult) -> WorkResult:
    """Join the results of two calls for one hop: the intensities of the later one, the times of both."""
    watch = Stopwatch()
    watch.add(first.part_ms)
    watch.add({part: ms for part, ms in then.part_ms.items() if part in PARTS})
    return replace(then, part_ms=watch.total_ms, faults=first.faults | then.faults)

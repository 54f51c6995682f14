"""What a benchmark found, as data: times of every contender, limits of the machine, what the device said of itself."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np

from taemi_edge.bench.power import PowerReport
from taemi_edge.bundle.spec import Frozen, Part

#: The bundle itself; every ratio is over it.
OURS = "taemi-edge"


class Stats(Frozen, frozen=True):
    """Milliseconds over single runs."""

    median: float
    p95: float
    p99: float
    runs: int


def stats_of(times_ms: Sequence[float]) -> Stats | None:
    """None of no times.

    >>> stats_of([1.0, 2.0, 9.0]).median
    2.0
    """
    if not times_ms:
        return None
    return Stats(
        median=round(statistics.median(times_ms), 5),
        p95=round(float(np.quantile(times_ms, 0.95)), 5),
        p99=round(float(np.quantile(times_ms, 0.99)), 5),
        runs=len(times_ms),
    )


class Timing(Frozen, frozen=True):
    """One contender on one thing.

    Attributes:
        wall: by the clock on the wall, from call to result.
        device: by the device's own events, where it has any; without what the host adds.
        max_abs, cosine: of its output with PyTorch's in FP32, recorded at export.
        failure: why there are no times.
    """

    contender: str
    wall: Stats | None = None
    device: Stats | None = None
    max_abs: float | None = None
    cosine: float | None = None
    failure: str = ""

    @property
    def best(self) -> Stats | None:
        """The device's own time where it tells, else by the wall."""
        return self.device or self.wall


class PartTimes(Frozen, frozen=True):
    """One part at one batch; feeds lie on the device already.

    Attributes:
        operations, bytes: what it needs at least (`taemi_edge.bench.costs`); None where that could not be counted.
        limit_ms: the least time that this machine's ceilings allow for them.
        share: limit_ms over the bundle's own time.
    """

    part: Part
    batch: int
    timings: tuple[Timing, ...]
    operations: float | None = None
    bytes: int | None = None
    limit_ms: float | None = None
    share: float | None = None


class WindowTimes(Frozen, frozen=True):
    """A whole prediction from arrays on the host to intensities on the host.

    `kind` "hop" encodes what a hop brings, "window" everything in the window.
    """

    kind: str
    pattern: str
    timings: tuple[Timing, ...]


class SourcesTimes(Frozen, frozen=True):
    """A hop of several sources in one call."""

    sources: int
    timing: Timing
    predictions_per_s: float | None
    #: Throughput and latency over those of one source.
    throughput_ratio: float | None = None
    latency_ratio: float | None = None


class BenchReport(Frozen, frozen=True):
    """Everything that `taemi-edge bench` found.

    Attributes:
        overhead_ms: what the runtime adds to a hop beyond the device's own time, median.
        ratios: times of the contenders over the bundle's own, for a hop with all streams.
        saved: by stream, how much less time the encoders take without it, over what its own took: 1 is all of it, and
            more where encoders side by side slow each other down.
    """

    bundle: str
    model: str
    command: str
    machine: dict[str, str]
    contenders: dict[str, dict[str, str]]
    not_run: dict[str, str]
    parts: tuple[PartTimes, ...]
    windows: tuple[WindowTimes, ...]
    sources: tuple[SourcesTimes, ...]
    ceilings: dict[str, float]
    ratios: dict[str, float]
    overhead_ms: float | None
    saved: dict[str, float]
    power: PowerReport
    seconds: float


def find(timings: Sequence[Timing], contender: str) -> Timing | None:
    """The timing of one contender."""
    return next((timing for timing in timings if timing.contender == contender), None)

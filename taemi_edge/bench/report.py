"""The data of a benchmark's report: times of every contender, limits of the machine, readings of the device."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec
import numpy as np

from taemi_edge.bench.noise import Noise
from taemi_edge.bench.power import PowerReport
from taemi_edge.bundle.values import Frozen

#: The name of the bundle itself. Every ratio compares a contender with it.
OURS = "taemi-edge"


class Stats(Frozen, frozen=True):
    """Milliseconds of single runs."""

    median: float
    p95: float
    p99: float
    runs: int


def stats_of(times_ms: Sequence[float]) -> Stats | None:
    """Summarise times; None where there are none.

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
    """The times of one contender on one part or window.

    Attributes:
        wall: by the host's clock, from call to result.
        device: by the device's own clock, without what the host adds; None where the device does not measure.
        max_abs, cosine, pearson: of its outputs with those of the model in FP32, recorded at export; None where none
            are. Pearson is taken over all numbers of the outputs.
        failure: why there are no times.
    """

    contender: str
    wall: Stats | None = None
    device: Stats | None = None
    max_abs: float | None = None
    cosine: float | None = None
    pearson: float | None = None
    failure: str = ""

    @property
    def best(self) -> Stats | None:
        """The times by the device's own clock where there are any, else by the host's."""
        return self.device or self.wall


class PartTimes(Frozen, frozen=True):
    """The times of one part at one batch; feeds lie on the device already.

    Attributes:
        operations, bytes: the least that it needs (`taemi_edge.bench.costs`); None where they cannot be counted.
        operations_by: the operations by the type that the bundle does them in: a part in INT8 has some in FP32.
        limit_ms: the least time for them at the highest rates of this machine, each type at its own.
        share: `limit_ms` divided by the bundle's own time; None where it is not judged, since the machine was busy.
        fp32_share: the same as if all operations were done in FP32; above 1 where INT8 beats whatever FP32 could reach.
            None for engines of TensorRT.
    """

    part: str
    batch: int
    timings: tuple[Timing, ...]
    operations: float | None = None
    bytes: int | None = None
    limit_ms: float | None = None
    share: float | None = None
    operations_by: dict[str, float] = msgspec.field(default_factory=dict)
    fp32_share: float | None = None


class WindowTimes(Frozen, frozen=True):
    """The times of a whole prediction, from arrays on the host to outputs on the host.

    Attributes:
        kind: "hop" encodes what a hop brings, "window" everything in the window.
        pattern: the name of the presence pattern.
    """

    kind: str
    pattern: str
    timings: tuple[Timing, ...]


class SourcesTimes(Frozen, frozen=True):
    """The times of a hop of several sources in one call.

    Attributes:
        throughput_ratio, latency_ratio: divided by those of one source; None where one source was not timed.
    """

    sources: int
    timing: Timing
    predictions_per_s: float | None
    throughput_ratio: float | None = None
    latency_ratio: float | None = None


class BenchReport(Frozen, frozen=True):
    """Everything that `taemi-edge bench` found.

    Attributes:
        date: the day in UTC; empty in reports of older versions.
        not_run: what was not timed, each with the reason: contenders, and presence patterns.
        overhead_ms: the median time of a hop less the median time of the device.
        ratios: the times of the contenders divided by the bundle's own, for a hop with all streams.
        script_ratios: the same for scripts that keep no features, and so encode the whole window again at every hop.
        saved: for each stream, how much less time the encoders take without it, divided by the time of its own
            encoder. 1 is all of it; more where encoders that run side by side slow each other down.
        noise: how busy the machine was; where it was busy, no part has a share of its limit. None in older reports.
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
    script_ratios: dict[str, float] = msgspec.field(default_factory=dict)
    noise: Noise | None = None
    date: str = ""


def find(timings: Sequence[Timing], contender: str) -> Timing | None:
    """The timing of one contender; None where it has none.

    >>> find([Timing(contender="taemi-edge")], "torch-eager fp32") is None
    True
    """
    return next((timing for timing in timings if timing.contender == contender), None)

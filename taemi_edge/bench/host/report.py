"""The data of the host's benchmark: microseconds by number of sources."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from taemi_edge.bench.host.split import PARTS
from taemi_edge.bench.noise import Noise
from taemi_edge.bundle.limits import MOST_SOURCES
from taemi_edge.bundle.values import Frozen
from taemi_edge.errors import UsageError

#: A percentile of fewer hops means nothing.
_LEAST_HOPS = 16


@dataclass(frozen=True)
class HostOptions:
    """How the host is timed.

    Attributes:
        sources: how many sources share a hop, one number after another.
        hops: how many hops are timed for each number of sources, at least.

    Raises:
        UsageError: a number is too small, or there are more sources than engines are built for.
    """

    sources: tuple[int, ...] = (1, 4, 8, 16)
    hops: int = 320

    def __post_init__(self) -> None:
        if bad := [number for number in self.sources if number < 1]:
            raise UsageError(f"--sources {bad[0]}: expected numbers of at least 1")
        if many := [number for number in self.sources if number > MOST_SOURCES]:
            raise UsageError(f"--sources {many[0]}: expected at most {MOST_SOURCES}, as many as engines are built for")
        if self.hops < _LEAST_HOPS:
            raise UsageError(f"--runs {self.hops}: expected at least {_LEAST_HOPS} hops")


class Microseconds(Frozen, frozen=True):
    """Microseconds of single hops, or of single calls."""

    median: float
    p99: float
    least: float
    hops: int


class HostTimes(Frozen, frozen=True):
    """What the host adds to a hop of some sources.

    Attributes:
        execute_us: all of `Executor.execute`, timed without a split.
        rows_us: what comes before it: the works of the sources' windows.
        prediction_us: what comes after it: the predictions.
        repeated_us: `execute` again, of the works of one hop that are repeated without a pause.
        parts_us: what `execute` spends on each part, timed in other hops; the stamps are left out, and their calls
            cost a little all the same.
    """

    sources: int
    execute_us: Microseconds
    rows_us: Microseconds
    prediction_us: Microseconds
    repeated_us: Microseconds
    parts_us: dict[str, Microseconds]


class HostReport(Frozen, frozen=True):
    """The result of `taemi-edge bench --host`.

    Attributes:
        machine: its processor and interpreter.
        synthetic: the streams whose data was made up, since the demo clip has none of their kind.
        seconds: how long the benchmark took.
        noise: how busy the machine was; None in older reports.
        date: the day in UTC; empty in reports of older versions.
    """

    bundle: str
    model: str
    command: str
    machine: dict[str, str]
    sources: tuple[HostTimes, ...]
    synthetic: tuple[str, ...]
    seconds: float
    noise: Noise | None = None
    date: str = ""


def microseconds(times_us: Sequence[float]) -> Microseconds:
    """Summarise the times of some hops.

    >>> microseconds([1.0, 2.0, 9.0]).median
    2.0
    """
    return Microseconds(
        median=round(statistics.median(times_us), 2),
        p99=round(float(np.quantile(times_us, 0.99)), 2),
        least=round(min(times_us), 2),
        hops=len(times_us),
    )


def _place(part: str) -> int:
    """Where a part stands in tables: in the order in which a hop comes to them."""
    return list(PARTS).index(part) if part in PARTS else len(PARTS)


def host_times(sources: int, whole: Mapping[str, Sequence[float]], parts: Mapping[str, Sequence[float]]) -> HostTimes:
    """Summarise the times of some sources.

    Args:
        whole: microseconds of "execute", "rows" and "prediction", hop by hop, and of "repeated", call by call.
        parts: of each part of `execute`.
    """
    return HostTimes(
        sources=sources,
        **{f"{name}_us": microseconds(times) for name, times in whole.items()},
        parts_us={name: microseconds(parts[name]) for name in sorted(parts, key=_place)},
    )

"""What a contender of the benchmark offers, and how its runs are timed.

`TimedModel` is the protocol of a contender: a model that is opened in one library. `TimedRun` is one part or one window
of it with its feeds, which the benchmark runs again and again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Protocol

from taemi_edge.bench.feeds import BenchWindow, WindowKind, joined_outputs
from taemi_edge.bundle.streams import Pattern
from taemi_edge.bundle.values import Array, Frozen


class TimedRun(Protocol):
    """A part or a window that is run again and again on the same feeds."""

    def run(self) -> None:
        """Run once; when it returns, the device has finished."""
        ...

    def output(self) -> Array:
        """The outputs of the last run, one after the other along their last axis."""
        ...

    def device_ms(self) -> float | None:
        """Milliseconds that the device itself took for the last run; None where it does not measure them."""
        ...

    def parts_ms(self) -> dict[str, float]:
        """Milliseconds of each part in the last run; empty where they are not measured."""
        ...

    def replay(self, graphs: bool) -> None:
        """Say whether later runs replay CUDA graphs; without effect where there are none."""
        ...

    def close(self) -> None:
        """Release what the run holds."""
        ...


class TimedModel(Protocol):
    """A contender: the model, opened once in one library."""

    def describe(self) -> dict[str, str]:
        """Versions and settings, for the report."""
        ...

    def part(self, part: str, feeds: Mapping[str, Array]) -> TimedRun:
        """Prepare one part.

        Args:
            part: the name of a stream, whose encoder it is, or "fusion" for the head.
            feeds: arrays by input name. They are copied to the device before the first run.
        """
        ...

    def window(self, kind: WindowKind, window: BenchWindow, pattern: Pattern, sources: int) -> TimedRun:
        """Prepare encoders and head, from arrays on the host to outputs on the host.

        Args:
            kind: "hop" encodes what the last hop brought, "window" everything.
            window: what came of each stream.
            pattern: the streams that are present.
            sources: how many sources share a call.

        Raises:
            UsageError: this contender cannot run so many sources in one call.
        """
        ...

    def ceilings(self) -> dict[str, float]:
        """The highest rates of this machine: `copy_gb_s` (read and written) and `TYPE_tflop_s`; empty if not known."""
        ...

    def close(self) -> None:
        """Release the model."""
        ...


class RunTimes(Frozen, frozen=True):
    """Milliseconds of single runs.

    Attributes:
        wall: by the host's clock, from call to result.
        device: by the device's own clock; empty where it does not measure.
        parts: the median of each part; empty where they are not measured.
    """

    wall: list[float]
    device: list[float]
    parts: dict[str, float]


def time_runs(prepared: TimedRun, runs: int, warm_up: int) -> RunTimes:
    """Time runs one by one.

    Args:
        prepared: what is run.
        runs: how many runs are timed.
        warm_up: how many runs come before them, untimed.

    Example:
        >>> import numpy as np
        >>> len(time_runs(HostRun(lambda: {"y": np.zeros(6)}), runs=3, warm_up=1).wall)
        3
    """
    for _ in range(warm_up):
        prepared.run()
    wall, device = [], []
    parts: dict[str, list[float]] = {}
    for _ in range(runs):
        started = time.perf_counter()
        prepared.run()
        wall.append((time.perf_counter() - started) * 1e3)
        if (ms := prepared.device_ms()) is not None:
            device.append(ms)
        for part, part_ms in prepared.parts_ms().items():
            parts.setdefault(part, []).append(part_ms)
    return RunTimes(wall=wall, device=device, parts={part: median(found) for part, found in parts.items()})


class WithoutDeviceTimes:
    """A base for a `TimedRun` that measures nothing by itself and has no CUDA graphs."""

    def device_ms(self) -> float | None:
        """None: the device does not measure."""
        return None

    def parts_ms(self) -> dict[str, float]:
        """Nothing: parts are not measured."""
        return {}

    def replay(self, graphs: bool) -> None:
        """Do nothing: there are no graphs."""


class HostRun(WithoutDeviceTimes):
    """A `TimedRun` of a function that returns arrays on the host, by name."""

    def __init__(self, call: Callable[[], Mapping[str, Array]], close: Callable[[], None] = lambda: None) -> None:
        self._call, self._close = call, close
        self._outputs: Mapping[str, Array] = {}

    def run(self) -> None:
        """Call the function."""
        self._outputs = self._call()

    def output(self) -> Array:
        """What the function returned last."""
        return joined_outputs(self._outputs or self._call())

    def close(self) -> None:
        """Release what the function uses."""
        self._close()

"""One way to run a model: what a contender of the benchmark can do, and how it is timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Protocol

from taemi_edge.bench.feeds import Kind, Window
from taemi_edge.bundle.spec import Array, Frozen, Modality

#: Runs once, with everything done when it returns.
Call = Callable[[], None]


class Prepared(Protocol):
    """Something that is run again and again on the same feeds."""

    def run(self) -> None:
        """Once; when it returns, the device is through."""
        ...

    def output(self) -> Array:
        """What the last run gave."""
        ...

    def device_ms(self) -> float | None:
        """How long the device itself took for the last run; None where it does not tell."""
        ...

    def parts_ms(self) -> dict[str, float]:
        """How long each part took in the last run; empty where nobody knows."""
        ...

    def replay(self, graphs: bool) -> None:
        """Replay CUDA graphs from now on or not; nothing where there are none."""
        ...

    def close(self) -> None: ...


class Way(Protocol):
    """A contender: opened once, asked for parts and windows."""

    def describe(self) -> dict[str, str]:
        """Versions and settings."""
        ...

    def part(self, part: str, feeds: Mapping[str, Array]) -> Prepared:
        """One part; feeds lie on the device already."""
        ...

    def window(self, kind: Kind, window: Window, pattern: frozenset[Modality], sources: int) -> Prepared:
        """Encoders and fusion from arrays on the host to intensities on the host."""
        ...

    def ceilings(self) -> dict[str, float]:
        """What this machine can do at most: `copy_gb_s` (read and written) and `TYPE_tflop_s`; empty if not known."""
        ...

    def close(self) -> None: ...


class Times(Frozen, frozen=True):
    """Milliseconds of single runs; `device` is empty where the device does not tell."""

    wall: list[float]
    device: list[float]
    #: Medians of each part, where the contender tells.
    parts: dict[str, float]


def time_runs(prepared: Prepared, runs: int, warm_up: int) -> Times:
    """Time something run by run."""
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
    return Times(wall=wall, device=device, parts={part: median(found) for part, found in parts.items()})


class Untold:
    """What a `Prepared` answers that knows of nothing but its own run."""

    def device_ms(self) -> float | None:
        return None

    def parts_ms(self) -> dict[str, float]:
        return {}

    def replay(self, graphs: bool) -> None:
        """There are no graphs of ours."""


class HostCall(Untold):
    """A function on the host as `Prepared`."""

    def __init__(self, call: Callable[[], Array], close: Call = lambda: None) -> None:
        self._call, self._close = call, close
        self._output: Array | None = None

    def run(self) -> None:
        self._output = self._call()

    def output(self) -> Array:
        return self._call() if self._output is None else self._output

    def close(self) -> None:
        self._close()

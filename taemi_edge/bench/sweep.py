"""How the cost of a hop grows with the window, the hop, the sources and the threads: `run_sweep`.

The bundle alone is timed, as `run` runs it. Every value of an axis is timed while the other axes keep the model's own
values, in several rounds over all values: a machine that is slow for a while then slows all values alike.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Literal, TypeAlias, get_args

import msgspec

from taemi_edge.bench.contender import Contender
from taemi_edge.bench.machine import described_machine
from taemi_edge.bench.noise import Noise, NoiseMeter
from taemi_edge.bench.provenance import today
from taemi_edge.bench.report import OURS, Stats, stats_of
from taemi_edge.bench.worker import Opening, Request
from taemi_edge.bundle.atomic import scratch_folder
from taemi_edge.bundle.folder import Bundle, open_bundle
from taemi_edge.bundle.limits import MOST_SOURCES
from taemi_edge.bundle.values import Frozen
from taemi_edge.errors import UsageError
from taemi_edge.progress import SILENT, Progress
from taemi_edge.runtime.cores import usable_cores
from taemi_edge.runtime.sessions import Device, device_of, require_verified

#: What is varied. A window and a hop are in seconds.
Axis: TypeAlias = Literal["window", "hop", "sources", "threads"]
AXES: tuple[Axis, ...] = get_args(Axis)
#: How many rounds each value is timed in, and how many whole windows are encoded anew in each.
ROUNDS, ANEW = 3, 2


@dataclass(frozen=True)
class SweepOptions:
    """What a sweep varies, and how often each value is run.

    Attributes:
        sources: how many sources share a call.
        runs: how many hops are timed of each value.
        threads: threads for each part while the other axes are varied; 0 takes all cores.
        device: where the bundle runs; None takes what it was built for.
        unverified: also time engines that parity has not passed.

    Raises:
        UsageError: a number is too small.
    """

    sources: tuple[int, ...] = (1, 2, 4, 8, 16)
    runs: int = 30
    threads: int = 1
    device: Device | None = None
    unverified: bool = False

    def __post_init__(self) -> None:
        if self.runs < ROUNDS:
            raise UsageError(f"--runs {self.runs}: expected at least {ROUNDS} beside --sweep")
        if bad := [n for n in self.sources if not 1 <= n <= MOST_SOURCES]:
            raise UsageError(f"--sources {bad[0]}: expected numbers from 1 to {MOST_SOURCES}")


class SweepPoint(Frozen, frozen=True):
    """The cost of a hop at one value of one axis.

    Attributes:
        wall: milliseconds of a hop of all sources, from arrays on the host to outputs on the host.
        parts_ms: the median of each part in it, where parts are measured.
        anew_ms: the median of a hop that encodes its whole window again; None where that is not timed.
        failure: why there are no times.
    """

    axis: Axis
    value: float
    wall: Stats | None = None
    parts_ms: dict[str, float] = msgspec.field(default_factory=dict)
    anew_ms: float | None = None
    failure: str = ""


class SweepReport(Frozen, frozen=True):
    """Everything that `taemi-edge bench --sweep` found.

    Attributes:
        date: the day in UTC; empty in reports of older versions.
        own: the values of the model itself by axis, at which the other axes are varied.
        noise: how busy the machine was; None in older reports.
    """

    bundle: str
    model: str
    command: str
    machine: dict[str, str]
    described: dict[str, str]
    own: dict[str, float]
    points: tuple[SweepPoint, ...]
    seconds: float
    noise: Noise | None = None
    date: str = ""


@dataclass
class _Measured:
    """What was measured of one value so far."""

    wall: list[float] = field(default_factory=list)
    turns: list[float] = field(default_factory=list)
    anew: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)
    failure: str = ""


def run_sweep(
    folder: Path | str, options: SweepOptions | None = None, command: str = "", progress: Progress = SILENT
) -> SweepReport:
    """Time hops of a bundle at several windows, hops, numbers of sources and numbers of threads.

    Args:
        folder: the bundle.
        options: what is varied; the defaults where None.
        command: the command line, for the report.

    Raises:
        BundleError, EngineError: the bundle cannot be opened, or parity has not passed it.
        UsageError: it cannot be run here.

    Example:
        >>> report = run_sweep("export/taemi-tiny", SweepOptions(sources=(1, 2), runs=3))
        >>> [point.value for point in report.points if point.axis == "sources"]
        [1.0, 2.0]
    """
    started, options = time.perf_counter(), options or SweepOptions()
    bundle = open_bundle(Path(folder))
    require_verified(bundle, options.unverified)
    device = options.device or device_of(bundle)
    own = {
        "window": bundle.manifest.window.length_s,
        "hop": bundle.manifest.window.hop_s,
        "sources": 1.0,
        "threads": float(options.threads),
    }
    places = [(axis, value) for axis in AXES for value in values_of(axis, bundle, options, device)]
    meter = NoiseMeter()
    with ExitStack() as stack:
        scratch = stack.enter_context(scratch_folder())
        contenders = _Contenders(stack, bundle, device, scratch)
        described = contenders.with_threads(options.threads).described
        found = _time(bundle, contenders, options, places, progress)
    return SweepReport(
        bundle=str(folder),
        model=bundle.manifest.name,
        command=command,
        date=today(),
        machine=described_machine(device),
        described=described,
        own=own,
        points=tuple(_point(axis, value, found[axis, value]) for axis, value in places),
        seconds=round(time.perf_counter() - started, 1),
        noise=meter.report(measured.turns for measured in found.values()),
    )


def values_of(axis: Axis, bundle: Bundle, options: SweepOptions, device: Device) -> list[float]:
    """The values at which an axis is timed: half, once, twice and four times the model's own, or counts.

    A hop is no longer than the window. Threads are those of a CPU, 1, 2, 4 and so on up to all cores that the process
    may use.
    """
    window = bundle.manifest.window
    if axis == "window":
        return [window.length_s * share for share in (0.5, 1, 2, 4) if window.length_s * share >= window.hop_s]
    if axis == "hop":
        return [window.hop_s * share for share in (0.5, 1, 2, 4) if window.hop_s * share <= window.length_s]
    if axis == "sources":
        return [float(count) for count in options.sources]
    cores = usable_cores()
    doubled = [1 << power for power in range(cores.bit_length())]
    return sorted({float(min(count, cores)) for count in (*doubled, cores)}) if device == "cpu" else []


class _Contenders:
    """The processes that run the bundle, one for each number of threads."""

    def __init__(self, stack: ExitStack, bundle: Bundle, device: Device, scratch: Path) -> None:
        self._stack, self._device, self._scratch = stack, device, scratch
        self._folder = str(bundle.folder.resolve())
        self._opened: dict[int, Contender] = {}

    def with_threads(self, threads: int) -> Contender:
        """Give the process with so many threads; it is started when it is asked for first."""
        if threads not in self._opened:
            opening = Opening(contender="runtime", bundle=self._folder, device=self._device, threads=threads)
            log = self._scratch / f"threads-{threads}.log"
            self._opened[threads] = self._stack.enter_context(Contender(OURS, opening, sys.executable, log))
        return self._opened[threads]


def _time(
    bundle: Bundle,
    contenders: _Contenders,
    options: SweepOptions,
    places: list[tuple[Axis, float]],
    progress: Progress,
) -> dict[tuple[Axis, float], _Measured]:
    """Time every value of every axis, round by round; a value that fails once is left out of the later rounds."""
    found = {place: _Measured() for place in places}
    streams = tuple(bundle.manifest.streams)
    rounds = [place for _ in range(ROUNDS) for place in places]
    for number, (axis, value) in enumerate(rounds, 1):
        measured = found[axis, value]
        contender = contenders.with_threads(int(value) if axis == "threads" else options.threads)
        for request, runs in _requests(axis, value, streams, options.runs // ROUNDS):
            if not measured.failure:
                _add(measured, contender, request, runs)
        progress.count(number, len(rounds), f"timing {axis} {value:g}")
    return found


def _requests(axis: Axis, value: float, streams: tuple[str, ...], runs: int) -> Iterator[tuple[Request, int]]:
    """What is prepared for one value, and how often it is run: a hop, and where it tells something, a whole window."""
    hop = Request(do="prepare", pattern=streams)
    changed: dict[str, dict[str, float]] = {
        "window": {"length_s": value},
        "hop": {"hop_s": value},
        "sources": {"sources": int(value)},
    }
    hop = msgspec.structs.replace(hop, **changed.get(axis, {}))
    yield hop, runs
    if axis in ("window", "hop"):
        yield msgspec.structs.replace(hop, kind="window"), ANEW


def _add(measured: _Measured, contender: Contender, request: Request, runs: int) -> None:
    """Run what a request prepares, and add its times to those of the earlier rounds."""
    prepared = contender.ask(request)
    is_hop = request.kind == "hop"
    answer = prepared if prepared.failure else contender.ask(Request(do="run", runs=runs, warm_up=3 if is_hop else 1))
    contender.ask(Request(do="close"))
    measured.failure = answer.failure
    if is_hop and answer.wall_ms:
        measured.turns.append(median(answer.wall_ms))
    (measured.wall if is_hop else measured.anew).extend(answer.wall_ms)
    for part, ms in answer.parts_ms.items() if is_hop else ():
        measured.parts.setdefault(part, []).append(ms)


def _point(axis: Axis, value: float, measured: _Measured) -> SweepPoint:
    if measured.failure:
        return SweepPoint(axis, value, failure=measured.failure)
    return SweepPoint(
        axis,
        value,
        wall=stats_of(measured.wall),
        parts_ms={part: round(median(times), 5) for part, times in measured.parts.items()},
        anew_ms=round(median(measured.anew), 5) if measured.anew else None,
    )

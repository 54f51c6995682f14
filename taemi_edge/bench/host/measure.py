"""Times hops of some sources on the idle device, with the runtime's own `Fleet`.

The time of `Executor.execute` is taken in rounds without a split. Beside it, `rows` is what comes before it (the works
of the sources' windows) and `prediction` what comes after. Decoding, faces, crops and chunks are not timed.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import msgspec

from taemi_edge.bench.host.clip import Clip, read_clip, remembered_faces
from taemi_edge.bench.host.idle_device import idle_device
from taemi_edge.bench.host.idle_engines import ShapesOfGraphs, engine_bundle, graphs_behind
from taemi_edge.bench.host.report import HostOptions, HostReport, host_times
from taemi_edge.bench.host.split import split
from taemi_edge.bundle.atomic import scratch_folder
from taemi_edge.bundle.folder import Bundle, open_bundle
from taemi_edge.media.chunks import MAX_BATCH
from taemi_edge.progress import SILENT, Progress
from taemi_edge.runtime.pipeline import Fleet
from taemi_edge.runtime.tensorrt.machine import this_machine
from taemi_edge.runtime.work import Work, WorkResult

#: A case that comes up for the second time is captured, so that the third pass over the clip is like all later ones.
_WARM_UP_PASSES = 2
#: So many inputs fit into one call of the idle engines.
_LARGEST_BATCH = 16 * MAX_BATCH
#: The names of what is not inside the executor.
EXECUTE, ROWS, PREDICTION = "execute", "rows", "prediction"
#: Microseconds of each hop, by name.
Times = dict[str, list[float]]


def run_host_bench(
    folder: Path | str, options: HostOptions | None = None, command: str = "", progress: Progress = SILENT
) -> HostReport:
    """Time what the host adds to a hop, on a device that does nothing.

    Args:
        folder: the bundle, of graphs or of engines; the graphs of the latter must be there.
        options: how many sources, and how many hops; the defaults where None.
        command: the command line, for the report.

    Raises:
        BundleError: the bundle, or the graphs that it was built from, cannot be opened.

    Example:
        >>> report = run_host_bench("export/taemi-tiny", HostOptions(sources=(1,), hops=16))
        >>> report.sources[0].execute_us.median < 100_000
        True
    """
    started, options = time.perf_counter(), options or HostOptions()
    bundle = open_bundle(folder)
    found = []
    with host_timer(bundle) as timer:
        for sources in options.sources:
            progress.stage(f"timing hops, sources: {sources}")
            found.append(host_times(sources, *timer.measure(sources, options.hops)))
    return HostReport(
        bundle=str(folder),
        model=bundle.manifest.name,
        command=command,
        machine=machine(),
        sources=tuple(found),
        synthetic=timer.clip.synthetic,
        seconds=round(time.perf_counter() - started, 1),
    )


def machine() -> dict[str, str]:
    """The processor and the interpreter that ran it."""
    found = {name: value for name, value in msgspec.to_builtins(this_machine(with_gpu=False)).items() if value}
    return {**found, "cores": str(os.cpu_count()), "python": sys.version.split()[0]}


@contextmanager
def host_timer(bundle: Bundle) -> Iterator[HostTimer]:
    """Open a timer on the idle device, which the whole process has until the `with` block ends.

    Raises:
        BundleError: the bundle holds engines, and the graphs that they were built from are gone.
    """
    graphs = graphs_behind(bundle)
    clip = read_clip(graphs.manifest)
    device = idle_device(graphs.manifest.parts, ShapesOfGraphs(graphs), _LARGEST_BATCH)
    with scratch_folder() as folder, remembered_faces(), device:
        timer = HostTimer(engine_bundle(graphs, folder), clip)
        try:
            yield timer
        finally:
            timer.close()


class HostTimer:
    """Times passes over the clip, with a fleet for each number of sources.

    Args:
        bundle: of idle engines.
        clip: what every source sees.
    """

    def __init__(self, bundle: Bundle, clip: Clip) -> None:
        self.bundle, self.clip = bundle, clip
        self._fleets: dict[int, _TimedFleet] = {}

    def measure(self, sources: int, hops: int) -> tuple[Times, Times]:
        """Time at least so many hops as a whole, and a third of them with a split.

        Returns:
            Microseconds of `EXECUTE`, `ROWS` and `PREDICTION`; and those of each part of `execute`.
        """
        each = self.clip.length - self.clip.first_timed
        passes = -(-hops // each)
        whole: Times = {}
        parts: Times = {}
        for _ in range(passes):
            _join(whole, self.one_pass(sources))
        for _ in range(-(-passes // 3)):
            _join(parts, self.one_pass(sources, splitting=True))
        return whole, parts

    def one_pass(self, sources: int, splitting: bool = False) -> Times:
        """Time one pass over the clip, once all windows are full.

        Args:
            splitting: give the parts of `execute`, and nothing else.
        """
        if sources not in self._fleets:
            self._fleets[sources] = _TimedFleet(self.bundle, self.clip, sources)
            for _ in range(_WARM_UP_PASSES):
                self._fleets[sources].run()
        fleet = self._fleets[sources]
        if not splitting:
            return fleet.run()
        with split(fleet.timed.executor) as ledger:
            return fleet.run(ledger.spent_ns)

    def close(self) -> None:
        """Close the fleets."""
        for fleet in self._fleets.values():
            fleet.close()
        self._fleets.clear()


class _TimedFleet:
    """Some sources that run the clip together."""

    def __init__(self, bundle: Bundle, clip: Clip, sources: int) -> None:
        self._clip, self._indices = clip, range(sources)
        self._fleet = Fleet(bundle, [clip.source()] * sources, device="tensorrt")
        self.timed = self._fleet.executor = _TimedExecutor(self._fleet.executor)

    def run(self, spent_ns: dict[str, int] | None = None) -> Times:
        """Run the clip once, from its beginning.

        Args:
            spent_ns: where a split fills in what each part takes; then its parts are returned.
        """
        found: Times = {}
        for index in self._indices:
            self._fleet.restart(index, self._clip.source())
        for at in range(self._clip.length):
            prepared = {index: self._fleet.prepare(index, self._clip.hop(index, at)) for index in self._indices}
            self.timed.begin()
            if spent_ns is not None:
                spent_ns.clear()
            began = perf_counter_ns()
            self._fleet.predict(prepared)
            ended = perf_counter_ns()
            if at < self._clip.first_timed:
                continue
            spent = {EXECUTE: self.timed.spent_ns} if spent_ns is None else dict(spent_ns)
            if spent_ns is None:
                after = ended - self.timed.ended_ns
                spent |= {ROWS: ended - began - after - self.timed.spent_ns, PREDICTION: after}
            _join(found, {name: [ns / 1e3] for name, ns in spent.items()})
        return found

    def close(self) -> None:
        self._fleet.close()


class _TimedExecutor:
    """Another executor, with the time that its calls take.

    Attributes:
        spent_ns: of all calls since `begin`.
        ended_ns: when the last of them ended.
    """

    def __init__(self, executor: Any) -> None:
        self.executor = executor
        self.begin()

    def begin(self) -> None:
        """Forget the calls so far."""
        self.spent_ns = self.ended_ns = 0

    def execute(self, works: Sequence[Work]) -> list[WorkResult]:
        execute = self.executor.execute
        began = perf_counter_ns()
        done: list[WorkResult] = execute(works)
        self.ended_ns = perf_counter_ns()
        self.spent_ns += self.ended_ns - began
        return done

    def __getattr__(self, name: str) -> Any:
        return getattr(self.executor, name)


def _join(times: Times, more: Mapping[str, Sequence[float]]) -> None:
    for name, values in more.items():
        times.setdefault(name, []).extend(values)

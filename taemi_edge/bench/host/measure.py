"""Times hops of some sources on the idle device, with the runtime's own `Fleet`.

The time of `Executor.execute` is taken in rounds without a split. Beside it, `rows` is what comes before it (the works
of the sources' windows) and `prediction` what comes after. Decoding, faces, crops and chunks are not timed.

These are times of real hops: what came between two of them has filled the processor's caches with other things.
`repeated` is `execute` alone, called again and again with the works of one hop, so that everything is at hand.

Where the operating system gave the processor to something else meanwhile, a time says nothing of the host's work: such
times are left out and counted, so that figures of a busy machine mean something too.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from taemi_edge.bench.host.clip import Clip, read_clip, remembered_faces
from taemi_edge.bench.host.idle_device import idle_device
from taemi_edge.bench.host.idle_engines import ShapesOfGraphs, engine_bundle, graphs_behind, machine
from taemi_edge.bench.host.report import HostOptions, HostReport, host_times
from taemi_edge.bench.host.split import split
from taemi_edge.bench.noise import NoiseMeter
from taemi_edge.bench.provenance import today
from taemi_edge.bundle.atomic import scratch_folder
from taemi_edge.bundle.folder import Bundle, open_bundle
from taemi_edge.errors import UsageError
from taemi_edge.media.chunks import MAX_BATCH
from taemi_edge.progress import SILENT, Progress
from taemi_edge.runtime.pipeline import Fleet
from taemi_edge.runtime.prepared_hop import PreparedHop
from taemi_edge.runtime.work import Work, WorkResult

#: A case that comes up for the second time is captured, so that the third pass over the clip is like all later ones.
_WARM_UP_PASSES = 2
#: So many inputs fit into one call of the idle engines.
_LARGEST_BATCH = 16 * MAX_BATCH
#: On a machine that interrupts many hops, so many times as many passes are run.
_MOST_PASSES = 5
#: How often the works of one hop are repeated after a pass, and how many of these calls come before the timed ones.
_REPEATS, _REPEATS_BEFORE = 64, 8
#: The names of what is not inside the executor, and of `execute` as a whole.
EXECUTE, ROWS, PREDICTION, REPEATED = "execute", "rows", "prediction", "repeated"
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
    meter, found = NoiseMeter(), []
    with host_timer(bundle) as timer:
        for sources in options.sources:
            progress.stage(f"timing hops, sources: {sources}")
            found.append(host_times(sources, *timer.measure(sources, options.hops)))
    return HostReport(
        bundle=str(folder),
        model=bundle.manifest.name,
        command=command,
        date=today(),
        machine=processor(),
        sources=tuple(found),
        synthetic=timer.clip.synthetic,
        noise=meter.report(),
        seconds=round(time.perf_counter() - started, 1),
    )


def processor() -> dict[str, str]:
    """The processor and the interpreter that the benchmark runs on."""
    return {**machine(with_gpu=False), "cores": str(os.cpu_count()), "python": sys.version.split()[0]}


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
            Microseconds of `EXECUTE`, `ROWS`, `PREDICTION` and `REPEATED`; and those of each part of `execute`.
        """
        return self._passes(sources, hops, False), self._passes(sources, -(-hops // 3), True)

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

    def _passes(self, sources: int, hops: int, splitting: bool) -> Times:
        """Run passes until there are hops enough, at most `_MOST_PASSES` times as many as a quiet machine needs."""
        found: Times = {}
        needed = -(-hops // (self.clip.length - self.clip.first_timed))
        for done in range(_MOST_PASSES * needed):
            if done >= needed and found and min(map(len, found.values())) >= hops:
                break
            for name, values in self.one_pass(sources, splitting).items():
                found.setdefault(name, []).extend(values)
        if not found or not all(found.values()):
            raise UsageError(
                f"expected a hop of {sources} sources that nothing interrupts, found none: run the benchmark on a "
                f"machine that is less busy"
            )
        return found

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
        found: Times = {EXECUTE: [], ROWS: [], PREDICTION: []} if spent_ns is None else {}
        middle: Sequence[Work] = ()
        for index in self._indices:
            self._fleet.reset(index, self._clip.source())
        for at in range(self._clip.length):
            prepared = {index: self._fleet.prepare(index, self._clip.hop(index, at)) for index in self._indices}
            self.timed.begin()
            if spent_ns is not None:
                spent_ns.clear()
            whole = self._predict(prepared)
            if at >= self._clip.first_timed:
                split_ns = {} if spent_ns is None or self.timed.interrupted else spent_ns
                for name, ns in (whole if spent_ns is None else split_ns).items():
                    found.setdefault(name, []).append(ns / 1e3)
                if spent_ns is None and at == (self._clip.first_timed + self._clip.length) // 2:
                    middle = self.timed.works
        if spent_ns is None:
            found[REPEATED] = [ns / 1e3 for ns in self._repeat(middle)]
        return found

    def _repeat(self, works: Sequence[Work]) -> Iterator[int]:
        """Run works again and again; gives nanoseconds of the calls in which the processor was not taken away."""
        for index in range(_REPEATS_BEFORE + _REPEATS):
            self.timed.begin()
            self.timed.execute(works)
            if index >= _REPEATS_BEFORE and not self.timed.interrupted:
                yield self.timed.spent_ns

    def _predict(self, prepared: Mapping[int, PreparedHop]) -> dict[str, int]:
        """Run a hop; gives nanoseconds by name, without those in which the processor was taken away."""
        interrupted, began = _interruptions(), perf_counter_ns()
        self._fleet.predict(prepared)
        ended, interrupted = perf_counter_ns(), _interruptions() - interrupted
        spent_ns = {} if self.timed.interrupted else {EXECUTE: self.timed.spent_ns}
        if interrupted == self.timed.interrupted:
            after = ended - self.timed.ended_ns
            spent_ns |= {ROWS: ended - began - after - self.timed.whole_ns, PREDICTION: after}
        return spent_ns

    def close(self) -> None:
        self._fleet.close()


class _TimedExecutor:
    """Another executor, with the time that its calls take.

    Attributes:
        spent_ns: of all calls since `begin`.
        whole_ns: the same with the stamps.
        interrupted: how often the processor was taken away in them.
        ended_ns: when the last of them ended.
        works: of the last call; while they are kept, so are the slots of their inputs.
    """

    def __init__(self, executor: Any) -> None:
        self.executor = executor
        self.begin()

    def begin(self) -> None:
        """Forget the calls so far."""
        self.spent_ns = self.whole_ns = self.ended_ns = self.interrupted = 0
        self.works: Sequence[Work] = ()

    def execute(self, works: Sequence[Work]) -> list[WorkResult]:
        came_ns, interrupted, execute = perf_counter_ns(), _interruptions(), self.executor.execute
        began_ns = perf_counter_ns()
        done: list[WorkResult] = execute(works)
        self.spent_ns += perf_counter_ns() - began_ns
        self.interrupted += _interruptions() - interrupted
        self.ended_ns = perf_counter_ns()
        self.whole_ns += self.ended_ns - came_ns
        self.works = works
        return done

    def __getattr__(self, name: str) -> Any:
        return getattr(self.executor, name)


def _interruptions() -> int:
    """How often the processor was taken away from this thread so far; waiting for a device is no interruption."""
    # other systems than Linux count for the whole process
    return resource.getrusage(getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)).ru_nivcsw

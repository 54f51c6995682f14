"""Chooses how the parts of a hop share a processor: whole usual hops are timed in turn on the engines just built.

Parts run one after the other with 1, 2 or all threads, or encoders run side by side in threads of their own. A way that
needs more has to win by a margin over a simpler one. All ways are timed in each turn, so that other work on the machine
slows all alike, and the faster half of the turns counts: what several threads gain shows only while cores are free.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.records import HostPlan
from taemi_edge.bundle.values import HEAD, Array
from taemi_edge.engines.usual_hops import usual_hops, usual_items
from taemi_edge.media.chunks import MAX_BATCH
from taemi_edge.parity.golden import Case
from taemi_edge.runtime.cores import usable_cores
from taemi_edge.runtime.host_executor import HostExecutor
from taemi_edge.runtime.host_way import HostWay
from taemi_edge.runtime.kinds import kind_of
from taemi_edge.runtime.onnx_sessions import OrtSession
from taemi_edge.runtime.sessions import Sessions
from taemi_edge.runtime.work import Layout, Work

#: The share of time that more threads, or calls of another size, must save.
_GAIN = 0.05
#: Pinned threads share a core with whatever else is pinned to it: they must save more.
_GAIN_OF_PINNING = 0.1
#: No comparison takes much longer than so many seconds, and none has fewer turns.
_SECONDS, _FEWEST_TURNS = 4.0, 3
#: The sizes of calls that are compared, and how often; a call that takes longer than so many seconds is left as it is.
_SIZES, _TURNS_OF_SIZES, _LONG_CALL_S = (4, 8, MAX_BATCH), 3, 0.5
#: How many sources share a hop in the further timing that a plan for one source mentions, where that is soon done.
_SEVERAL, _SOON_MS = 4, 250.0


@dataclass
class Timed:
    """What one way took.

    Attributes:
        hop_ms: of each turn.
        part_ms: of each part in each turn.
    """

    hop_ms: list[float] = field(default_factory=list)
    part_ms: dict[str, list[float]] = field(default_factory=dict)

    @property
    def typical_ms(self) -> float:
        """The median of the faster half of the turns."""
        return _typical(self.hop_ms)

    def part(self, name: str) -> float:
        """The same of a part; infinite where no hop had anything for it."""
        return _typical(self.part_ms.get(name) or [math.inf])


def plan_host(
    bundle: Bundle, files: Mapping[str, Path], cases: Sequence[Case], layout: Layout, *, runs: int, threads: int = 0
) -> HostPlan:
    """Time the ways to run a usual hop, and give the one to be kept.

    Args:
        bundle: whose manifest names the engines.
        files: the engine of each part.
        cases: golden feeds.
        layout: how many sources a hop has.
        runs: the most turns of each comparison.
        threads: the most threads; 0 for as many as there are cores.
    """
    cores = min(threads or usable_cores(), usable_cores())
    bench = _Bench(bundle, files, cases, runs)
    try:
        largest = {part: size for part in bundle.manifest.streams if (size := bench.best_size(part))}
        return _chosen(bench, layout, cores, largest)
    finally:
        bench.close()


def _chosen(bench: _Bench, layout: Layout, cores: int, largest: Mapping[str, int]) -> HostPlan:
    parts = bench.bundle.manifest.part_names
    ways = [HostWay({**dict.fromkeys(parts, n)}, largest=largest) for n in sorted({1, min(2, cores), cores})]
    if cores > 1:
        ways.append(HostWay(dict.fromkeys(parts, 1), cores, largest=largest))
    each = cores // len(bench.bundle.manifest.streams)
    if each > 1:
        ways.append(HostWay(dict.fromkeys(parts, each), cores // each, largest=largest))
    timed = bench.time(ways, layout)
    best = _fastest(ways, timed, _GAIN)
    told = _told(ways, timed)
    for refined, gain in _refinements(best, ways, timed):
        again = bench.time([best, refined], layout)
        told += f"; then {_told([best, refined], again)}"
        best = _fastest([best, refined], again, gain)
    several = ""
    soon = min(taken.typical_ms for taken in timed) < _SOON_MS
    if layout.sources == 1 and len(ways) > 1 and soon:
        rest = [way for way in ways if way != best][-1]
        few = replace(layout, sources=_SEVERAL)
        several = f"; a hop of {_SEVERAL} sources: {_told([best, rest], bench.time([best, rest], few))}"
    hops = f"whole usual hops of {layout.sources} source{'s' if layout.sources > 1 else ''}"
    how = f"{hops} in turn, median of the faster half: {told}{several}; kept {in_words(best)}"
    if len(ways) == 1:
        how = f"the only way with 1 core; {hops}: {told}"
    return HostPlan(
        threads=dict(best.threads),
        side_by_side=best.lanes > 1,
        pinned=best.pinned,
        largest=dict(best.largest),
        cores=cores,
        how=how,
    )


def _fastest(ways: Sequence[HostWay], timed: Sequence[Timed], gain: float) -> HostWay:
    """The fastest way; a later one counts only if it saves the gain."""
    best = 0
    for at in range(1, len(ways)):
        if timed[at].typical_ms < timed[best].typical_ms * (1 - gain):
            best = at
    return ways[best]


def _typical(times: Sequence[float]) -> float:
    """The median of the faster half."""
    return statistics.median(sorted(times)[: -(-len(times) // 2)])


def _refinements(best: HostWay, ways: Sequence[HostWay], timed: Sequence[Timed]) -> list[tuple[HostWay, float]]:
    """What may still be better than the best way: threads by part, and cores of their own; each with its margin."""
    alone = [(way, taken) for way, taken in zip(ways, timed, strict=True) if way.lanes == 1]
    parts = [HEAD] if best.lanes > 1 else list(best.threads)  # the head runs when the encoders are done
    counts = dict(best.threads)
    now = timed[ways.index(best)]
    for part in parts:
        least = now.part(part)
        for way, taken in alone:
            if taken.part(part) < least * (1 - _GAIN):
                counts[part], least = way.threads[part], taken.part(part)
    found = []
    if counts != best.threads:
        found.append((replace(best, threads=counts), 0.02))
    if best.lanes > 1:
        found.append((replace(best, pinned=True), _GAIN_OF_PINNING))
    return found


def in_words(way: HostWay) -> str:
    """A way as the record of engines names it.

    Example:
        >>> in_words(HostWay({"audio": 2, "fusion": 2}))
        'one after the other with 2 threads'
        >>> in_words(HostWay({"audio": 1, "fusion": 2}, lanes=2, pinned=True))
        'side by side in 2 lanes with 1 thread (fusion 2) on cores of their own'
    """
    encoders = [count for part, count in way.threads.items() if part != HEAD] or [1]
    usual = max(set(encoders), key=encoders.count)
    others = ", ".join(f"{part} {count}" for part, count in way.threads.items() if count != usual)
    order = f"side by side in {way.lanes} lanes" if way.lanes > 1 else "one after the other"
    threads = f"{usual} thread{'s' if usual > 1 else ''}{f' ({others})' if others else ''}"
    return f"{order} with {threads}{' on cores of their own' if way.pinned else ''}"


def _told(ways: Sequence[HostWay], timed: Sequence[Timed]) -> str:
    return ", ".join(f"{in_words(way)} {taken.typical_ms:.3g} ms" for way, taken in zip(ways, timed, strict=True))


class _Kept:
    """A session that several executors share: none of them closes it."""

    def __init__(self, session: OrtSession) -> None:
        self._session, self.mixes_rows = session, session.mixes_rows

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return self._session.run(feeds)

    def close(self) -> None:
        pass


class _Bench:
    """Opens engines with the threads that a way wants, and times ways."""

    def __init__(self, bundle: Bundle, files: Mapping[str, Path], cases: Sequence[Case], runs: int) -> None:
        self.bundle = bundle
        self._files, self._cases, self._runs = files, cases, runs
        self._open: dict[tuple[str, int], OrtSession] = {}

    def close(self) -> None:
        for session in self._open.values():
            session.close()

    def time(self, ways: Sequence[HostWay], layout: Layout) -> list[Timed]:
        """Time hops in each way, all ways in each turn."""
        executors = [self._executor(way, layout) for way in ways]
        try:
            hops = usual_hops(self.bundle.manifest, layout, executors[0], self._cases)
            started = time.perf_counter()
            for executor in executors * 2:  # to warm up
                _run(executor, hops)
            turns = self._turns((time.perf_counter() - started) / 2)
            timed = [Timed() for _ in ways]
            for turn in range(turns):
                order = list(zip(executors, timed, strict=True))
                for executor, taken in order if turn % 2 else order[::-1]:
                    _note(taken, executor, hops)
            return timed
        finally:
            for executor in executors:
                executor.close()

    def best_size(self, part: str) -> int:
        """How many inputs a call takes: the fewest that cost no more each, which need the least memory; 0 for one.

        One thread runs them. A part whose calls are long, or that takes one input a call, is left as it is.
        """
        session = self._session(part, 1)
        if session.mixes_rows or isinstance(self.bundle.manifest.parts[part].inputs[0].shape[0], int):
            return 0
        calls = self._calls_of_sizes(part)
        began = time.perf_counter()
        session.run(calls[_SIZES[0]][0])
        if time.perf_counter() - began > _LONG_CALL_S:
            return 0
        took: dict[int, list[float]] = {size: [] for size in _SIZES}
        for _ in range(_TURNS_OF_SIZES):
            for size, feeds in calls.items():
                started = time.perf_counter()
                for each in feeds:
                    session.run(each)
                took[size].append(time.perf_counter() - started)
        least = {size: min(times) for size, times in took.items()}
        return next(size for size in _SIZES if least[size] < min(least.values()) / (1 - _GAIN))

    def _calls_of_sizes(self, part: str) -> dict[int, list[dict[str, Array]]]:
        """The same inputs of an encoder in calls of each size."""
        manifest = self.bundle.manifest
        one = Layout(1, manifest.window.length_s, manifest.window.hop_s)
        executor = self._executor(HostWay(dict.fromkeys(manifest.part_names, 1)), one)
        items = usual_items(manifest, executor, part, MAX_BATCH, self._cases)
        executor.close()
        feeds = kind_of(manifest.streams[part]).batch_feeds
        return {size: [feeds(items[at : at + size]) for at in range(0, MAX_BATCH, size)] for size in _SIZES}

    def _turns(self, seconds: float) -> int:
        """How many turns of so many seconds there is time for."""
        return max(min(self._runs, _FEWEST_TURNS), min(self._runs, int(_SECONDS / max(seconds, 1e-6))))

    def _executor(self, way: HostWay, layout: Layout) -> HostExecutor:
        sessions = {part: _Kept(self._session(part, count)) for part, count in way.threads.items()}
        return HostExecutor(self.bundle, layout, Sessions(sessions), "cpu", way)

    def _session(self, part: str, threads: int) -> OrtSession:
        key = (part, threads)
        if key not in self._open:
            spec, engine = self.bundle.manifest.parts[part], self.bundle.manifest.engine
            plan = None if engine is None else engine.session_plan(part)
            self._open[key] = OrtSession.from_file(self._files[part], part, spec, "cpu", threads, plan)
        return self._open[key]


def _run(executor: HostExecutor, hops: Sequence[Sequence[Work]]) -> dict[str, float]:
    """Run each hop once; gives the mean milliseconds of each part."""
    parts: dict[str, float] = {}
    for hop in hops:
        for part, took_ms in (executor.execute(hop)[0].part_ms or {}).items():
            parts[part] = parts.get(part, 0.0) + took_ms / len(hops)
    return parts


def _note(taken: Timed, executor: HostExecutor, hops: Sequence[Sequence[Work]]) -> None:
    started = time.perf_counter()
    parts = _run(executor, hops)
    taken.hop_ms.append((time.perf_counter() - started) * 1e3 / len(hops))
    for part, took_ms in parts.items():
        taken.part_ms.setdefault(part, []).append(took_ms)

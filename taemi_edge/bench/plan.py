"""Times the contenders of a benchmark: each thing in several turns, in which every contender has its share of the runs.

A machine that is slow for a while then slows all contenders alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median

from taemi_edge.bench.contender import Contender
from taemi_edge.bench.feeds import WindowKind
from taemi_edge.bench.options import TURNS, BenchOptions
from taemi_edge.bench.report import OURS, PartTimes, SourcesTimes, Stats, Timing, WindowTimes, stats_of
from taemi_edge.bench.worker import Answer, Request
from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.streams import Pattern
from taemi_edge.bundle.values import HEAD
from taemi_edge.progress import SILENT, Progress

#: Models with so many streams or fewer are timed in all presence patterns.
MOST_STREAMS_IN_FULL = 3


def timed_patterns(manifest: Manifest, every: bool = False) -> tuple[Pattern, ...]:
    """The presence patterns that are timed, the complete one first.

    Args:
        manifest: of the bundle; it lists the patterns that the model is checked in.
        every: take all of these. Else models with many streams have the complete pattern, those without one stream, and
            the empty one.
    """
    count = len(manifest.streams)
    if every or count <= MOST_STREAMS_IN_FULL:
        return manifest.patterns
    return tuple(pattern for pattern in manifest.patterns if len(pattern) in (count, count - 1, 0))


class BenchPlan:
    """Has all contenders run the same things, turn by turn.

    Args:
        contenders: the open contenders by name; the bundle itself is among them.
    """

    def __init__(
        self, bundle: Bundle, options: BenchOptions, contenders: Mapping[str, Contender], progress: Progress = SILENT
    ) -> None:
        self._options, self._contenders, self._progress = options, contenders, progress
        self._manifest = bundle.manifest
        self._patterns = timed_patterns(bundle.manifest, options.all_patterns)
        self._batches = [
            (part, batch)
            for part in bundle.manifest.part_names
            for batch in dict.fromkeys((1, *options.batches.get(part, ())))
        ]
        self._kinds: tuple[WindowKind, ...] = ("hop", "window")
        self._total = len(self._batches) + len(self._kinds) * len(self._patterns) + len(options.sources)
        self._done = 0
        #: The median of each turn of the bundle itself, for everything that was timed.
        self.turns: list[list[float]] = []
        #: Milliseconds of each encoder in each turn of the bundle's own hops, by pattern.
        self._encoders_ms: dict[str, dict[str, list[float]]] = {}

    def ceilings(self) -> dict[str, float]:
        """The highest rates that any contender measured (see `taemi_edge.bench.ceilings`)."""
        found: dict[str, float] = {}
        for contender in self._contenders.values():
            for name, value in contender.ask(Request(do="ceilings")).ceilings.items():
                found[name] = max(found.get(name, 0.0), value)
        return found

    def parts(self) -> Iterator[PartTimes]:
        """Time every part at every batch."""
        for part, batch in self._batches:
            request = Request(do="prepare", part=part, batch=batch)
            yield PartTimes(part=part, batch=batch, timings=self._time(request, self._contenders))
            self._advance(f"{part}, batch {batch}")

    def windows(self) -> Iterator[WindowTimes]:
        """Time whole predictions, in the patterns of `timed_patterns`."""
        for kind in self._kinds:
            for pattern in self._patterns:
                name = self._manifest.pattern_name(pattern)
                request = Request(do="prepare", kind=kind, pattern=self._live(pattern))
                timings = self._time(request, self._contenders_for(pattern))
                yield WindowTimes(kind=kind, pattern=name, timings=timings)
                self._advance(f"{kind}, {name}")

    def sources(self) -> Iterator[SourcesTimes]:
        """Time hops of several sources in one call; the bundle itself alone can do that."""
        ours = {OURS: self._contenders[OURS]}
        first: Stats | None = None
        for count in self._options.sources:
            request = Request(do="prepare", pattern=self._live(self._patterns[0]), sources=count)
            [timing] = self._time(request, ours)
            wall = timing.wall
            if count == 1:
                first = wall
            yield SourcesTimes(
                sources=count,
                timing=timing,
                predictions_per_s=None if wall is None else round(1e3 * count / wall.median, 2),
                throughput_ratio=_ratio(first.median * count, wall.median) if first and wall else None,
                latency_ratio=_ratio(wall.median, first.median) if first and wall else None,
            )
            self._advance(f"{count} sources")

    def saved(self) -> dict[str, float]:
        """For each stream, how much less time the encoders take without it, divided by the time of its own encoder.

        Call it after `windows`.
        """
        times = {
            pattern: {part: median(turns) for part, turns in encoders.items()}
            for pattern, encoders in self._encoders_ms.items()
        }
        every = self._patterns[0]
        complete = times.get(self._manifest.pattern_name(every), {})
        saved: dict[str, float] = {}
        for stream in self._manifest.streams:
            without = times.get(self._manifest.pattern_name(every - {stream}))
            if without is not None and complete.get(stream):
                saved[stream] = round((sum(complete.values()) - sum(without.values())) / complete[stream], 4)
        return saved

    def _live(self, pattern: Pattern) -> tuple[str, ...]:
        return tuple(name for name in self._manifest.streams if name in pattern)

    def _contenders_for(self, pattern: Pattern) -> dict[str, Contender]:
        """The contenders that are timed on a pattern.

        PyTorch compiles for each set of shapes, which takes minutes, so it has the complete pattern alone.
        """
        complete = pattern == self._patterns[0]
        return {n: c for n, c in self._contenders.items() if complete or not n.startswith("torch-compile")}

    def _time(self, request: Request, contenders: Mapping[str, Contender]) -> tuple[Timing, ...]:
        """Prepare in all contenders, then run in turns; a contender that fails is left out of the later turns."""
        prepared = {name: contender.ask(request) for name, contender in contenders.items()}
        wall: dict[str, list[float]] = {name: [] for name in contenders}
        device: dict[str, list[float]] = {name: [] for name in contenders}
        failures = {name: answer.failure for name, answer in prepared.items() if answer.failure}
        own_turns: list[float] = []
        for turn in range(TURNS):
            for name, contender in contenders.items():
                if name in failures:
                    continue
                runs = self._options.runs // TURNS
                answer = contender.ask(Request(do="run", runs=runs, warm_up=5 if turn == 0 else 1))
                if answer.failure:
                    failures[name] = answer.failure
                wall[name] += answer.wall_ms
                device[name] += answer.device_ms
                if name == OURS and answer.wall_ms:
                    own_turns.append(median(answer.wall_ms))
                if name == OURS and request.part is None and request.kind == "hop" and request.sources == 1:
                    self._keep_encoder_times(request, answer)
        self.turns.append(own_turns)
        for contender in contenders.values():
            contender.ask(Request(do="close"))
        return tuple(
            Timing(
                contender=name,
                wall=stats_of(wall[name]),
                device=stats_of(device[name]),
                max_abs=prepared[name].max_abs,
                cosine=prepared[name].cosine,
                pearson=prepared[name].pearson,
                failure=failures.get(name, ""),
            )
            for name in contenders
        )

    def _keep_encoder_times(self, request: Request, answer: Answer) -> None:
        encoders = self._encoders_ms.setdefault(self._manifest.pattern_name(frozenset(request.pattern)), {})
        for part, ms in answer.parts_ms.items():
            if part != HEAD:
                encoders.setdefault(part, []).append(ms)

    def _advance(self, what: str) -> None:
        self._done += 1
        self._progress.count(self._done, self._total, f"timing {what}")


def _ratio(above: float | None, below: float | None) -> float | None:
    return round(above / below, 3) if above and below else None

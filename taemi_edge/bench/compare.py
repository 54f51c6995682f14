"""A bundle and its rivals in, a report out: each contender in a process of its own, timed in turn on the same feeds."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from taemi_edge.bench.contender import UNCAPTURED, Contender, Uncaptured
from taemi_edge.bench.feeds import Feeds, Kind
from taemi_edge.bench.power import PowerMeter
from taemi_edge.bench.report import (
    OURS,
    BenchReport,
    PartTimes,
    SourcesTimes,
    Stats,
    Timing,
    WindowTimes,
    find,
    stats_of,
)
from taemi_edge.bench.worker import Answer, Opening, Request, WayName
from taemi_edge.bundle.folder import MANIFEST, Bundle, open_bundle, read_manifest
from taemi_edge.bundle.spec import MODALITIES, PARTS, PRESENCE_PATTERNS, Modality, Part, pattern_name
from taemi_edge.errors import TaemiError, UsageError
from taemi_edge.progress import SILENT, Progress
from taemi_edge.runtime.sessions import Device, device_of, require_verified
from taemi_edge.runtime.tensorrt.library import this_machine

RIVALS: tuple[WayName, ...] = ("onnxruntime-cpu", "onnxruntime-cuda", "torch-eager", "torch-compile")
#: Each thing is timed in so many turns, in which every contender has its share of the runs.
_TURNS = 5


@dataclass(frozen=True)
class BenchOptions:
    """What to compare, and how.

    Attributes:
        against: the rivals; None takes those that can run here.
        python: the interpreter that runs them, where it is another than ours.
        checkpoint: what PyTorch runs; by default what the bundle was exported from.
        batches: further batches, by part.
        sources: how many sources share a call.
        runs: of each thing and contender.
        unverified: time engines that parity has not passed all the same.
    """

    against: tuple[WayName, ...] | None = None
    python: str = sys.executable
    checkpoint: str | None = None
    batches: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    sources: tuple[int, ...] = (1, 2, 4)
    runs: int = 50
    threads: int = 1
    device: Device | None = None
    unverified: bool = False

    def __post_init__(self) -> None:
        if self.runs < _TURNS:
            raise UsageError(f"--runs {self.runs}: expected at least {_TURNS}")
        if bad := [n for n in self.sources if n < 1]:
            raise UsageError(f"--sources {bad[0]}: expected numbers of at least 1")
        if unknown := sorted(set(self.batches) - set(PARTS)):
            raise UsageError(f"--batch {unknown[0]}=N: expected one of {', '.join(PARTS)}")


def run_bench(folder: Path, options: BenchOptions, command: str = "", progress: Progress = SILENT) -> BenchReport:
    """Time a bundle and its rivals.

    Raises:
        BundleError, EngineError: the bundle cannot be opened, or parity has not passed it.
        UsageError: the bundle itself cannot be run here. A rival that cannot is named in `not_run`.
    """
    started = time.perf_counter()
    bundle = open_bundle(folder)
    require_verified(bundle, options.unverified)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="taemi-edge-bench-")))
        meter = stack.enter_context(PowerMeter())
        contenders, not_run = _open_all(stack, bundle, options, scratch)
        plan = _Plan(bundle, options, contenders, progress)
        ceilings = plan.ceilings()
        parts = tuple(_with_limit(times, bundle, options, ceilings) for times in plan.parts())
        windows = tuple(plan.windows())
        sources = tuple(plan.sources())
        power = meter.report()
    hop = next(w for w in windows if w.kind == "hop" and w.pattern == pattern_name(PRESENCE_PATTERNS[0]))
    return BenchReport(
        bundle=str(folder),
        model=bundle.manifest.name,
        command=command,
        machine=_machine(bundle, options),
        contenders={name: contender.described for name, contender in contenders.items()},
        not_run=not_run,
        parts=parts,
        windows=windows,
        sources=sources,
        ceilings={name: round(value, 2) for name, value in ceilings.items()},
        ratios=_ratios(hop),
        overhead_ms=_overhead(hop),
        saved=plan.saved(),
        power=power,
        seconds=round(time.perf_counter() - started, 1),
    )


# ------------------------------------------------------------------------------------------------------ contenders


def _open_all(
    stack: ExitStack, bundle: Bundle, options: BenchOptions, scratch: Path
) -> tuple[dict[str, Contender], dict[str, str]]:
    """The bundle itself, which must open, and the rivals that do."""
    device = options.device or device_of(bundle)
    folder = str(bundle.folder.resolve())
    opened: dict[str, Contender] = {}
    opening = Opening(way="runtime", bundle=folder, device=device, threads=options.threads)
    opened[OURS] = stack.enter_context(Contender(OURS, opening, sys.executable, scratch / "ours.log"))
    if opened[OURS].described.get("graphs") == "captured":
        opened[UNCAPTURED] = Uncaptured(opened[OURS])
    not_run: dict[str, str] = {}
    for index, (name, opening) in enumerate(_rivals(bundle, options, device)):
        try:
            contender = Contender(name, opening, options.python, scratch / f"rival-{index}.log")
        except (UsageError, OSError) as error:
            not_run[name] = str(error)
            continue
        opened[name] = stack.enter_context(contender)
    return opened, not_run


def _rivals(bundle: Bundle, options: BenchOptions, device: Device) -> Iterator[tuple[str, Opening]]:
    graphs = graphs_of(bundle)
    checkpoint, is_random = _checkpoint_of(bundle, options.checkpoint)
    low = any(bundle.manifest.parts.of(part).precision != "fp32" for part in PARTS)
    on_gpu = device != "cpu"
    for way in options.against if options.against is not None else _usual_rivals(options, on_gpu):
        common: dict[str, Any] = {
            "way": way,
            "bundle": str(bundle.folder.resolve()),
            "graphs": str(graphs.resolve()),
            "checkpoint": checkpoint,
            "random_weights": is_random,
            "threads": options.threads,
            "device": "cuda" if on_gpu else "cpu",
        }
        if way.startswith("torch"):
            precision = "fp16" if low and on_gpu else "fp32"
            yield f"{way} {precision}", Opening(**common, precision=precision)
            continue
        yield f"{way} fp32", Opening(**common, precision="fp32")
        if way == "onnxruntime-cuda" and low:
            yield f"{way} fp16", Opening(**common, precision="fp16")


def _usual_rivals(options: BenchOptions, on_gpu: bool) -> list[WayName]:
    """What can be expected to be there; compiling for a processor takes a compiler and minutes, so it is left out."""
    elsewhere = options.python != sys.executable
    chosen: list[WayName] = ["onnxruntime-cpu"]
    chosen += ["onnxruntime-cuda"] if on_gpu else []
    if elsewhere or find_spec("torch"):
        chosen += ["torch-eager", "torch-compile"] if on_gpu else ["torch-eager"]
    return chosen


def graphs_of(bundle: Bundle) -> Path:
    """The bundle of graphs that engines were built from; of any other bundle, itself."""
    engine = bundle.manifest.engine
    return Path(engine.source) if engine is not None and Path(engine.source, MANIFEST).is_file() else bundle.folder


def _checkpoint_of(bundle: Bundle, named: str | None) -> tuple[str, bool]:
    """What a bundle was exported from, back through the bundles that it was made of; and whether it is random."""
    manifest = bundle.manifest
    while Path(manifest.provenance.source, MANIFEST).is_file():
        manifest = read_manifest(Path(manifest.provenance.source))
    checkpoint = named or manifest.provenance.source
    is_random = "random" in " ".join(manifest.provenance.weights.values())
    return checkpoint, is_random and not Path(checkpoint).is_dir()


# ---------------------------------------------------------------------------------------------------------- timing


class _Plan:
    """Asks all contenders for the same things, turn by turn."""

    def __init__(
        self, bundle: Bundle, options: BenchOptions, contenders: Mapping[str, Contender], progress: Progress
    ) -> None:
        self._bundle, self._options, self._contenders, self._progress = bundle, options, contenders, progress
        self._batches: list[tuple[Part, int]] = [
            (part, batch) for part in PARTS for batch in dict.fromkeys((1, *options.batches.get(part, ())))
        ]
        self._kinds: tuple[Kind, ...] = ("hop", "window")
        self._total = len(self._batches) + len(self._kinds) * len(PRESENCE_PATTERNS) + len(options.sources)
        self._done = 0
        #: Of our own hops, by pattern: what each encoder took in each turn.
        self._encoders_ms: dict[str, dict[str, list[float]]] = {}

    def ceilings(self) -> dict[str, float]:
        """The highest that any contender reached."""
        found: dict[str, float] = {}
        for contender in self._contenders.values():
            for name, value in contender.ask(Request(do="ceilings")).ceilings.items():
                found[name] = max(found.get(name, 0.0), value)
        return found

    def parts(self) -> Iterator[PartTimes]:
        for part, batch in self._batches:
            request = Request(do="prepare", part=part, batch=batch)
            yield PartTimes(part=part, batch=batch, timings=self._time(request, self._contenders))
            self._tell(f"{part}, batch {batch}")

    def windows(self) -> Iterator[WindowTimes]:
        for kind in self._kinds:
            for pattern in PRESENCE_PATTERNS:
                modalities = tuple(m for m in MODALITIES if m in pattern)
                request = Request(do="prepare", kind=kind, pattern=modalities)
                timings = self._time(request, self._able(pattern))
                yield WindowTimes(kind=kind, pattern=pattern_name(pattern), timings=timings)
                self._tell(f"{kind}, {pattern_name(pattern)}")

    def sources(self) -> Iterator[SourcesTimes]:
        ours = {OURS: self._contenders[OURS]}
        first: Stats | None = None
        for count in self._options.sources:
            [timing] = self._time(Request(do="prepare", sources=count), ours)
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
            self._tell(f"{count} sources")

    def saved(self) -> dict[str, float]:
        """By stream: how much less the device works without it, over what its encoder took."""
        times = {
            pattern: {part: median(turns) for part, turns in encoders.items()}
            for pattern, encoders in self._encoders_ms.items()
        }
        complete = times.get(pattern_name(PRESENCE_PATTERNS[0]), {})
        saved: dict[str, float] = {}
        for m in MODALITIES:
            without = times.get(pattern_name(frozenset(MODALITIES) - {m}))
            if without is not None and complete.get(m):
                saved[m] = round((sum(complete.values()) - sum(without.values())) / complete[m], 4)
        return saved

    def _able(self, pattern: frozenset[Modality]) -> dict[str, Contender]:
        """Who is timed on a pattern: what compiles anew for every shape has the complete one alone."""
        complete = len(pattern) == len(MODALITIES)
        return {n: c for n, c in self._contenders.items() if complete or not n.startswith("torch-compile")}

    def _time(self, request: Request, contenders: Mapping[str, Contender]) -> tuple[Timing, ...]:
        """Prepare in all, then run in turns; a contender that fails says why and sits out."""
        prepared = {name: contender.ask(request) for name, contender in contenders.items()}
        wall: dict[str, list[float]] = {name: [] for name in contenders}
        device: dict[str, list[float]] = {name: [] for name in contenders}
        failures = {name: answer.failure for name, answer in prepared.items() if answer.failure}
        for turn in range(_TURNS):
            for name, contender in contenders.items():
                if name in failures:
                    continue
                runs = self._options.runs // _TURNS
                answer = contender.ask(Request(do="run", runs=runs, warm_up=5 if turn == 0 else 1))
                if answer.failure:
                    failures[name] = answer.failure
                wall[name] += answer.wall_ms
                device[name] += answer.device_ms
                if name == OURS and request.part is None and request.kind == "hop" and request.sources == 1:
                    self._note(request, answer)
        for contender in contenders.values():
            contender.ask(Request(do="close"))
        return tuple(
            Timing(
                contender=name,
                wall=stats_of(wall[name]),
                device=stats_of(device[name]),
                max_abs=prepared[name].max_abs,
                cosine=prepared[name].cosine,
                failure=failures.get(name, ""),
            )
            for name in contenders
        )

    def _note(self, request: Request, answer: Answer) -> None:
        encoders = self._encoders_ms.setdefault(pattern_name(frozenset(request.pattern)), {})
        for part, ms in answer.parts_ms.items():
            if part != "fusion":
                encoders.setdefault(part, []).append(ms)

    def _tell(self, what: str) -> None:
        self._done += 1
        self._progress.count(self._done, self._total, f"timing {what}")


# ---------------------------------------------------------------------------------------------------------- judging


def _with_limit(times: PartTimes, bundle: Bundle, options: BenchOptions, ceilings: Mapping[str, float]) -> PartTimes:
    """Add what the part needs at least and what the machine's ceilings make of it, where onnx is here to count it."""
    if not find_spec("onnx") or "copy_gb_s" not in ceilings:
        return times
    from taemi_edge.bench.costs import count_cost

    spec = bundle.manifest.parts.of(times.part)
    folder = graphs_of(bundle)
    manifest = read_manifest(folder)
    own = manifest.graph_file(times.part, spec.precision)
    name = own or manifest.graph_file(times.part, "fp32") or manifest.parts.of(times.part).file
    cost = count_cost(folder / name, Feeds(bundle).part(times.part, 1)[0])
    narrower = 1 if own or spec.precision == "fp32" else 2 if spec.precision == "fp16" else 4
    moved = cost.weight_bytes // narrower + cost.seam_bytes * times.batch
    operations = cost.operations * times.batch
    known = [spec.precision, "fp16", "fp32"]
    rate = next((ceilings[f"{p}_tflop_s"] for p in known if f"{p}_tflop_s" in ceilings), None)
    limit_ms = 1e3 * max(moved / (ceilings["copy_gb_s"] * 1e9), operations / (rate * 1e12) if rate else 0.0)
    ours = find(times.timings, OURS)
    measured = ours.best.median if ours is not None and ours.best is not None else None
    return msgspec.structs.replace(
        times,
        operations=operations,
        bytes=moved,
        limit_ms=round(limit_ms, 6),
        share=None if not measured else round(limit_ms / measured, 4),
    )


def _ratios(hop: WindowTimes) -> dict[str, float]:
    ours = find(hop.timings, OURS)
    if ours is None or ours.wall is None:
        return {}
    return {t.contender: round(t.wall.median / ours.wall.median, 3) for t in hop.timings if t.wall and t is not ours}


def _overhead(hop: WindowTimes) -> float | None:
    ours = find(hop.timings, OURS)
    if ours is None or ours.wall is None or ours.device is None:
        return None
    return round(ours.wall.median - ours.device.median, 5)


def _ratio(above: float | None, below: float | None) -> float | None:
    return round(above / below, 3) if above and below else None


def _machine(bundle: Bundle, options: BenchOptions) -> dict[str, str]:
    """The device that the bundle ran on, in words."""
    device = options.device or device_of(bundle)
    try:
        machine = this_machine(with_gpu=device == "tensorrt")
    except TaemiError:
        machine = this_machine(with_gpu=False)
    found: dict[str, str] = {k: v for k, v in msgspec.to_builtins(machine).items() if v}
    return {**found, "cores": str(os.cpu_count()), "python": sys.version.split()[0]}


def rivals_from(names: Sequence[str]) -> tuple[WayName, ...] | None:
    """The rivals that `--against` names; None of none, an empty tuple of "none".

    Raises:
        UsageError: one that is not known.
    """
    if unknown := [name for name in names if name not in (*RIVALS, "none")]:
        raise UsageError(f"--against {unknown[0]}: expected {', '.join(RIVALS)} or none")
    return tuple(name for name in RIVALS if name in names) if names else None

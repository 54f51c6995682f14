"""Compares a bundle with PyTorch and ONNX Runtime: `run_bench`.

Each contender runs in a process of its own. All are timed in turn on the same feeds.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from taemi_edge.bench.limits import with_limit, without_share
from taemi_edge.bench.machine import described_machine
from taemi_edge.bench.noise import NoiseMeter
from taemi_edge.bench.options import BenchOptions
from taemi_edge.bench.plan import BenchPlan, timed_patterns
from taemi_edge.bench.power import PowerMeter
from taemi_edge.bench.provenance import today
from taemi_edge.bench.report import OURS, BenchReport, WindowTimes, find
from taemi_edge.bench.rivals import open_contenders
from taemi_edge.bundle.atomic import scratch_folder
from taemi_edge.bundle.folder import Bundle, open_bundle
from taemi_edge.progress import SILENT, Progress
from taemi_edge.runtime.sessions import device_of, require_verified


def run_bench(
    folder: Path | str, options: BenchOptions | None = None, command: str = "", progress: Progress = SILENT
) -> BenchReport:
    """Time a bundle and its rivals.

    Args:
        folder: the bundle.
        options: what is compared, and how; the defaults where None.
        command: the command line, for the report.

    Returns:
        The times of all contenders, the limits of the machine and the readings of the device.

    Raises:
        BundleError, EngineError: the bundle cannot be opened, or parity has not passed it.
        UsageError: the bundle itself cannot be run here, or `options` name parts that it lacks, or a model that cannot
            be loaded. Any other rival that cannot run is named in `not_run`.

    Example:
        >>> import taemi_edge as te
        >>> from taemi_edge.bench.options import BenchOptions
        >>> report = te.bench("export/taemi-tiny", BenchOptions(runs=5, against=()))
        >>> [times.part for times in report.parts]
        ['vision', 'audio', 'text', 'fusion']
    """
    return _run_bench(Path(folder), options or BenchOptions(), command, progress)


def _run_bench(folder: Path, options: BenchOptions, command: str, progress: Progress) -> BenchReport:
    started = time.perf_counter()
    bundle = open_bundle(folder)
    require_verified(bundle, options.unverified)
    options.require_parts(bundle.manifest.part_names)
    meter_of_noise = NoiseMeter()
    with ExitStack() as stack:
        scratch = stack.enter_context(scratch_folder())
        meter = stack.enter_context(PowerMeter())
        contenders, not_run = open_contenders(stack, bundle, options, scratch, progress)
        plan = BenchPlan(bundle, options, contenders, progress)
        ceilings = plan.ceilings()
        parts = tuple(with_limit(times, bundle, ceilings) for times in plan.parts())
        windows = tuple(plan.windows())
        sources = tuple(plan.sources())
        power = meter.report()
    noise = meter_of_noise.report(plan.turns, [part.share for part in parts])
    hop = windows[0]  # a hop with all streams
    anew = next(window for window in windows if window.kind == "window")  # all streams, and the whole window
    return BenchReport(
        bundle=str(folder),
        model=bundle.manifest.name,
        command=command,
        date=today(),
        machine=described_machine(options.device or device_of(bundle)),
        contenders={name: contender.described for name, contender in contenders.items()},
        not_run={**not_run, **_patterns_left_out(bundle, options)},
        parts=tuple(map(without_share, parts)) if noise.busy else parts,
        windows=windows,
        sources=sources,
        ceilings={name: float(f"{value:.4g}") for name, value in ceilings.items()},
        ratios=_ratios(hop, hop),
        script_ratios=_ratios(anew, hop),
        overhead_ms=_overhead(hop),
        saved=plan.saved(),
        power=power,
        seconds=round(time.perf_counter() - started, 1),
        noise=noise,
    )


def _patterns_left_out(bundle: Bundle, options: BenchOptions) -> dict[str, str]:
    every, timed = bundle.manifest.patterns, timed_patterns(bundle.manifest, options.all_patterns)
    if len(timed) == len(every):
        return {}
    return {f"{len(every) - len(timed)} of {len(every)} presence patterns": "pass --all-patterns to time them as well"}


def _ratios(rivals: WindowTimes, hop: WindowTimes) -> dict[str, float]:
    """The times of the rivals on one thing, divided by the bundle's own on a hop."""
    ours = find(hop.timings, OURS)
    if ours is None or ours.wall is None:
        return {}
    return {
        timing.contender: round(timing.wall.median / ours.wall.median, 3)
        for timing in rivals.timings
        if timing.wall and not timing.contender.startswith(OURS)
    }


def _overhead(hop: WindowTimes) -> float | None:
    ours = find(hop.timings, OURS)
    if ours is None or ours.wall is None or ours.device is None:
        return None
    return round(ours.wall.median - ours.device.median, 5)

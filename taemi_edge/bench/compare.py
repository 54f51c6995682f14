"""Compares a bundle with PyTorch and ONNX Runtime: `run_bench`.

Each contender runs in a process of its own. All are timed in turn on the same feeds.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import msgspec

from taemi_edge.bench.feeds import Feeds
from taemi_edge.bench.options import BenchOptions
from taemi_edge.bench.plan import BenchPlan, timed_patterns
from taemi_edge.bench.power import PowerMeter
from taemi_edge.bench.report import OURS, BenchReport, PartTimes, WindowTimes, find
from taemi_edge.bench.rivals import graphs_of, open_contenders
from taemi_edge.bundle.atomic import scratch_folder
from taemi_edge.bundle.folder import Bundle, open_bundle
from taemi_edge.bundle.precisions import FLAVOURS_OF, FURTHER, QUANTISED, WEIGHT_BYTES
from taemi_edge.errors import TaemiError
from taemi_edge.progress import SILENT, Progress
from taemi_edge.runtime.sessions import device_of, require_verified
from taemi_edge.runtime.tensorrt.machine import this_machine


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
    with ExitStack() as stack:
        scratch = stack.enter_context(scratch_folder())
        meter = stack.enter_context(PowerMeter())
        contenders, not_run = open_contenders(stack, bundle, options, scratch)
        plan = BenchPlan(bundle, options, contenders, progress)
        ceilings = plan.ceilings()
        parts = tuple(_with_limit(times, bundle, options, ceilings) for times in plan.parts())
        windows = tuple(plan.windows())
        sources = tuple(plan.sources())
        power = meter.report()
    hop = windows[0]  # a hop with all streams
    return BenchReport(
        bundle=str(folder),
        model=bundle.manifest.name,
        command=command,
        machine=_machine(bundle, options),
        contenders={name: contender.described for name, contender in contenders.items()},
        not_run={**not_run, **_patterns_left_out(bundle, options)},
        parts=parts,
        windows=windows,
        sources=sources,
        ceilings={name: float(f"{value:.4g}") for name, value in ceilings.items()},
        ratios=_ratios(hop),
        overhead_ms=_overhead(hop),
        saved=plan.saved(),
        power=power,
        seconds=round(time.perf_counter() - started, 1),
    )


def _patterns_left_out(bundle: Bundle, options: BenchOptions) -> dict[str, str]:
    every, timed = bundle.manifest.patterns, timed_patterns(bundle.manifest, options.all_patterns)
    if len(timed) == len(every):
        return {}
    return {f"{len(every) - len(timed)} of {len(every)} presence patterns": "pass --all-patterns to time them as well"}


def _with_limit(times: PartTimes, bundle: Bundle, options: BenchOptions, ceilings: Mapping[str, float]) -> PartTimes:
    """Add the least time that a part needs at the machine's highest rates, where onnx is installed to count it."""
    if not find_spec("onnx") or "copy_gb_s" not in ceilings:
        return times
    from taemi_edge.bench.costs import count_cost
    from taemi_edge.calibration.graphs.graph import Graph

    spec = bundle.manifest.parts[times.part]
    graphs = bundle if (folder := graphs_of(bundle)) == bundle.folder else open_bundle(folder)
    manifest = graphs.manifest
    # Q/DQ graphs hold their weights as FP32 or FP16, where an engine has a byte of each; BF16 graphs run on no CPU
    countable = spec.precision not in (*QUANTISED, *FURTHER)
    own = manifest.graph_file(times.part, FLAVOURS_OF[spec.precision][0]) if countable else None
    name = own or manifest.graph_file(times.part, "fp32") or manifest.parts[times.part].file
    cost = count_cost(Graph.of_bytes(graphs.read_graph(name), str(folder / name)), Feeds(bundle).part(times.part, 1)[0])
    narrower = 1 if own else WEIGHT_BYTES["fp32"] // WEIGHT_BYTES[spec.precision]
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


def _machine(bundle: Bundle, options: BenchOptions) -> dict[str, str]:
    """The machine that the bundle ran on."""
    device = options.device or device_of(bundle)
    try:
        machine = this_machine(with_gpu=device == "tensorrt")
    except TaemiError:
        machine = this_machine(with_gpu=False)
    found: dict[str, str] = {k: v for k, v in msgspec.to_builtins(machine).items() if v}
    return {**found, "cores": str(os.cpu_count()), "python": sys.version.split()[0]}

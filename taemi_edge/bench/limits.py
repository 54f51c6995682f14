"""The least time that a part needs at the machine's highest rates: operations and bytes, counted from its graph."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import msgspec

from taemi_edge.bench.feeds import Feeds
from taemi_edge.bench.report import OURS, PartTimes, find
from taemi_edge.bench.rivals import graphs_of
from taemi_edge.bundle.atomic import scratch_folder
from taemi_edge.bundle.folder import Bundle, open_bundle
from taemi_edge.bundle.precisions import FLAVOURS_OF, FURTHER, QUANTISED, WEIGHT_BYTES


def with_limit(times: PartTimes, bundle: Bundle, ceilings: Mapping[str, float]) -> PartTimes:
    """Add the least time of a part, where onnx is installed to count it and the machine was measured.

    Args:
        times: of one part at one batch.
        bundle: that the part belongs to.
        ceilings: see `taemi_edge.bench.ceilings`.
    """
    if not find_spec("onnx") or "copy_gb_s" not in ceilings:
        return times
    operations, moved = _counted(times, bundle)
    spec = bundle.manifest.parts[times.part]
    rates = {name.removesuffix("_tflop_s"): rate for name, rate in ceilings.items() if name.endswith("_tflop_s")}
    ours = find(times.timings, OURS)
    measured = ours.best.median if ours is not None and ours.best is not None else None
    copy_ms = 1e3 * moved / (ceilings["copy_gb_s"] * 1e9)

    def limit_of(done: Mapping[str, float]) -> float | None:
        """The least time where so many operations are done in each type; None where no rate is known of one."""
        taken = [rates.get(kind) or rates.get("fp16") or rates.get("fp32") for kind in done]
        if not all(taken):
            return copy_ms if not any(rates.values()) else None
        return max(copy_ms, sum(1e3 * n / (rate * 1e12) for n, rate in zip(done.values(), taken, strict=True) if rate))

    limit_ms = limit_of(operations)
    total = sum(operations.values())
    fp32_ms = limit_of({"fp32": total}) if spec.file.endswith(".onnx") else None
    return msgspec.structs.replace(
        times,
        operations=total,
        operations_by=operations,
        bytes=moved,
        limit_ms=_rounded(limit_ms, 6),
        share=_share(limit_ms, measured),
        fp32_share=_share(fp32_ms, measured),
    )


def without_share(times: PartTimes) -> PartTimes:
    """The times of a part whose nearness to its limit is not judged, since the machine was busy."""
    return msgspec.structs.replace(times, share=None, fp32_share=None)


def _counted(times: PartTimes, bundle: Bundle) -> tuple[dict[str, float], int]:
    """The operations of a part by what they are computed in, and the bytes that it moves.

    All operations are counted in the graph that the part was made of, which has the names that every library knows.
    How many of them are done in whole numbers stands in the graph as ONNX Runtime rewrites it to run it.
    """
    from taemi_edge.bench.costs import count_cost
    from taemi_edge.calibration.graphs.graph import Graph

    spec = bundle.manifest.parts[times.part]
    graphs = bundle if (folder := graphs_of(bundle)) == bundle.folder else open_bundle(folder)
    manifest, feeds = graphs.manifest, Feeds(bundle).part(times.part, 1)[0]
    # Q/DQ graphs hold their weights as FP32 or FP16, where an engine has a byte of each; BF16 graphs run on no CPU
    countable = spec.precision not in (*QUANTISED, *FURTHER)
    own = manifest.graph_file(times.part, FLAVOURS_OF[spec.precision][0]) if countable else None
    name = own or manifest.graph_file(times.part, "fp32") or manifest.parts[times.part].file
    cost = count_cost(Graph.of_bytes(graphs.read_graph(name), str(folder / name)), feeds)
    narrower = 1 if own else WEIGHT_BYTES["fp32"] // WEIGHT_BYTES[spec.precision]
    moved = int(cost.weight_bytes // narrower + cost.seam_bytes * times.batch)
    total = cost.operations * times.batch
    if not (spec.file.endswith(".onnx") and spec.precision == "int8"):
        return {spec.precision: total}, moved
    integer = min(total, times.batch * _integer_operations(bundle, times.part, feeds))
    return {kind: count for kind, count in (("int8", integer), ("fp32", total - integer)) if count}, moved


def _integer_operations(bundle: Bundle, part: str, feeds: Mapping[str, Any]) -> float:
    """How many operations of a part ONNX Runtime does in whole numbers: 0 where it computes Q/DQ pairs in FP32."""
    from taemi_edge.bench.costs import count_cost
    from taemi_edge.calibration.graphs.graph import Graph
    from taemi_edge.runtime.onnx_sessions import optimise

    with scratch_folder() as folder:
        file = folder / f"{part}.onnx"
        engine = bundle.manifest.engine
        optimise(bundle.read_part(part), file, plan=None if engine is None else engine.session_plan(part))
        return count_cost(Graph.load(file), feeds).integer_operations


def _share(limit_ms: float | None, measured_ms: float | None) -> float | None:
    return _rounded(limit_ms / measured_ms, 4) if limit_ms and measured_ms else None


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)

"""Comparing one part's graph with its FP32 graph on clips: how near its outputs are, and what the model makes of them.

The clips carry the features that FP32 made, so only the new graph and the FP32 head run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.outputs import ClassesSpec, OutputSpec
from taemi_edge.bundle.precisions import HOST_FLAVOURS, Flavour
from taemi_edge.bundle.records import Closeness
from taemi_edge.bundle.streams import Pattern
from taemi_edge.bundle.values import HEAD, Array
from taemi_edge.calibration.clip_spool import ClipSpool, SpooledClip, thin_clip
from taemi_edge.calibration.graph_sessions import GraphRunner, runnable_graph, runner_of
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.graphs.qdq import PartPlan, quantise
from taemi_edge.calibration.graphs.unsigned_qdq import quantise_for_hosts
from taemi_edge.calibration.head_feeds import head_feeds
from taemi_edge.calibration.scoring import count_flips
from taemi_edge.calibration.stream_inputs import encode_stream
from taemi_edge.parity.metrics import pearson_of


@dataclass(frozen=True, eq=False)
class ComparisonTask:
    """Everything that a worker process needs to compare one graph.

    Attributes:
        part, name: the part that the graph belongs to, and what the result is called.
        file: a graph that was just written, which is compared as it is; None for the bundle's own graph of the part,
            which is quantised first where there is a plan.
        flavour: of the graph; by a plan it is quantised symmetrically unless this is a flavour for processors.
        bundle: in FP32; its head turns features into outputs.
        spool: the clips.
        items_per_clip: how many pictures or rows of a clip count, evenly over it.
        excluded: the blocks that stay in FP32 when a plan is used.
    """

    part: str
    name: str
    file: Path | None
    bundle: Bundle
    spool: ClipSpool
    items_per_clip: int
    plan: PartPlan | None = None
    excluded: tuple[str, ...] = ()
    flavour: Flavour = "fp32"


@dataclass(frozen=True, eq=False)
class ComparisonResult:
    """How near a graph came to FP32.

    Attributes:
        part, name: those of the task.
        closeness: without a score: that takes labels.
        features: what an encoder made of each clip, (T, D); with them several parts can be judged together. Empty for
            the head.
        outputs: what the model gives for each clip with all its streams and every other part in FP32, (clips, n) by
            output.
    """

    part: str
    name: str
    closeness: Closeness
    features: list[Array]
    outputs: dict[str, Array]


def compare_graph(task: ComparisonTask) -> ComparisonResult:
    """Run a graph over the clips and compare what it gives with the features that FP32 gave."""
    run, head = runner_of(_model(task), task.flavour), runner_of(task.bundle.read_part(HEAD))
    clips = [thin_clip(clip, task.bundle, task.items_per_clip) for clip in task.spool]
    if task.part == HEAD:
        return _compare_head(task, run, head, clips)
    return _compare_encoder(task, run, head, clips)


def _compare_encoder(
    task: ComparisonTask, run: GraphRunner, head: GraphRunner, clips: list[SpooledClip]
) -> ComparisonResult:
    """Compare an encoder's features, (T, D) a clip, and give what the FP32 head makes of them."""
    part, spec = task.part, task.bundle.manifest.streams[task.part]
    made = [encode_stream(run, spec, clip.inputs[part].feeds) for clip in clips]
    further = [encode_stream(run, spec, clip.inputs[part].further) for clip in clips]
    want = [clip.features[part] for clip in clips] + [clip.further_features[part] for clip in clips]
    outputs = predict(head, task.bundle, with_features(clips, {part: made}))
    return ComparisonResult(part, task.name, _closeness(want, made + further), made, outputs)


def _model(task: ComparisonTask) -> bytes:
    """The content of the graph that is compared."""
    if task.file is not None:
        return runnable_graph(task.file, task.flavour)
    if task.plan is None:
        return task.bundle.read_part(task.part)
    graph = _part_graph(task.bundle, task.part)
    if task.flavour in HOST_FLAVOURS:
        return quantise_for_hosts(graph, task.plan, task.flavour, task.excluded).bytes()
    return quantise(graph, task.plan, task.excluded).bytes()


def _part_graph(bundle: Bundle, part: str) -> Graph:
    """Read a part; a worker compares one part several times in a row, and reads its FP32 graph once."""
    digest = bundle.digests[bundle.manifest.parts[part].file]
    if digest not in _last_graph:
        _last_graph.clear()
        _last_graph[digest] = Graph.of_part(bundle, part)
    return _last_graph[digest]


#: The graph that was read last, by the sha256 of its file.
_last_graph: dict[str, Graph] = {}


def with_features(clips: list[SpooledClip], features: Mapping[str, Sequence[Array]]) -> list[SpooledClip]:
    """Give the clips with other features of some streams, one (T, D) for each clip."""
    return [
        replace(clip, features={**clip.features, **{name: values[row] for name, values in features.items()}})
        for row, clip in enumerate(clips)
    ]


def predict(
    head: GraphRunner, bundle: Bundle, clips: list[SpooledClip], pattern: Pattern | None = None
) -> dict[str, Array]:
    """Run a head on the features of clips.

    Args:
        head: runs the head.
        bundle: says what stands for streams that a clip lacks or `pattern` omits.
        clips: with the features of every stream, (T, D).
        pattern: the streams that are used; None for all.

    Returns:
        What the head gives, (clips, n) by output.
    """
    used = frozenset(bundle.manifest.streams) if pattern is None else pattern
    rows = [head(head_feeds(bundle, clip.features, used)) for clip in clips]
    return {name: np.array([row[name][0] for row in rows]) for name in bundle.manifest.outputs}


def _compare_head(
    task: ComparisonTask, run: GraphRunner, reference: GraphRunner, clips: list[SpooledClip]
) -> ComparisonResult:
    """Compare outputs in all presence patterns: the errors of the worst output, the angle between all of them.

    Pearson is that of the worst number or group of classes.
    """
    manifest = task.bundle.manifest
    want, got = (
        [predict(each, task.bundle, clips, pattern) for pattern in manifest.patterns] for each in (reference, run)
    )
    joined = [
        {name: np.concatenate([found[name] for found in side]) for name in manifest.outputs} for side in (want, got)
    ]
    figures = [_closeness([joined[0][name]], [joined[1][name]]) for name in manifest.outputs]
    angles = _closeness(*([side] for side in _of_equal_size(*joined)))
    known = [
        value
        for name, spec in manifest.outputs.items()
        for value in _correlations(spec, joined[0][name], joined[1][name])
    ]
    live = [number for number, pattern in enumerate(manifest.patterns) if pattern]
    shares = [count_flips(manifest.outputs, want[number], got[number]) for number in live]
    flips = [share for share in shares if share is not None]
    measured = Closeness(
        pearson=min(known) if known else None,
        max_abs=max(output.max_abs for output in figures),
        p99_abs=max(output.p99_abs for output in figures),
        cosine=angles.cosine,
        min_cosine=angles.min_cosine,
        flips=float(np.mean(flips)) if flips else None,
    )
    return ComparisonResult(task.part, task.name, measured, [], got[0])  # the complete pattern comes first


def _of_equal_size(want: Mapping[str, Array], got: Mapping[str, Array]) -> tuple[Array, Array]:
    """All outputs side by side, each as a share of its largest magnitude; a single output as it is."""
    sizes = {name: float(np.abs(values).max(initial=0.0)) if len(want) > 1 else 1.0 for name, values in want.items()}
    ours, theirs = (
        np.concatenate([values / (sizes[name] or 1.0) for name, values in side.items()], axis=1) for side in (want, got)
    )
    return ours, theirs


def _correlations(spec: OutputSpec, want: Array, got: Array) -> list[float]:
    """The correlation of each number, (N, n), or of all classes of a group at once, where it is defined."""
    if isinstance(spec, ClassesSpec):
        columns = [pearson_of(want.ravel(), got.ravel())]
    else:
        columns = [pearson_of(want[:, i], got[:, i]) for i in range(want.shape[1])]
    return [value for value in columns if value is not None]


def _closeness(want: list[Array], got: list[Array]) -> Closeness:
    x, y = (np.concatenate(values).astype(np.float64) for values in (want, got))
    if not x.size:
        return Closeness(pearson=None, max_abs=0, p99_abs=0, cosine=1, min_cosine=1)
    norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    error = np.abs(x - y)
    cosines = (x * y).sum(1) / np.maximum(norms, 1e-12)
    cosines[~(x.any(1) | y.any(1))] = 1.0  # two vectors of zeros, as a ReLU gives them, are the same
    return Closeness(
        pearson=pearson_of(x.ravel(), y.ravel()),
        max_abs=float(error.max()),
        p99_abs=float(np.quantile(error, 0.99)),
        cosine=float(cosines.mean()),
        min_cosine=float(cosines.min()),
    )

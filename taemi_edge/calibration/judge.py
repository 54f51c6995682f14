"""A candidate graph of one part and clips in, how far it is from FP32 and what it costs on labels out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from taemi_edge.bundle.spec import MODALITIES, PRESENCE_PATTERNS, Array, Closeness, Modality
from taemi_edge.calibration.clips import ClipSpool, SpooledClip, encode, encode_short_texts, fusion_feeds
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.graphs.qdq import PartPlan, quantise
from taemi_edge.calibration.plan import Run, open_graph
from taemi_edge.parity.metrics import mean_pearson, pearson_of


@dataclass(frozen=True)
class TrialTask:
    """What a worker needs to try one graph: a file as it is, or one to be quantised first by a plan.

    `fusion` is the FP32 fusion head, which turns features into intensities.
    """

    part: str
    name: str
    file: Path
    fusion: Path
    spool: ClipSpool
    tokens: Mapping[str, Array]
    frames_per_clip: int
    plan: PartPlan | None = None
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrialResult:
    """The task's part and name with what was found, and the features it gave, for trials of several parts at once."""

    part: str
    name: str
    closeness: Closeness
    features: list[Array]


def try_graph(task: TrialTask) -> TrialResult:
    """Run a candidate over the clips and hold it against the features that FP32 gave."""
    model = str(task.file) if task.plan is None else quantise(_graph(task.file), task.plan, task.excluded).bytes()
    run = graph_runner(open_graph(model))
    fusion = graph_runner(open_graph(str(task.fusion)))
    clips = [thinned(clip, task.frames_per_clip) for clip in task.spool]
    labels = np.array([clip.labels for clip in clips])
    if task.part == "fusion":
        return TrialResult(task.part, task.name, _judge_fusion(run, fusion, clips, task.tokens, labels), [])
    dim = len(task.tokens[task.part])
    given = [encode(run, task.part, clip, task.spool.audio, dim) for clip in clips]
    swapped = [
        replace(clip, features={**clip.features, task.part: made}) for clip, made in zip(clips, given, strict=True)
    ]
    on_labels = mean_pearson(predict(fusion, swapped, task.tokens), labels)
    want, got = [clip.features[task.part] for clip in clips], list(given)
    if task.part == "text":
        want += [clip.short_texts for clip in clips]
        got += [encode_short_texts(run, clip, dim) for clip in clips]
    closeness = _judge(want, got, on_labels)
    return TrialResult(task.part, task.name, closeness, given)


@lru_cache(maxsize=1)
def _graph(file: Path) -> Graph:
    """The trials of a part come one after another: its FP32 graph is read once a worker."""
    return Graph.load(file)


def thinned(clip: SpooledClip, frames: int) -> SpooledClip:
    """The clip with at most so many frames, evenly over it."""
    if len(clip.pixels) <= frames:
        return clip
    chosen = np.linspace(0, len(clip.pixels) - 1, frames).astype(int)
    features = {**clip.features, "vision": clip.features["vision"][chosen]}
    return replace(clip, pixels=clip.pixels[chosen], features=features)


def predict(
    fusion: Run, clips: list[SpooledClip], tokens: Mapping[str, Array], left: frozenset[Modality] | None = None
) -> Array:
    """Intensities (N, 6), tokens bound for streams that did not come or are not in `left`."""
    pattern = frozenset(MODALITIES) if left is None else left
    rows = [fusion(fusion_feeds(clip.features, pattern, tokens))["intensities"][0] for clip in clips]
    return np.array(rows)


def _judge_fusion(
    run: Run, reference: Run, clips: list[SpooledClip], tokens: Mapping[str, Array], labels: Array
) -> Closeness:
    want = np.concatenate([predict(reference, clips, tokens, pattern) for pattern in PRESENCE_PATTERNS])
    got = np.concatenate([predict(run, clips, tokens, pattern) for pattern in PRESENCE_PATTERNS])
    columns = [pearson_of(want[:, i], got[:, i]) for i in range(want.shape[1])]
    known = [value for value in columns if value is not None]
    closeness = _judge([want], [got], mean_pearson(got[: len(clips)], labels))
    return msgspec.structs.replace(closeness, pearson=min(known) if known else None)


def _judge(want: list[Array], got: list[Array], on_labels: float | None) -> Closeness:
    x, y = (np.concatenate(values).astype(np.float64) for values in (want, got))
    if not x.size:
        return Closeness(pearson=None, max_abs=0, p99_abs=0, cosine=1, min_cosine=1, mean_pearson=on_labels)
    norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    cosines = (x * y).sum(1) / np.maximum(norms, 1e-12)
    error = np.abs(x - y)
    return Closeness(
        pearson=pearson_of(x.ravel(), y.ravel()),
        max_abs=float(error.max()),
        p99_abs=float(np.quantile(error, 0.99)),
        cosine=float(cosines.mean()),
        min_cosine=float(cosines.min()),
        mean_pearson=on_labels,
    )


def graph_runner(session: Any) -> Run:
    names = [output.name for output in session.get_outputs()]

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))

    return run

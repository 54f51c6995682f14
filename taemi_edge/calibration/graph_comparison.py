"""Comparing one part's graph with its FP32 graph on clips: how near its outputs are, and what it costs on labels.

The clips carry the features that FP32 made, so only the new graph and the FP32 fusion head run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np

from taemi_edge.bundle.records import Closeness
from taemi_edge.bundle.spec import MODALITIES, PRESENCE_PATTERNS, Modality
from taemi_edge.bundle.values import Array
from taemi_edge.calibration.clip_spool import ClipSpool, SpooledClip, encode_short_texts, encode_stream, fusion_feeds
from taemi_edge.calibration.graph_sessions import GraphRunner, runner_of
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.graphs.qdq import PartPlan, quantise
from taemi_edge.parity.metrics import mean_pearson, pearson_of


@dataclass(frozen=True)
class ComparisonTask:
    """Everything that a worker process needs to compare one graph.

    Attributes:
        part, name: the part that the graph belongs to, and what the result is called.
        file: the graph; it is compared as it is where `plan` is None, and quantised by the plan first otherwise.
        fusion: the FP32 fusion head, which turns features into intensities.
        spool: the clips.
        tokens: the missing-modality token of each modality, (D,).
        frames_per_clip: how many frames of a clip count, evenly over it.
        excluded: the blocks that stay out of INT8 when a plan is used.
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
class ComparisonResult:
    """How near a graph came to FP32.

    Attributes:
        part, name: those of the task.
        features: what an encoder made of each clip, (T, D); with them several parts can be judged together. Empty for
            the fusion head.
    """

    part: str
    name: str
    closeness: Closeness
    features: list[Array]


def compare_graph(task: ComparisonTask) -> ComparisonResult:
    """Run a graph over the clips and compare what it gives with the features that FP32 gave."""
    model = str(task.file) if task.plan is None else quantise(_graph(task.file), task.plan, task.excluded).bytes()
    run, fusion = runner_of(model), runner_of(str(task.fusion))
    clips = [thin_frames(clip, task.frames_per_clip) for clip in task.spool]
    if task.part == "fusion":
        return ComparisonResult(task.part, task.name, _compare_fusion(run, fusion, clips, task.tokens), [])
    closeness, features = _compare_encoder(task, run, fusion, clips)
    return ComparisonResult(task.part, task.name, closeness, features)


def _compare_encoder(
    task: ComparisonTask, run: GraphRunner, fusion: GraphRunner, clips: list[SpooledClip]
) -> tuple[Closeness, list[Array]]:
    """Compare an encoder's features, (T, D) a clip, and the intensities that FP32 makes of them."""
    part, dim = task.part, len(task.tokens[task.part])
    made = [encode_stream(run, part, clip, task.spool.audio, dim) for clip in clips]
    swapped = [
        replace(clip, features={**clip.features, part: features}) for clip, features in zip(clips, made, strict=True)
    ]
    on_labels = mean_pearson(predict_intensities(fusion, swapped, task.tokens), _labels(clips))
    want, got = [clip.features[part] for clip in clips], list(made)
    if part == "text":
        want += [clip.short_texts for clip in clips]
        got += [encode_short_texts(run, clip, dim) for clip in clips]
    return _closeness(want, got, on_labels), made


@lru_cache(maxsize=1)
def _graph(file: Path) -> Graph:
    """Read a graph; a worker compares one part several times in a row, and reads its FP32 graph once."""
    return Graph.load(file)


def thin_frames(clip: SpooledClip, frames: int) -> SpooledClip:
    """Give the clip with at most `frames` frames, taken evenly over it, and the vision features of those."""
    if len(clip.pixels) <= frames:
        return clip
    chosen = np.linspace(0, len(clip.pixels) - 1, frames).astype(int)
    features = {**clip.features, "vision": clip.features["vision"][chosen]}
    return replace(clip, pixels=clip.pixels[chosen], features=features)


def predict_intensities(
    fusion: GraphRunner,
    clips: list[SpooledClip],
    tokens: Mapping[str, Array],
    pattern: frozenset[Modality] = frozenset(MODALITIES),
) -> Array:
    """Run a fusion head on the features of clips.

    Args:
        fusion: runs the fusion head.
        clips: with the features of every modality, (T, D).
        tokens: the missing-modality tokens, (D,); they are bound for streams that a clip lacks or `pattern` omits.
        pattern: the streams that are used.

    Returns:
        The intensities, (clips, 6).
    """
    rows = [fusion(fusion_feeds(clip.features, pattern, tokens))["intensities"][0] for clip in clips]
    return np.array(rows)


def _labels(clips: list[SpooledClip]) -> Array:
    return np.array([clip.labels for clip in clips])  # (clips, 6)


def _compare_fusion(
    run: GraphRunner, reference: GraphRunner, clips: list[SpooledClip], tokens: Mapping[str, Array]
) -> Closeness:
    """Compare intensities in all presence patterns; Pearson is that of the worst emotion."""
    want = np.concatenate([predict_intensities(reference, clips, tokens, pattern) for pattern in PRESENCE_PATTERNS])
    got = np.concatenate([predict_intensities(run, clips, tokens, pattern) for pattern in PRESENCE_PATTERNS])
    columns = [pearson_of(want[:, i], got[:, i]) for i in range(want.shape[1])]
    known = [value for value in columns if value is not None]
    complete = got[: len(clips)]  # the complete pattern comes first
    closeness = _closeness([want], [got], mean_pearson(complete, _labels(clips)))
    return msgspec.structs.replace(closeness, pearson=min(known) if known else None)


def _closeness(want: list[Array], got: list[Array], on_labels: float | None) -> Closeness:
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

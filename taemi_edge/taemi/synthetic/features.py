"""Drawing labelled features without any media: a task on which the claims of the paper can be tested in minutes.

Labels are sparse; z is their standardised form. Each clip has a topic. Text shows z with much noise, and its topic
clearly. Audio and vision have segments of different topics, one of which is the clip's own. The steps of that segment
show z; the steps of the others show an independent draw. So only the text says which steps to believe, and a model
whose text queries sound and picture can find them. With one segment there is nothing to find: the negative control.

Rates of bursts and losses follow what is known of naturalistic recordings (docs/evidence/ablation.md). All of it is
synthetic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.taemi.names import EMOTIONS, MODALITIES
from taemi_edge.taemi.synthetic.labels import draw_labels, standardise
from taemi_edge.taemi.train.feature_examples import FeatureSet, features_from_arrays

FEATURE_DIMS: dict[str, int] = {"vision": 32, "audio": 32, "text": 32}
STEPS: dict[str, int] = {"vision": 16, "audio": 24, "text": 8}
TOPICS = 6
_STEP_NOISE = {"vision": 5.0, "audio": 3.5, "text": 1.0}
_TEXT_NOISE = 2.0  # in standard deviations of a label
_BURST_SHARE: dict[str, float] = {"vision": 0.5, "audio": 0.3}
_WORLD_SEED = 20_26


@dataclass(frozen=True)
class FeatureTask:
    """A variant of the task.

    Attributes:
        segments: of audio and vision in each clip; 1 is the negative control.
        natural: take streams away from the training clips as real recordings lose them.
    """

    segments: int = 4
    natural: bool = True


@dataclass(frozen=True, eq=False)
class FeatureSplits:
    """Three splits; `clean_test` is the test split before anything was lost."""

    train: FeatureSet
    valid: FeatureSet
    test: FeatureSet
    clean_test: FeatureSet


def draw_splits(task: FeatureTask, seed: int, train: int = 4000, valid: int = 1000, test: int = 1000) -> FeatureSplits:
    """Draw a whole data set; the same seed gives the same one.

    Args:
        task: the variant of the task.
        seed: of everything that is drawn.
        train: how many training clips; `valid` and `test` are the same for the other splits.

    Example:
        >>> splits = draw_splits(FeatureTask(), seed=0, train=4, valid=2, test=3)
        >>> len(splits.train), len(splits.clean_test)
        (4, 3)
    """
    whole = {}
    for number, (name, count, natural) in enumerate(
        (("train", train, task.natural), ("valid", valid, task.natural), ("test", test, True))
    ):
        rng = np.random.default_rng([seed, number])
        clean = _draw_clips(rng, count, task.segments)
        whole[name] = _as_set(*(_with_losses(rng, *clean) if natural else clean))
        if name == "test":
            whole["clean_test"] = _as_set(*clean)
    return FeatureSplits(**whole)


Sequences = dict[str, list[Array]]


def _draw_clips(rng: np.random.Generator, count: int, segments: int) -> tuple[Sequences, Array]:
    world = _world()
    labels = draw_labels(rng, count)
    z = standardise(labels)
    topics = np.stack([rng.permutation(TOPICS)[:segments] for _ in range(count)])  # (N, segments)
    true_segment = rng.integers(segments, size=count)
    topic = topics[np.arange(count), true_segment]
    noisy = z + _TEXT_NOISE * rng.standard_normal(z.shape)
    text = (noisy @ world["text"] + world["text_topic"][topic])[:, None] + _STEP_NOISE["text"] * rng.standard_normal(
        (count, STEPS["text"], FEATURE_DIMS["text"])
    )
    sequences: Sequences = {"text": list(text.astype(np.float32))}
    streams: tuple[str, ...] = ("vision", "audio")
    for m in streams:
        shown = standardise(draw_labels(rng, count * segments))
        shown = shown.reshape(count, segments, len(EMOTIONS))
        shown[np.arange(count), true_segment] = z
        moments = shown @ world[m] + world[f"{m}_topic"][topics]  # (N, segments, D)
        steps = np.repeat(moments, STEPS[m] // segments, axis=1)
        steps = steps + _STEP_NOISE[m] * rng.standard_normal(steps.shape)
        sequences[m] = list(_with_bursts(rng, steps, _BURST_SHARE[m]).astype(np.float32))
    return sequences, labels


def _world() -> dict[str, Array]:
    """How labels and topics look in the features: the same in every data set."""
    rng = np.random.default_rng(_WORLD_SEED)
    maps: dict[str, Array] = {}
    for m in MODALITIES:
        maps[m] = rng.standard_normal((len(EMOTIONS), FEATURE_DIMS[m])) / len(EMOTIONS) ** 0.5
        maps[f"{m}_topic"] = rng.standard_normal((TOPICS, FEATURE_DIMS[m])) * 1.5
    return maps


def _with_bursts(rng: np.random.Generator, steps: Array, share: float) -> Array:
    """Some clips have 10 to 30 % of their steps drowned in noise of four standard deviations."""
    count, length, _ = steps.shape
    struck = rng.random((count,)) < share
    drowned = (rng.random((count, length)) < rng.uniform(0.1, 0.3, (count, 1))) & struck[:, None]
    noise = 4.0 * steps.std() * rng.standard_normal(steps.shape)
    drowned_steps: Array = np.where(drowned[..., None], noise, steps)
    return drowned_steps


def _with_losses(rng: np.random.Generator, sequences: Sequences, labels: Array) -> tuple[Sequences, Array]:
    """20 % of clips lose one or two streams, 1.4 % their text; sound and picture have two gaps."""
    lossy: Sequences = {m: list(values) for m, values in sequences.items()}
    streams = [lossy["vision"], lossy["audio"]]
    for index in range(len(labels)):
        for clips in streams:
            kept = np.ones(len(clips[index]), np.bool_)
            for start in rng.integers(0, len(kept) - 2, 2):
                kept[start : start + rng.integers(1, 3)] = False
            clips[index] = clips[index][kept]
        lost: set[str] = set()
        if rng.random() < 0.2:
            lost = {MODALITIES[i] for i in rng.permutation(2)[: int(rng.integers(1, 3))]}
        if rng.random() < 0.014:
            lost.add("text")
        for m in lost:
            lossy[m][index] = lossy[m][index][:0]
    return lossy, labels


def _as_set(sequences: Sequences, labels: Array) -> FeatureSet:
    return features_from_arrays(sequences, labels, FEATURE_DIMS)

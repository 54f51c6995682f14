"""An artefact and labelled clips in, how good it is out: with every stream, with losses as they come, with each lost.

A bundle answers through its own backend, encoders and all, so what FP16 or INT8 cost is measured on labels.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from taemi_edge.bundle.spec import EMOTIONS, MODALITIES, PRESENCE_PATTERNS, Array, Frozen, Modality, pattern_name
from taemi_edge.corpora.extract import extract_features
from taemi_edge.corpora.feature_store import FeatureStore, is_store, open_store, require_encoders
from taemi_edge.corpora.labelled_clips import Corpus
from taemi_edge.errors import InputError
from taemi_edge.parity.artefact import Artefact, open_artefact
from taemi_edge.parity.metrics import Score, score
from taemi_edge.progress import SILENT, Progress, RenamedCounts
from taemi_edge.runtime.sessions import Device
from taemi_edge.taemi.vidmimic2 import is_corpus, open_corpus

Tokens = Literal["learned", "zeros"]
#: The seven sets of streams that are left when at least one is lost.
LOST_PATTERNS = PRESENCE_PATTERNS[1:]


class Evaluation(Frozen, frozen=True):
    """The whole result; `mean_pearson` is that of clean data: the clips in which every stream came.

    `natural` is the whole split as it is; `patterns` the whole split with only the named streams left. A correlation
    is None where it is undefined, since predictions or labels are constant; `remarks` say so in words.
    """

    mean_pearson: float | None
    artefact: str
    trained_on: str
    data: str
    synthetic: bool
    split: str
    tokens: Tokens
    clean: Score
    natural: Score
    patterns: dict[str, Score]
    remarks: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Labelled:
    """A split in memory: features by clip, in order, and labels (N, 6)."""

    features: list[dict[str, Array]]
    labels: Array


def evaluate_artefact(
    artefact: Artefact,
    store: FeatureStore,
    split: str | None = None,
    *,
    tokens: Tokens = "learned",
    resamples: int = 1000,
    progress: Progress = SILENT,
) -> Evaluation:
    """Judge an artefact on a split of a store that its own encoders made.

    Args:
        split: train, valid, test or all; by default test where the store has one, else valid.
        tokens: "zeros" binds zeros where a learned token belongs: what the tokens are worth.
        resamples: bootstrap samples of each interval.
        progress: counts the passes over the split.

    Raises:
        StoreError: the store is of another encoder or chunking, or has no such split.
    """
    require_encoders(store.index, artefact.encoder_keys(), str(store.folder), artefact.name)
    split = split or ("test" if store.ids("test") else "valid")
    ids = store.known_ids(split)
    by_id = dict(store.features(ids))
    data = _Labelled([by_id[i] for i in ids], np.array([store.index.clips[i].labels for i in ids]))
    bound = artefact.tokens if tokens == "learned" else {m: np.zeros_like(t) for m, t in artefact.tokens.items()}
    passes = len(LOST_PATTERNS) + 1
    natural = predict_all(artefact, data.features, frozenset(MODALITIES), bound)
    progress.count(1, passes, "judging streams")
    whole = np.array([all(len(clip[m]) for m in MODALITIES) for clip in data.features])
    patterns = {}
    for number, pattern in enumerate(LOST_PATTERNS, 2):
        predicted = predict_all(artefact, data.features, pattern, bound)
        patterns[pattern_name(pattern)] = score(predicted, data.labels, resamples)
        progress.count(number, passes, "judging streams")
    clean = score(natural[whole], data.labels[whole], resamples)
    scores = {"clean": clean, "natural": score(natural, data.labels, resamples), **patterns}
    return Evaluation(
        mean_pearson=clean.mean_pearson,
        artefact=artefact.name,
        trained_on=artefact.trained_on,
        data=store.name,
        synthetic=store.index.synthetic,
        split=split,
        tokens=tokens,
        clean=clean,
        natural=scores["natural"],
        patterns=patterns,
        remarks=(*_remarks(scores), *_left_out(store)),
    )


def evaluate_on(
    source: str,
    data: Path,
    split: str | None = None,
    *,
    tokens: Sequence[Tokens] = ("learned",),
    store_folder: Path | None = None,
    device: Device | None = None,
    threads: int = 1,
    workers: int = 0,
    progress: Progress = SILENT,
) -> list[Evaluation]:
    """Judge a bundle, checkpoint or recipe on a corpus or a feature store, once a way of binding tokens.

    Args:
        store_folder: where the features of a corpus are kept; by default they are thrown away afterwards.

    Raises:
        InputError: `data` is neither a corpus nor a store; see `evaluate_artefact` for more.
    """
    with ExitStack() as stack:
        if is_store(data):
            store = open_store(data)
        elif is_corpus(data):
            progress.stage("extracting features")
            folder = store_folder or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "store"
            corpus = open_corpus(data)
            splits = () if split == "all" else (split,) if split else (_default_split(corpus),)
            store = extract_features(
                corpus,
                source,
                folder,
                splits=splits if store_folder is None else (),
                workers=workers,
                device=device,
                progress=RenamedCounts(progress, "extracting features"),
            ).store
        else:
            raise InputError(
                f"--data {data}: expected a feature store (index.json) or a corpus (train_split.csv), found neither"
            )
        progress.stage(f"judging {source}")
        artefact = stack.enter_context(open_artefact(source, device, threads))
        return [
            evaluate_artefact(
                artefact,
                store,
                split,
                tokens=bound,
                progress=progress,
            )
            for bound in tokens
        ]


def _default_split(corpus: Corpus) -> str:
    return "test" if corpus.split("test") else "valid"


def predict_all(
    artefact: Artefact, clips: list[dict[str, Array]], left: frozenset[Modality], tokens: Mapping[str, Array]
) -> Array:
    """Intensities (N, 6) of clips one by one, as the runtime fuses them: tokens where a stream is lost or not there."""
    predicted = np.zeros((len(clips), len(EMOTIONS)))
    for row, features in enumerate(clips):
        feeds: dict[str, Array] = {}
        for m in MODALITIES:
            here = m in left and len(features[m]) > 0
            values = features[m] if here else tokens[m][None]
            feeds[m] = np.ascontiguousarray(values[None], np.float32)
            feeds[f"{m}_mask"] = np.ones(feeds[m].shape[:2], np.int32)
        predicted[row] = artefact.run("fusion", feeds)["intensities"][0]
    return predicted


def _left_out(store: FeatureStore) -> list[str]:
    """Clips that could not be read: they are no part of any figure."""
    problems = store.index.problems
    if not problems:
        return []
    first = next(iter(problems))
    return [f"{len(problems)} clips could not be read and are left out, such as {first}: {problems[first]}"]


def _remarks(scores: Mapping[str, Score]) -> list[str]:
    """What is undefined, and why."""
    remarks = []
    for name, found in scores.items():
        undefined = [emotion for emotion, value in found.pearson.items() if value is None]
        if len(undefined) == len(EMOTIONS):
            why = "there is no clip" if not found.clips else "every prediction is the same"
            remarks.append(f"{'no signal' if name == 'none' else name}: Pearson is undefined, {why}")
        elif undefined:
            remarks.append(f"{name}: Pearson is undefined for {', '.join(undefined)}, which do not vary")
    return remarks

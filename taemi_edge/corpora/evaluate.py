"""Evaluating a model on labelled clips: with every stream, with the losses of the data, and with each stream lost.

A bundle runs on its own backend, encoders included. So the accuracy that FP16 or INT8 costs is measured on labels.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from taemi_edge.bundle.spec import EMOTIONS, MODALITIES, PRESENCE_PATTERNS, Modality
from taemi_edge.bundle.streams import pattern_name
from taemi_edge.bundle.values import Array, Frozen
from taemi_edge.corpora.extract import ExtractOptions, extract_features
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
    """The result of evaluating one model on one split.

    A correlation is None where it is undefined because predictions or labels are constant; `remarks` say so.

    Attributes:
        mean_pearson: the mean Pearson correlation on clean data: the clips that have every stream.
        artefact: what was evaluated.
        trained_on: what its fusion head was trained on; empty where it was not trained.
        data: the name of the corpus.
        synthetic: whether the corpus was made by `taemi-edge synth`.
        split: train, valid, test or all.
        tokens: what was bound for missing streams.
        clean: the score of the clips that have every stream.
        natural: the score of the whole split as it is.
        patterns: the score of the whole split with only the named streams left, by the name of the pattern.
        remarks: what is undefined and why, and which clips were left out.
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
    """A split in memory: the features of N clips, (T, D) for each modality, and their labels, (N, 6)."""

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
    """Evaluate an artefact on a split of a store that its own encoders made.

    Args:
        artefact: the model.
        store: the features and labels.
        split: train, valid, test or all; by default test where the store has one, else valid.
        tokens: "zeros" binds zeros instead of the learned tokens, which shows what the tokens contribute.
        resamples: bootstrap samples for each interval.
        progress: counts the passes over the split.

    Raises:
        StoreError: the store is of another encoder or chunking, or has no such split.
    """
    require_encoders(store.index, artefact.encoder_keys(), str(store.folder), artefact.name)
    split = split or ("test" if store.ids("test") else "valid")
    ids = store.known_ids(split)
    data = _read_split(store, ids)
    bound = artefact.tokens if tokens == "learned" else {m: np.zeros_like(t) for m, t in artefact.tokens.items()}
    natural = predict_all(artefact, data.features, frozenset(MODALITIES), bound)
    progress.count(1, len(LOST_PATTERNS) + 1, "judging streams")
    whole = np.array([all(len(clip[m]) for m in MODALITIES) for clip in data.features])
    patterns = _judge_losses(artefact, data, bound, resamples, progress)
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


def _judge_losses(
    artefact: Artefact, data: _Labelled, tokens: Mapping[str, Array], resamples: int, progress: Progress
) -> dict[str, Score]:
    """The score of the whole split with only some streams left, for each set of them."""
    patterns = {}
    for number, pattern in enumerate(LOST_PATTERNS, 2):
        predicted = predict_all(artefact, data.features, pattern, tokens)
        patterns[pattern_name(pattern)] = score(predicted, data.labels, resamples)
        progress.count(number, len(LOST_PATTERNS) + 1, "judging streams")
    return patterns


def _read_split(store: FeatureStore, ids: list[str]) -> _Labelled:
    by_id = dict(store.features(ids))
    return _Labelled([by_id[i] for i in ids], np.array([store.index.clips[i].labels for i in ids]))


@dataclass(frozen=True)
class EvaluateOptions:
    """How a model is evaluated on a corpus or a store.

    Attributes:
        tokens: evaluate once for each of these ways to bind missing streams: the learned tokens, or zeros.
        store_folder: where the features of a corpus are kept; by default they are deleted afterwards.
        device: "cpu", "cuda" or "tensorrt"; by default what suits the bundle.
        threads: for the fusion head; 0 leaves it to the backend.
        workers: processes for the extraction of features; 0 for as many as there are cores.
    """

    tokens: Sequence[Tokens] = ("learned",)
    store_folder: Path | None = None
    device: Device | None = None
    threads: int = 1
    workers: int = 0


def evaluate_on(
    source: Path | str,
    data: Path | str,
    split: str | None = None,
    options: EvaluateOptions = EvaluateOptions(),
    *,
    progress: Progress = SILENT,
) -> list[Evaluation]:
    """Evaluate a bundle, a checkpoint or a recipe on a corpus or a feature store.

    Args:
        source: a bundle folder, a checkpoint folder or a recipe.
        data: a corpus, or a feature store that the encoders of `source` made.
        split: train, valid, test or all; by default test where there is one, else valid.
        options: which tokens are bound, and how features are extracted.
        progress: receives every stage and how many passes over the split are done.

    Returns:
        One evaluation for each of `options.tokens`.

    Raises:
        InputError: `data` is neither a corpus nor a store.
        StoreError: the store is of another encoder or chunking, or has no such split.

    Example:
        >>> import taemi_edge as te
        >>> from taemi_edge.corpora.evaluate import EvaluateOptions
        >>> [found] = te.evaluate("export/taemi-tiny", "corpus", "all", EvaluateOptions(workers=1))
        >>> found.natural.clips
        6
    """
    source, data = str(source), Path(data)
    with ExitStack() as stack:
        if is_store(data):
            store = open_store(data)
        elif is_corpus(data):
            folder = options.store_folder or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "store"
            store = _extracted(source, data, split, folder, options, progress)
        else:
            raise InputError(
                f"--data {data}: expected a feature store (index.json) or a corpus (train_split.csv), found neither"
            )
        progress.stage(f"judging {source}")
        artefact = stack.enter_context(open_artefact(source, options.device, options.threads))
        return [
            evaluate_artefact(artefact, store, split, tokens=tokens, progress=progress) for tokens in options.tokens
        ]


def _extracted(
    source: str, data: Path, split: str | None, folder: Path, options: EvaluateOptions, progress: Progress
) -> FeatureStore:
    """The features of a corpus; of the wanted split alone where they are not kept."""
    progress.stage("extracting features")
    corpus = open_corpus(data)
    splits = () if split == "all" else (split or _default_split(corpus),)
    extract = ExtractOptions(
        splits=splits if options.store_folder is None else (), workers=options.workers, device=options.device
    )
    counts = RenamedCounts(progress, "extracting features")
    return extract_features(corpus, source, folder, extract, progress=counts).store


def _default_split(corpus: Corpus) -> str:
    return "test" if corpus.split("test") else "valid"


def predict_all(
    artefact: Artefact, clips: list[dict[str, Array]], left: frozenset[Modality], tokens: Mapping[str, Array]
) -> Array:
    """Run the fusion head on clips one by one, as the runtime does.

    Args:
        artefact: the model.
        clips: the features of N clips, (T, D) for each modality.
        left: the streams that are not taken away.
        tokens: what is bound where a stream was taken away or is missing from the clip, (D,) for each modality.

    Returns:
        Intensities, float64 (N, 6).
    """
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
    """A remark on the clips that could not be read: no figure counts them."""
    problems = store.index.problems
    if not problems:
        return []
    first = next(iter(problems))
    return [f"{len(problems)} clips could not be read and are left out, such as {first}: {problems[first]}"]


def _remarks(scores: Mapping[str, Score]) -> list[str]:
    """A remark for each set of streams in which a correlation is undefined, with the reason."""
    remarks = []
    for name, found in scores.items():
        undefined = [emotion for emotion, value in found.pearson.items() if value is None]
        if len(undefined) == len(EMOTIONS):
            why = "there is no clip" if not found.clips else "every prediction is the same"
            remarks.append(f"{'no signal' if name == 'none' else name}: Pearson is undefined, {why}")
        elif undefined:
            remarks.append(f"{name}: Pearson is undefined for {', '.join(undefined)}, which do not vary")
    return remarks

"""Evaluating a model on labels: with every stream, with the losses of the data, and with streams lost.

A bundle runs on its own backend, encoders included. So the accuracy that FP16 or INT8 costs is measured on labels, in
the model's own metric.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from taemi_edge.bundle.atomic import scratch_folder
from taemi_edge.bundle.streams import Pattern, pattern_name
from taemi_edge.bundle.values import HEAD, Array
from taemi_edge.bundle.workers import WorkerPool, scratch_place
from taemi_edge.corpora.drive_ranges import DriveOptions
from taemi_edge.corpora.evaluation import Evaluation, Tokens, undefined_figures
from taemi_edge.corpora.extract import ExtractOptions, extract_features
from taemi_edge.corpora.feature_store import FeatureStore, is_store, open_store, require_encoders
from taemi_edge.corpora.opening import FORMS, AnyCorpus, find_corpus
from taemi_edge.corpora.remote_address import parse_place
from taemi_edge.corpora.sample_corpus import SampleCorpus
from taemi_edge.errors import CorpusError, InputError, StoreError
from taemi_edge.parity.artefact import Artefact, open_artefact
from taemi_edge.parity.judge import Judge, Score, UserMetric, label_size, split_labels
from taemi_edge.parity.windows import batch_with_stand_ins, padded_batch
from taemi_edge.progress import SILENT, Progress, RenamedCounts
from taemi_edge.runtime.sessions import Device

#: From so many sets of streams on, the interval of each is drawn from fewer samples: nobody reads 63 to the last digit.
_MANY_PATTERNS, _FEW_RESAMPLES = 16, 200


@dataclass(frozen=True, eq=False)
class _Predicted:
    """What is kept of N clips: their labels, and what the head gives with each set of streams; (N, n) by output."""

    labels: dict[str, Array]
    by_pattern: dict[Pattern, dict[str, Array]]
    whole: Array  # bool (N,), whether the clip has every stream


def evaluate_artefact(
    artefact: Artefact,
    store: FeatureStore,
    split: str | None = None,
    *,
    tokens: Tokens = "learned",
    metric: str | UserMetric | None = None,
    resamples: int = 1000,
    progress: Progress = SILENT,
) -> Evaluation:
    """Evaluate an artefact on a split of a store that its own encoders made.

    Args:
        artefact: the model.
        store: the features and labels.
        split: train, valid, test or all; by default test where the store has one, else valid.
        tokens: "zeros" binds zeros instead of the learned tokens, which shows what the tokens contribute.
        metric: the name of a metric or a function; by default the model's own.
        resamples: bootstrap samples for each interval; of many sets of streams, each has a fifth of them.
        progress: counts the clips of the split.

    Raises:
        StoreError: the store is of another encoder or chunking, has no such split, or was changed.
        UsageError: there is no such metric.
    """
    judge = Judge(artefact.outputs, artefact.metric if metric is None else metric)
    require_encoders(store.index, artefact.encoder_keys(), str(store.place), artefact.name)
    split = split or ("test" if store.count("test") else "valid")
    store.require_split(split)
    bound = {name: np.zeros_like(t) if tokens == "zeros" else t for name, t in artefact.tokens.items()}
    data, unusable = _predict_split(artefact, store, split, bound, progress)
    raw = data.by_pattern[artefact.specs.patterns[0]]
    patterns = _judge_losses(judge, artefact, data, resamples)
    clean = judge.score(_rows(raw, data.whole), _rows(data.labels, data.whole), resamples)
    natural = judge.score(raw, data.labels, resamples)
    return Evaluation(
        artefact=artefact.name,
        trained_on=artefact.trained_on,
        data=store.name,
        synthetic=store.index.synthetic,
        split=split,
        tokens=tokens,
        metric=judge.name,
        higher_is_better=judge.higher_is_better,
        clean=clean,
        natural=natural,
        patterns=patterns,
        streams=tuple(artefact.streams),
        remarks=(*undefined_figures({"clean": clean, "natural": natural, **patterns}), *unusable, *_left_out(store)),
    )


def _rows(values: Mapping[str, Array], chosen: Array) -> dict[str, Array]:
    return {name: rows[chosen] for name, rows in values.items()}


def _judge_losses(judge: Judge, artefact: Artefact, data: _Predicted, resamples: int) -> dict[str, Score]:
    """The score of the whole split with only some streams left, for each set of them."""
    lost = artefact.specs.patterns[1:]
    drawn = resamples if len(lost) < _MANY_PATTERNS else min(resamples, _FEW_RESAMPLES)
    return {
        pattern_name(pattern, artefact.streams): judge.score(data.by_pattern[pattern], data.labels, drawn)
        for pattern in lost
    }


def _predict_split(
    artefact: Artefact, store: FeatureStore, split: str, tokens: Mapping[str, Array], progress: Progress
) -> tuple[_Predicted, list[str]]:
    """Predict the clips of a split with each set of streams, and remark on those without a stream that is required.

    One clip is in memory at a time: it is predicted with every set of streams, and its features are forgotten.
    """
    patterns = artefact.specs.patterns
    count, size = store.count(split), sum(label_size(spec) for spec in artefact.outputs.values())
    required = [name for name, spec in artefact.streams.items() if spec.required]
    found = {pattern: {name: _Rows(spec.size) for name, spec in artefact.outputs.items()} for pattern in patterns}
    ids: list[str] = []
    labels, whole = _Rows(size), _Rows(1)
    for done, clip in enumerate(store.read(split), 1):
        progress.count(done, count, "judging clips")
        if len(clip.entry.labels) != size:
            got = len(clip.entry.labels)
            raise StoreError(f"{store.place}: expected {size} labels for each clip, got {got}: extract it again")
        if any(len(clip.features[name]) < artefact.streams[name].min_steps for name in required):
            continue
        ids.append(clip.id)
        labels.add(np.array(clip.entry.labels, np.float64))
        whole.add(all(len(clip.features[name]) for name in artefact.streams))
        for pattern, predicted in found.items():
            for name, values in predict_clip(artefact, clip.features, pattern, tokens).items():
                predicted[name].add(values)
    order = sorted(range(len(ids)), key=ids.__getitem__)  # resampling draws rows by their numbers
    by_pattern = {p: {name: rows.taken(order) for name, rows in predicted.items()} for p, predicted in found.items()}
    lacking = count - len(ids)
    remarks = [f"{lacking} clips lack {' or '.join(required)}, without which there is no prediction"] if lacking else []
    flat = labels.taken(order)
    return _Predicted(split_labels(flat, artefact.outputs), by_pattern, whole.taken(order)[:, 0] > 0), remarks


class _Rows:
    """Rows of `width` numbers that come one by one; nothing else is kept of them."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._numbers = array("d")

    def add(self, row: Array | bool) -> None:
        self._numbers.frombytes(np.asarray(row, np.float64).tobytes())

    def taken(self, order: Sequence[int]) -> Array:
        """The rows in another order, float64 (N, width)."""
        return np.frombuffer(self._numbers, np.float64).reshape(-1, self._width)[list(order)]


@dataclass(frozen=True)
class EvaluateOptions:
    """How a model is evaluated on a corpus or a store.

    Attributes:
        tokens: evaluate once for each of these ways to bind missing streams: the learned tokens, or zeros.
        store_folder: where the features of a corpus are kept; by default they are deleted afterwards.
        device: "cpu", "cuda" or "tensorrt"; by default what suits the bundle.
        threads: for the fusion head; 0 leaves it to the backend.
        workers: processes for the extraction of features; 0 for as many as there are cores.
        metric: the name of a metric, or a function of predicted and true values; by default the model's own.
        drives: how recordings are read that a table of samples names.
    """

    tokens: Sequence[Tokens] = ("learned",)
    store_folder: Path | str | None = None
    device: Device | None = None
    threads: int = 1
    workers: int | WorkerPool = 0
    metric: str | UserMetric | None = None
    drives: DriveOptions = field(default_factory=DriveOptions)


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
        data: a corpus, a table of samples, or a feature store that the encoders of `source` made.
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
    source = str(source)
    with ExitStack() as stack:
        if is_store(data):
            store = open_store(data)
        elif (corpus := find_corpus(data, drives=options.drives)) is not None:
            _require_labels(corpus)
            folder = options.store_folder or stack.enter_context(_scratch_folder(options)) / "store"
            store = _extracted(source, corpus, split, folder, options, progress)
        else:
            raise InputError(
                f"--data {parse_place(data)}: expected a feature store (index.json) or a corpus ({FORMS}), found "
                f"neither"
            )
        progress.stage(f"judging {source}")
        artefact = stack.enter_context(open_artefact(source, options.device, options.threads))
        return [
            evaluate_artefact(artefact, store, split, tokens=tokens, metric=options.metric, progress=progress)
            for tokens in options.tokens
        ]


def _require_labels(corpus: AnyCorpus) -> None:
    """Refuse recordings alone: nothing says what was true while they were made."""
    if isinstance(corpus, SampleCorpus) and not corpus.is_cut:
        raise CorpusError(
            f"{corpus.folder}: expected labels to judge on, found recordings alone: name ranges of them in samples.csv "
            f"(recording, start_s, end_s) beside their labels"
        )


def _scratch_folder(options: EvaluateOptions) -> AbstractContextManager[Path]:
    """A folder for features that are not kept, where all workers see it."""
    return scratch_folder(scratch_place(options.workers, Path.cwd()))


def _extracted(
    source: str, corpus: AnyCorpus, split: str | None, folder: Path | str, options: EvaluateOptions, progress: Progress
) -> FeatureStore:
    """The features of a corpus; of the wanted split alone where they are not kept."""
    progress.stage("extracting features")
    splits = () if split == "all" else (split or _default_split(corpus),)
    extract = ExtractOptions(
        splits=splits if options.store_folder is None else (), workers=options.workers, device=options.device
    )
    counts = RenamedCounts(progress, "extracting features")
    return extract_features(corpus, source, folder, extract, progress=counts).store


def _default_split(corpus: AnyCorpus) -> str:
    return "test" if corpus.split("test") else "valid"


def predict_clip(
    artefact: Artefact, features: Mapping[str, Array], left: Pattern, tokens: Mapping[str, Array]
) -> dict[str, Array]:
    """Run the head on one clip, as the runtime does.

    Args:
        artefact: the model.
        features: of the clip, (T, D) for each stream.
        left: the streams that are not taken away.
        tokens: what is bound where a stream was taken away or is missing from the clip, (D,) or (steps, D).

    Returns:
        What the head gives, (n,) by output.
    """
    window = {
        name: features[name][-spec.max_steps :]
        for name, spec in artefact.streams.items()
        if name in left and len(features[name]) >= max(1, spec.min_steps)
    }
    if artefact.specs.head.masks:
        feeds = batch_with_stand_ins([window], tokens, artefact.streams)
    else:
        complete = {n: window[n] if n in window else np.atleast_2d(tokens[n]) for n in artefact.streams}
        feeds = padded_batch([complete], masks=False)
    return {name: values[0] for name, values in artefact.run(HEAD, feeds).items()}


def _left_out(store: FeatureStore) -> list[str]:
    """A remark on the clips that could not be read: no figure counts them."""
    problems = store.index.problems
    if not problems:
        return []
    first = next(iter(problems))
    return [f"{len(problems)} clips could not be read and are left out, such as {first}: {problems[first]}"]

"""Extracting features: every clip of a corpus is encoded once by a model's frozen encoders, and stored.

Clips are read as the runtime reads media, so that what is trained or evaluated on a store holds for live runs.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from taemi_edge.bundle.spec import MODALITIES
from taemi_edge.bundle.values import Array
from taemi_edge.bundle.workers import run_parallel
from taemi_edge.corpora.clip_reading import (
    ClipInputs,
    Reading,
    read_clip,
)
from taemi_edge.corpora.feature_store import WORDS, FeatureStore, StoreWriter, write_pending
from taemi_edge.corpora.labelled_clips import Clip, Corpus
from taemi_edge.corpora.pickled_features import load_array
from taemi_edge.errors import CorpusError, InputError, MediaError, UsageError
from taemi_edge.media.inputs import encode_crops, encode_segments
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.parity.artefact import Artefact, EncoderKey, open_artefact
from taemi_edge.progress import SILENT, Progress
from taemi_edge.runtime.sessions import Device


@dataclass(frozen=True)
class ExtractOptions:
    """How the features of a corpus are made.

    Attributes:
        reading: how each clip is read.
        splits: only the clips of these splits; all by default.
        workers: processes; 0 for as many as there are cores.
        device: "cpu", "cuda" or "tensorrt"; by default what suits the bundle.
        strict: stop at the first clip that cannot be read instead of listing it at the end.
    """

    reading: Reading = field(default_factory=Reading)
    splits: tuple[str, ...] = ()
    workers: int = 0
    device: Device | None = None
    strict: bool = False


@dataclass(frozen=True)
class ExtractResult:
    """A complete feature store, and a report on how it was made.

    Attributes:
        store: the store, ready to be read.
        encoded: how many clips this run has encoded.
        problems: why a clip could not be read, by its id.
        remarks: what was noticed of a clip, by its id, such as "no face".
        unlabelled: the ids of media that no label file names.
    """

    store: FeatureStore
    encoded: int
    problems: dict[str, str]
    remarks: dict[str, tuple[str, ...]]
    unlabelled: list[str]


def extract_features(
    corpus: Corpus,
    source: str,
    output: Path,
    options: ExtractOptions = ExtractOptions(),
    *,
    progress: Progress = SILENT,
) -> ExtractResult:
    """Encode every clip of a corpus once. A run that was stopped or killed continues where it was.

    Args:
        corpus: the labelled clips.
        source: the bundle, checkpoint or recipe whose encoders are used.
        output: the folder of the feature store; a store of the same corpus there is continued.
        options: how clips are read and encoded.
        progress: counts the clips that are done.

    Raises:
        CorpusError: the corpus has no clip in the wanted splits.
        StoreError: `output` holds another store.
        InputError: with `options.strict`, the first clip that cannot be read.
    """
    unlabelled = corpus.unlabelled()
    corpus = _of_splits(corpus, options.splits)
    writer = StoreWriter(output, corpus, _encoder_keys(corpus, source, options), _reading_notes(options))
    problems, encoded = _encode_missing(writer, corpus, source, options, progress)
    store = writer.finish(problems)
    remarks = {i: entry.remarks for i, entry in sorted(store.index.clips.items()) if entry.remarks}
    return ExtractResult(store, encoded, dict(sorted(problems.items())), remarks, unlabelled)


def _of_splits(corpus: Corpus, splits: tuple[str, ...]) -> Corpus:
    """The corpus with the clips of these splits alone; with all clips where none are named."""
    chosen = [clip for clip in corpus.clips if not splits or clip.split in splits]
    if not chosen:
        raise CorpusError(f"{corpus.folder}: expected clips in {', '.join(splits)}, found none: it has other splits")
    return replace(corpus, clips=tuple(chosen))


def _encoder_keys(corpus: Corpus, source: str, options: ExtractOptions) -> dict[str, EncoderKey]:
    with open_artefact(source, options.device, 1) as artefact:
        keys = artefact.encoder_keys()
    for modality, folder in options.reading.features.items():
        keys[modality] = _provided_key(corpus, modality, folder)
    return keys


def _reading_notes(options: ExtractOptions) -> dict[str, str]:
    """How clips are read, for the index of the store."""
    return options.reading.notes() | ({"splits": ", ".join(options.splits)} if options.splits else {})


def _encode_missing(
    writer: StoreWriter, corpus: Corpus, source: str, options: ExtractOptions, progress: Progress
) -> tuple[dict[str, str], int]:
    """Encode the clips that the store lacks; gives why clips could not be read, by id, and how many were encoded."""
    by_id = {clip.id: clip for clip in corpus.clips}
    missing = [by_id[clip_id] for clip_id in writer.missing()]
    done = len(by_id) - len(missing)
    progress.count(done, len(by_id), "encoding clips")
    if not missing:
        return {}, 0
    problems: dict[str, str] = {}
    setup = (source, options.device, writer.folder, corpus.folder, options.reading)
    for clip_id, remarks, problem in run_parallel(_encode, missing, options.workers, _open_worker, setup):
        if problem is None:
            writer.add(clip_id, remarks)
        elif options.strict:
            raise InputError(f"clip {clip_id}: {problem}")
        else:
            problems[clip_id] = problem
        done += 1
        progress.count(done, len(by_id), "encoding clips")
    return problems, len(missing) - len(problems)


def encode_clip(artefact: Artefact, tokenizer: WordTokenizer, inputs: ClipInputs) -> dict[str, Array]:
    """Encode one clip.

    Args:
        artefact: the model whose encoders are used.
        tokenizer: of that model.
        inputs: the clip as `read_clip` gives it.

    Returns:
        The features of each modality, float32 (T, D); T is 0 where the clip has nothing of it.
    """
    features = {
        "vision": encode_crops(artefact.part("vision"), inputs.crops)[1],
        "audio": encode_segments(artefact.part("audio"), inputs.segments)[1],
        "text": np.zeros((0, 0), np.float32),
    }
    if inputs.words:
        feeds = tokenizer.feeds([" ".join(word.text for word in inputs.words)])
        features["text"] = artefact.run("text", feeds)["features"][0]
    widths = {m: len(token) for m, token in artefact.tokens.items()}
    return {m: values if len(values) else np.zeros((0, widths[m]), np.float32) for m, values in features.items()}


# ----------------------------------------------------------------------------------------------------- in a worker


@dataclass(frozen=True, eq=False)
class _Worker:
    artefact: Artefact
    tokenizer: WordTokenizer
    output: Path
    corpus: Path
    reading: Reading


_worker: _Worker | None = None
_open = ExitStack()  # what a worker holds until its process ends


def _open_worker(source: str, device: Device, output: Path, corpus: Path, reading: Reading) -> None:
    global _worker
    cv2.setNumThreads(1)
    _single_thread_torch()
    _open.close()
    artefact = _open.enter_context(open_artefact(source, device, 1))
    tokenizer = WordTokenizer(artefact.tokenizer_json, artefact.text.max_tokens)
    _worker = _Worker(artefact, tokenizer, output, corpus, reading)


def _single_thread_torch() -> None:
    """Workers share the cores: two threads each would make every one of them wait."""
    import sys

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _encode(clip: Clip) -> tuple[str, tuple[str, ...], str | None]:
    """Encode one clip into `pending`; gives its id, its remarks and, where it cannot be read, the reason."""
    if _worker is None:
        raise RuntimeError("_open_worker comes first")
    artefact = _worker.artefact
    try:
        inputs = read_clip(clip, artefact.vision, artefact.audio, _worker.reading, _worker.output / WORDS)
        features = encode_clip(artefact, _worker.tokenizer, inputs)
        for modality, folder in _worker.reading.features.items():
            features[modality] = _provided_features(_worker.corpus / folder / f"{clip.id}.pkl", inputs)
        if bad := [m for m in MODALITIES if not np.isfinite(features[m]).all()]:
            raise MediaError(f"the {bad[0]} encoder gave NaN or infinity")
    except InputError as error:
        return clip.id, (), str(error)
    write_pending(_worker.output, clip.id, features, tuple(inputs.remarks))
    return clip.id, tuple(inputs.remarks), None


# --------------------------------------------------------------------------------------------------------- reading


def _provided_features(file: Path, inputs: ClipInputs) -> Array:
    """Features (T, D) from the data set's own pickles; (0, 1) where there is no file."""
    if not file.is_file():
        inputs.remarks.append(f"no {file.parent.name}/{file.name}")
        return np.zeros((0, 1), np.float32)
    values = load_array(file)
    if values.ndim != 2:
        raise CorpusError(f"{file}: expected features (time, dim), got an array of shape {values.shape}")
    return values.astype(np.float32)


def _provided_key(corpus: Corpus, modality: str, folder: str) -> EncoderKey:
    """The key of features that came with the data set: their folder, since nobody says how they were made."""
    if modality not in MODALITIES:
        raise UsageError(f"--features {modality}={folder}: expected one of {', '.join(MODALITIES)} before the =")
    files = sorted((corpus.folder / folder).glob("*.pkl"))
    if not files:
        raise CorpusError(f"--features {modality}={folder}: expected pickles in {corpus.folder / folder}, found none")
    width = load_array(files[0]).shape[-1]
    return EncoderKey(sha256=f"provided:{folder}", feature_dim=int(width), made_by=f"provided features {folder}")

"""Extracting features: every clip of a corpus is encoded once by a model's frozen encoders, and stored.

Clips are read as the runtime reads media, so that what is trained or evaluated on a store holds for live runs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from multiprocessing import parent_process
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from taemi_edge.bundle.outputs import OutputSpec
from taemi_edge.bundle.streams import AudioSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.bundle.values import Array
from taemi_edge.bundle.workers import WorkerPool, run_parallel
from taemi_edge.corpora.clip_reading import (
    ClipInputs,
    Reading,
    read_clip,
)
from taemi_edge.corpora.feature_store import WORDS as WORDS_FOLDER
from taemi_edge.corpora.feature_store import FeatureStore, StoreWriter, write_pending
from taemi_edge.corpora.labelled_clips import Clip
from taemi_edge.corpora.opening import AnyCorpus
from taemi_edge.corpora.pickled_features import load_array
from taemi_edge.corpora.sample_corpus import SampleClip, SampleCorpus
from taemi_edge.corpora.stage_clock import START, STORE, StageClock, add_stages, encoding
from taemi_edge.corpora.stream_files import sample_rows
from taemi_edge.errors import CorpusError, InputError, MediaError, UsageError
from taemi_edge.media.chunks import MAX_BATCH
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.parity.artefact import Artefact, EncoderKey, open_artefact
from taemi_edge.parity.judge import label_size
from taemi_edge.parity.samples import WORDS, Row, calls_of, encoder_rows, tokenizers_of
from taemi_edge.parity.windows import encode_calls
from taemi_edge.progress import SILENT, Progress
from taemi_edge.runtime.sessions import Device

#: How many numbers a call of an encoder takes on a processor, if a row has no more; see `rows_a_call`.
_NUMBERS_A_CALL = 320_000


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
    workers: int | WorkerPool = 0
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
        cpu_s: what the workers spent on the clips of this run, in CPU seconds by stage; see `corpora.stage_clock`.
    """

    store: FeatureStore
    encoded: int
    problems: dict[str, str]
    remarks: dict[str, tuple[str, ...]]
    unlabelled: list[str]
    cpu_s: dict[str, float] = field(default_factory=dict)


def extract_features(
    corpus: AnyCorpus,
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
    with open_artefact(source, options.device, 1, opened="nothing") as artefact:  # the workers open the encoders
        keys = artefact.encoder_keys()
        labels = {clip.id: labels_of(clip, artefact.outputs) for clip in corpus.clips}
        for clip in corpus.clips:  # all of them: an empty cell hides its column
            if isinstance(clip, SampleClip):
                clip.require_names(artefact.streams, artefact.outputs)
    for stream, folder in options.reading.features.items():
        keys[stream] = _provided_key(corpus, keys, stream, folder)
    writer = StoreWriter(output, corpus, labels, keys, _reading_notes(options))
    cpu_s: dict[str, float] = {}
    problems, encoded = _encode_missing(writer, corpus, source, options, progress, cpu_s)
    store = writer.finish(problems)
    remarks = {i: entry.remarks for i, entry in sorted(store.index.clips.items()) if entry.remarks}
    return ExtractResult(store, encoded, dict(sorted(problems.items())), remarks, unlabelled, cpu_s)


def labels_of(clip: Clip | SampleClip, outputs: Mapping[str, OutputSpec]) -> tuple[float, ...]:
    """The labels of a clip for the outputs of a model, side by side; NaN where nobody knows.

    Raises:
        CorpusError: the clip has labels of other outputs.
    """
    if isinstance(clip, SampleClip):
        return clip.labels(outputs)
    size = sum(label_size(spec) for spec in outputs.values())
    if len(clip.labels) != size:
        raise CorpusError(
            f"clip {clip.id}: expected {size} numbers as labels of {', '.join(outputs)}, got {len(clip.labels)}: this "
            f"corpus was made for another model"
        )
    return clip.labels


def _of_splits(corpus: AnyCorpus, splits: tuple[str, ...]) -> AnyCorpus:
    """The corpus with the clips of these splits alone; with all clips where none are named."""
    if isinstance(corpus, SampleCorpus):
        samples = tuple(clip for clip in corpus.clips if not splits or clip.split in splits)
        chosen: AnyCorpus = replace(corpus, clips=samples)
    else:
        clips = tuple(clip for clip in corpus.clips if not splits or clip.split in splits)
        chosen = replace(corpus, clips=clips)
    if not chosen.clips:
        raise CorpusError(f"{corpus.folder}: expected clips in {', '.join(splits)}, found none: it has other splits")
    return chosen


def _reading_notes(options: ExtractOptions) -> dict[str, str]:
    """How clips are read, for the index of the store."""
    return options.reading.notes() | ({"splits": ", ".join(options.splits)} if options.splits else {})


def _encode_missing(
    writer: StoreWriter,
    corpus: AnyCorpus,
    source: str,
    options: ExtractOptions,
    progress: Progress,
    cpu_s: dict[str, float],
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
    for clip_id, remarks, problem, spent_s in run_parallel(_encode, missing, options.workers, _open_worker, setup):
        add_stages(cpu_s, spent_s)
        if problem is None:
            writer.add(clip_id, remarks)
        elif options.strict:
            raise InputError(f"clip {clip_id}: {problem}")
        else:
            problems[clip_id] = problem
        done += 1
        progress.count(done, len(by_id), "encoding clips")
    return problems, len(missing) - len(problems)


def clip_rows(
    inputs: ClipInputs, streams: Mapping[str, StreamSpec], tokenizers: Mapping[str, WordTokenizer]
) -> dict[str, list[Row]]:
    """The rows of each stream of a clip that `read_clip` read; none where the clip has nothing of it."""
    rows: dict[str, list[Row]] = {name: [] for name in streams}
    pictures = [crop.pixels for crop in inputs.crops if crop.pixels is not None]
    for name, spec in streams.items():
        if isinstance(spec, VideoSpec) and pictures:
            rows[name] = encoder_rows(name, spec, {f"{name}/pixels": np.stack(pictures)}, None)
        elif isinstance(spec, AudioSpec):
            rows[name] = [{"samples": segment.samples} for segment in inputs.segments]
        elif isinstance(spec, TextSpec) and inputs.words:
            words = " ".join(word.text for word in inputs.words)
            rows[name] = encoder_rows(name, spec, {f"{name}/{WORDS}": words}, tokenizers[name])
    return rows


def encode_rows(artefact: Artefact, rows: Mapping[str, list[Row]], clock: StageClock | None = None) -> dict[str, Array]:
    """Run the encoders of a model on the rows of one clip.

    Args:
        artefact: the model whose encoders are used.
        rows: of each stream, in the order of time.
        clock: counts what each encoder spends.

    Returns:
        The features of each stream, float32 (T, D); T is 0 where the clip has nothing of it.
    """
    clock = clock or StageClock()
    features: dict[str, Array] = {}
    for name, found in rows.items():
        spec = artefact.streams[name]
        with clock.stage(encoding(name)):
            features[name] = (
                encode_calls(artefact.run, name, spec, calls_of(found, _rows_a_call(artefact, name, found[0])))
                if found
                else np.zeros((0, spec.feature_dim), np.float32)
            )
    return features


def _rows_a_call(artefact: Artefact, stream: str, row: Row) -> int:
    if artefact.mixes_rows(stream):
        return 1
    return rows_a_call(row) if artefact.device == "cpu" else MAX_BATCH


def rows_a_call(row: Row) -> int:
    """How many rows like this one share a call of an encoder on a processor; it follows from their shape alone.

    What a network for pictures computes between its layers is far larger than its input. On a processor a large batch
    of it leaves the caches: EfficientNet-lite0 takes a tenth longer for 16 pictures of 224 x 224 than for 8 times 2.
    Short rows, such as chunks of sound, gain by sharing a call.

    Example:
        >>> rows_a_call({"pixels": np.zeros((224, 224, 3), np.uint8)})
        2
        >>> rows_a_call({"samples": np.zeros(16_000, np.float32)})
        16
    """
    numbers = max(1, sum(value.size for value in row.values()))
    return max(1, min(MAX_BATCH, _NUMBERS_A_CALL // numbers))


# ----------------------------------------------------------------------------------------------------- in a worker


@dataclass(frozen=True)
class _Setup:
    """What a worker opens with its first clip: an error then reaches the user as what it is."""

    source: str
    device: Device | None
    output: Path
    corpus: Path
    reading: Reading


@dataclass(frozen=True, eq=False)
class _Worker:
    artefact: Artefact
    tokenizers: Mapping[str, WordTokenizer]
    setup: _Setup


_setup: _Setup | None = None
_worker: _Worker | None = None
_open = ExitStack()  # what a worker holds until its process ends
_clock = StageClock()


def _open_worker(source: str, device: Device | None, output: Path, corpus: Path, reading: Reading) -> None:
    global _setup, _worker, _clock
    _open.close()
    _setup, _worker = _Setup(source, device, output, corpus, reading), None
    # a process of a pool exists for this work alone: what it spent on importing is part of its start
    _clock = StageClock(since_s=None if parent_process() is None else 0.0)


def _opened() -> _Worker:
    """What the worker's clips are encoded with."""
    global _worker
    if _setup is None:
        raise RuntimeError("_open_worker comes first")
    if _worker is None:
        cv2.setNumThreads(1)
        artefact = _open.enter_context(open_artefact(_setup.source, _setup.device, 1, opened="encoders"))
        _single_thread_torch()
        _worker = _Worker(artefact, tokenizers_of(artefact.streams, artefact.tokenizers), _setup)
    return _worker


def _single_thread_torch() -> None:
    """Workers share the cores: two threads each would make every one of them wait."""
    import sys

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


class Encoded(NamedTuple):
    """What a worker gives back of a clip: its remarks, why it could not be read, and the CPU seconds by stage."""

    clip_id: str
    remarks: tuple[str, ...]
    problem: str | None
    cpu_s: dict[str, float]


def _encode(clip: Clip | SampleClip) -> Encoded:
    """Encode one clip into `pending`."""
    with _clock.stage(START):
        worker = _opened()
    try:
        features, remarks = _features(worker, clip)
    except InputError as error:
        return Encoded(clip.id, (), str(error), _clock.take())
    with _clock.stage(STORE):
        write_pending(worker.setup.output, clip.id, features, tuple(remarks))
    return Encoded(clip.id, tuple(remarks), None, _clock.take())


def _features(worker: _Worker, clip: Clip | SampleClip) -> tuple[dict[str, Array], list[str]]:
    """The features of each stream of a clip, and what was noticed while it was read."""
    rows, remarks = _read(worker, clip)
    provided = worker.setup.reading.features
    encoded = encode_rows(worker.artefact, {n: found for n, found in rows.items() if n not in provided}, _clock)
    features = {
        name: _provided_features(worker.setup.corpus / provided[name] / f"{clip.id}.pkl", remarks)
        if name in provided
        else encoded[name]
        for name in rows
    }
    if bad := [name for name, values in features.items() if not np.isfinite(values).all()]:
        raise MediaError(f"the {bad[0]} encoder gave NaN or infinity")
    return features, remarks


def _read(worker: _Worker, clip: Clip | SampleClip) -> tuple[dict[str, list[Row]], list[str]]:
    """The rows of each stream of a clip, and what was noticed while it was read."""
    streams, reading = worker.artefact.streams, worker.setup.reading
    if isinstance(clip, SampleClip):
        remarks: list[str] = []
        rows = sample_rows(clip, streams, worker.tokenizers, reading.longest_s, remarks)
        return rows, [*remarks, *(f"no {name}" for name, found in rows.items() if not found)]
    videos = [spec for spec in streams.values() if isinstance(spec, VideoSpec)]
    sounds = [spec for spec in streams.values() if isinstance(spec, AudioSpec)]
    if len(videos) != 1 or len(sounds) != 1:
        raise CorpusError(
            f"expected a model of one video and one sound for clips of this layout, got {', '.join(streams)}: give a "
            f"table of samples or .npz files"
        )
    inputs = read_clip(clip, videos[0], sounds[0], reading, worker.setup.output / WORDS_FOLDER, _clock)
    return clip_rows(inputs, streams, worker.tokenizers), inputs.remarks


# --------------------------------------------------------------------------------------------------------- reading


def _provided_features(file: Path, remarks: list[str]) -> Array:
    """Features (T, D) from the data set's own pickles; (0, 1) where there is no file."""
    if not file.is_file():
        remarks.append(f"no {file.parent.name}/{file.name}")
        return np.zeros((0, 1), np.float32)
    values = load_array(file)
    if values.ndim != 2:
        raise CorpusError(f"{file}: expected features (time, dim), got an array of shape {values.shape}")
    return values.astype(np.float32)


def _provided_key(corpus: AnyCorpus, streams: Collection[str], stream: str, folder: str) -> EncoderKey:
    """The key of features that came with the data set: their folder, since nobody says how they were made."""
    if stream not in streams:
        raise UsageError(f"--features {stream}={folder}: expected one of {', '.join(streams)} before the =")
    files = sorted((corpus.folder / folder).glob("*.pkl"))
    if not files:
        raise CorpusError(f"--features {stream}={folder}: expected pickles in {corpus.folder / folder}, found none")
    width = _provided_features(files[0], []).shape[1]
    return EncoderKey(sha256=f"provided:{folder}", feature_dim=int(width), made_by=f"provided features {folder}")

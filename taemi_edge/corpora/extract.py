"""Extracting features: every clip of a corpus is encoded once by a model's frozen encoders, and stored.

Clips are read as the runtime reads media, so that what is trained or evaluated on a store holds for live runs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from taemi_edge.bundle.outputs import OutputSpec
from taemi_edge.bundle.streams import AudioSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.bundle.values import Array
from taemi_edge.bundle.workers import WorkerPool, require_shared, run_parallel
from taemi_edge.corpora.clip_reading import (
    ClipInputs,
    Reading,
    read_clip,
)
from taemi_edge.corpora.corpus_folder import place_of
from taemi_edge.corpora.feature_store import FeatureStore
from taemi_edge.corpora.labelled_clips import Clip
from taemi_edge.corpora.opening import AnyCorpus
from taemi_edge.corpora.pickled_features import load_array
from taemi_edge.corpora.sample_corpus import SampleClip, SampleCorpus
from taemi_edge.corpora.shared_places import place_of_model, places_of
from taemi_edge.corpora.store_index import ShardRow
from taemi_edge.corpora.store_place import StorePlace, open_place
from taemi_edge.corpora.store_shards import ShardPlan, assemble_shard, write_pending
from taemi_edge.corpora.store_writer import StoreWriter, write_store
from taemi_edge.corpora.stream_files import sample_rows
from taemi_edge.errors import CorpusError, InputError, MediaError, UsageError
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.parity.artefact import Artefact, EncoderKey, open_artefact
from taemi_edge.parity.judge import label_size
from taemi_edge.parity.samples import WORDS, Row, calls_of, encoder_rows, tokenizers_of
from taemi_edge.parity.windows import encode_calls
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
    """

    store: FeatureStore
    encoded: int
    problems: dict[str, str]
    remarks: dict[str, tuple[str, ...]]
    unlabelled: list[str]


def extract_features(
    corpus: AnyCorpus,
    source: str,
    output: Path | str,
    options: ExtractOptions = ExtractOptions(),
    *,
    progress: Progress = SILENT,
) -> ExtractResult:
    """Encode every clip of a corpus once. A run that was stopped or killed continues where it was.

    Args:
        corpus: the labelled clips.
        source: the bundle, checkpoint or recipe whose encoders are used.
        output: the folder or the URI of the feature store; a store of the same corpus there is continued.
        options: how clips are read and encoded.
        progress: counts the clips that are done.

    Raises:
        CorpusError: the corpus has no clip in the wanted splits.
        StoreError: `output` holds another store, or another process is writing it.
        InputError: with `options.strict`, the first clip that cannot be read.
    """
    unlabelled = corpus.unlabelled()
    corpus = _of_splits(corpus, options.splits)
    with open_artefact(source, options.device, 1) as artefact:
        keys = artefact.encoder_keys()
        labels = {clip.id: labels_of(clip, artefact.outputs) for clip in corpus.clips}
        for clip in corpus.clips:  # all of them: an empty cell hides its column
            if isinstance(clip, SampleClip):
                clip.require_names(artefact.streams, artefact.outputs)
    for stream, folder in options.reading.features.items():
        keys[stream] = _provided_key(corpus, keys, stream, folder)
    require_shared(options.workers, [place_of_model(source), *places_of(corpus)], [output])
    with write_store(open_place(output), corpus, labels, keys, _reading_notes(options), progress) as writer:
        problems, encoded = _encode_missing(writer, corpus, source, options, progress)
        _assemble_rest(writer, options)
        store = writer.finish()
    remarks = {i: entry.remarks for i, entry in sorted(store.clips(), key=lambda found: found[0]) if entry.remarks}
    return ExtractResult(store, encoded, dict(sorted(problems.items())), remarks, unlabelled)


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
    writer: StoreWriter, corpus: AnyCorpus, source: str, options: ExtractOptions, progress: Progress
) -> tuple[dict[str, str], int]:
    """Encode the clips that the store lacks; gives why clips could not be read, by id, and how many were encoded."""
    total, missing = len(corpus.clips), writer.missing()
    done = total - missing
    progress.count(done, total, "encoding clips")
    if not missing:
        return {}, 0
    problems: dict[str, str] = {}
    setup = (source, options.device, writer.place, place_of(corpus.folder), options.reading)
    for result in run_parallel(_work, writer.tasks(), options.workers, _open_worker, setup):
        if isinstance(result, ShardRow):
            writer.add_shard(result)
            continue
        clip_id, _, problem = result
        if problem is None:
            writer.add(clip_id)
        elif options.strict:
            raise InputError(f"clip {clip_id}: {problem}")
        else:
            problems[clip_id] = problem
            writer.leave_out(clip_id, problem)
        done += 1
        progress.count(done, total, "encoding clips")
    return problems, missing - len(problems)


def _assemble_rest(writer: StoreWriter, options: ExtractOptions) -> None:
    """Put together the shards whose last clips were encoded last; a single one in this process."""
    plans = list(writer.rest())
    for row in run_parallel(assemble_shard, plans, options.workers if len(plans) > 1 else 1):
        writer.add_shard(row)


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


def encode_rows(artefact: Artefact, rows: Mapping[str, list[Row]]) -> dict[str, Array]:
    """Run the encoders of a model on the rows of one clip.

    Args:
        artefact: the model whose encoders are used.
        rows: of each stream, in the order of time.

    Returns:
        The features of each stream, float32 (T, D); T is 0 where the clip has nothing of it.
    """
    return {
        name: encode_calls(artefact.run, name, artefact.streams[name], calls_of(found))
        if found
        else np.zeros((0, artefact.streams[name].feature_dim), np.float32)
        for name, found in rows.items()
    }


# ----------------------------------------------------------------------------------------------------- in a worker


@dataclass(frozen=True, eq=False)
class _Worker:
    artefact: Artefact
    tokenizers: Mapping[str, WordTokenizer]
    output: StorePlace
    corpus: StorePlace
    reading: Reading


_worker: _Worker | None = None
_open = ExitStack()  # what a worker holds until its process ends


def _open_worker(source: str, device: Device, output: StorePlace, corpus: StorePlace, reading: Reading) -> None:
    global _worker
    cv2.setNumThreads(1)
    _single_thread_torch()
    _open.close()
    artefact = _open.enter_context(open_artefact(source, device, 1))
    _worker = _Worker(artefact, tokenizers_of(artefact.streams, artefact.tokenizers), output, corpus, reading)


def _single_thread_torch() -> None:
    """Workers share the cores: two threads each would make every one of them wait."""
    import sys

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _work(task: Clip | SampleClip | ShardPlan) -> tuple[str, tuple[str, ...], str | None] | ShardRow:
    """Encode a clip, or put a shard together."""
    return assemble_shard(task) if isinstance(task, ShardPlan) else _encode(task)


def _encode(clip: Clip | SampleClip) -> tuple[str, tuple[str, ...], str | None]:
    """Encode one clip into `pending`; gives its id, its remarks and, where it cannot be read, the reason."""
    if _worker is None:
        raise RuntimeError("_open_worker comes first")
    try:
        rows, remarks = _read(_worker, clip)
        features = encode_rows(_worker.artefact, rows)
        for stream, folder in _worker.reading.features.items():
            features[stream] = _provided_features(_worker.corpus, f"{folder}/{clip.id}.pkl", remarks)
        if bad := [name for name, values in features.items() if not np.isfinite(values).all()]:
            raise MediaError(f"the {bad[0]} encoder gave NaN or infinity")
    except InputError as error:
        return clip.id, (), str(error)
    write_pending(_worker.output, clip.id, features, tuple(remarks))
    return clip.id, tuple(remarks), None


def _read(worker: _Worker, clip: Clip | SampleClip) -> tuple[dict[str, list[Row]], list[str]]:
    """The rows of each stream of a clip, and what was noticed while it was read."""
    streams, reading = worker.artefact.streams, worker.reading
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
    inputs = read_clip(clip, videos[0], sounds[0], reading, worker.output)
    return clip_rows(inputs, streams, worker.tokenizers), inputs.remarks


# --------------------------------------------------------------------------------------------------------- reading


def _provided_features(corpus: StorePlace, name: str, remarks: list[str]) -> Array:
    """Features (T, D) from the data set's own pickles; (0, 1) where there is no file."""
    if not corpus.exists(name):
        remarks.append(f"no {'/'.join(name.split('/')[-2:])}")
        return np.zeros((0, 1), np.float32)
    with corpus.local(name) as file:
        values = load_array(file)
        if values.ndim != 2:
            raise CorpusError(f"{file}: expected features (time, dim), got an array of shape {values.shape}")
    return values.astype(np.float32)


def _provided_key(corpus: AnyCorpus, streams: Collection[str], stream: str, folder: str) -> EncoderKey:
    """The key of features that came with the data set: their folder, since nobody says how they were made."""
    if stream not in streams:
        raise UsageError(f"--features {stream}={folder}: expected one of {', '.join(streams)} before the =")
    place = place_of(corpus.folder)
    files = [name for name in place.names(folder) if name.endswith(".pkl")]
    if not files:
        raise CorpusError(f"--features {stream}={folder}: expected pickles in {place}/{folder}, found none")
    width = _provided_features(place, f"{folder}/{files[0]}", []).shape[1]
    return EncoderKey(sha256=f"provided:{folder}", feature_dim=int(width), made_by=f"provided features {folder}")

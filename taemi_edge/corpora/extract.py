"""Extracting features: every clip of a corpus is encoded once by a model's frozen encoders, and stored.

Clips are read as the runtime reads media, so that what is trained or evaluated on a store holds for live runs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from taemi_edge.bundle.outputs import OutputSpec
from taemi_edge.bundle.workers import WorkerPool, require_shared, run_parallel
from taemi_edge.corpora.clip_reading import Reading
from taemi_edge.corpora.clip_worker import open_worker, provided_features, work
from taemi_edge.corpora.corpus_folder import place_of
from taemi_edge.corpora.drives import for_model
from taemi_edge.corpora.feature_store import FeatureStore
from taemi_edge.corpora.labelled_clips import Clip
from taemi_edge.corpora.opening import AnyCorpus
from taemi_edge.corpora.sample_corpus import SampleClip, SampleCorpus
from taemi_edge.corpora.shared_places import place_of_model, places_of
from taemi_edge.corpora.stage_clock import add_stages
from taemi_edge.corpora.staging import drop_recordings
from taemi_edge.corpora.store_index import ShardRow
from taemi_edge.corpora.store_place import open_place
from taemi_edge.corpora.store_shards import assemble_shard
from taemi_edge.corpora.store_writer import StoreWriter, write_store
from taemi_edge.errors import CorpusError, InputError, UsageError
from taemi_edge.parity.artefact import EncoderKey, open_artefact
from taemi_edge.parity.judge import label_size
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
    with open_artefact(source, options.device, 1, opened="nothing") as artefact:  # the workers open the encoders
        corpus = _of_splits(for_model(corpus, artefact.streams, artefact.specs.window_s), options.splits)
        keys = artefact.encoder_keys()
        labels = {clip.id: labels_of(clip, artefact.outputs) for clip in corpus.clips}
        for clip in corpus.clips:  # all of them: an empty cell hides its column
            if isinstance(clip, SampleClip):
                clip.require_names(artefact.streams, artefact.outputs)
    for stream, folder in options.reading.features.items():
        keys[stream] = _provided_key(corpus, keys, stream, folder)
    require_shared(options.workers, [place_of_model(source), *places_of(corpus)], [output])
    with write_store(open_place(output), corpus, labels, keys, _reading_notes(options), progress) as writer:
        cpu_s: dict[str, float] = {}
        problems, encoded = _encode_missing(writer, corpus, source, options, progress, cpu_s)
        _assemble_rest(writer, options)
        store = writer.finish()
    remarks = dict(sorted((clip_id, entry.remarks) for clip_id, entry in store.clips() if entry.remarks))
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
    total, missing = len(corpus.clips), writer.missing()
    done = total - missing
    progress.count(done, total, "encoding clips")
    if not missing:
        return {}, 0
    problems: dict[str, str] = {}
    setup = (source, options.device, writer.place, place_of(corpus.folder), options.reading)
    for result in run_parallel(work, writer.tasks(), options.workers, open_worker, setup):
        if isinstance(result, ShardRow):
            writer.add_shard(result)
            continue
        clip_id, _, problem, spent_s = result
        add_stages(cpu_s, spent_s)
        if problem is None:
            writer.add(clip_id)
        elif options.strict:
            raise InputError(f"clip {clip_id}: {problem}")
        else:
            problems[clip_id] = problem
            writer.leave_out(clip_id, problem)
        done += 1
        progress.count(done, total, "encoding clips")
    drop_recordings()
    return problems, missing - len(problems)


def _assemble_rest(writer: StoreWriter, options: ExtractOptions) -> None:
    """Put together the shards whose last clips were encoded last; for a single one no process is started."""
    plans = list(writer.rest())
    workers = 1 if len(plans) < 2 and isinstance(options.workers, int) else options.workers
    for row in run_parallel(assemble_shard, plans, workers) if plans else ():
        writer.add_shard(row)


def _provided_key(corpus: AnyCorpus, streams: Collection[str], stream: str, folder: str) -> EncoderKey:
    """The key of features that came with the data set: their folder, since nobody says how they were made."""
    if stream not in streams:
        raise UsageError(f"--features {stream}={folder}: expected one of {', '.join(streams)} before the =")
    place = place_of(corpus.folder)
    files = [name for name in place.names(folder) if name.endswith(".pkl")]
    if not files:
        raise CorpusError(f"--features {stream}={folder}: expected pickles in {place}/{folder}, found none")
    width = provided_features(place, f"{folder}/{files[0]}", []).shape[1]
    return EncoderKey(sha256=f"provided:{folder}", feature_dim=int(width), made_by=f"provided features {folder}")

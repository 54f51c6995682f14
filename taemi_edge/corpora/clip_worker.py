"""What a process that extracts features does: it opens the encoders, and encodes clip after clip."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import parent_process
from typing import NamedTuple

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.corpora.clip_encoding import clip_rows, encode_rows
from taemi_edge.corpora.clip_reading import Reading, read_clip, video_and_sound
from taemi_edge.corpora.labelled_clips import Clip
from taemi_edge.corpora.pickled_features import load_array
from taemi_edge.corpora.sample_corpus import SampleClip
from taemi_edge.corpora.stage_clock import START, STORE, StageClock
from taemi_edge.corpora.store_index import ShardRow
from taemi_edge.corpora.store_place import StorePlace
from taemi_edge.corpora.store_shards import ShardPlan, assemble_shard, write_pending
from taemi_edge.corpora.stream_files import sample_rows
from taemi_edge.errors import CorpusError, InputError, MediaError
from taemi_edge.media.opencv import use_one_thread
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.parity.artefact import Artefact, open_artefact
from taemi_edge.parity.samples import Row, tokenizers_of
from taemi_edge.runtime.sessions import Device


@dataclass(frozen=True)
class _Setup:
    """What a worker opens with its first clip: an error then reaches the user as what it is."""

    source: str
    device: Device | None
    output: StorePlace
    corpus: StorePlace
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


def open_worker(source: str, device: Device | None, output: StorePlace, corpus: StorePlace, reading: Reading) -> None:
    global _setup, _worker, _clock
    _open.close()
    _setup, _worker = _Setup(source, device, output, corpus, reading), None
    # a process of a pool exists for this work alone: what it spent on importing is part of its start
    _clock = StageClock(since_s=None if parent_process() is None else 0.0)


def _opened() -> _Worker:
    """What the worker's clips are encoded with."""
    global _worker
    if _setup is None:
        raise RuntimeError("open_worker comes first")
    if _worker is None:
        use_one_thread()
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


def work(task: Clip | SampleClip | ShardPlan) -> Encoded | ShardRow:
    """Encode a clip, or put a shard together."""
    if isinstance(task, ShardPlan):
        with _clock.stage(STORE):
            return assemble_shard(task)
    return encode_clip(task)


def encode_clip(clip: Clip | SampleClip) -> Encoded:
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
        name: provided_features(worker.setup.corpus, f"{provided[name]}/{clip.id}.pkl", remarks)
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
    video, audio = video_and_sound(streams)
    inputs = read_clip(clip, video, audio, reading, worker.setup.output, _clock)
    return clip_rows(inputs, streams, worker.tokenizers), inputs.remarks


def provided_features(corpus: StorePlace, name: str, remarks: list[str]) -> Array:
    """Features (T, D) from the data set's own pickles; (0, 1) where there is no file."""
    if not corpus.exists(name):
        remarks.append(f"no {'/'.join(name.split('/')[-2:])}")
        return np.zeros((0, 1), np.float32)
    with corpus.local(name) as file:
        values = load_array(file)
        if values.ndim != 2:
            raise CorpusError(f"{file}: expected features (time, dim), got an array of shape {values.shape}")
    return values.astype(np.float32)

"""Feature stores: the features of a corpus on disk, as safetensors shards with an index.

A store is written so that a killed run loses at most the clips that were being encoded.

store/
  index.json               StoreIndex: which encoders, which clips in which shard, the sha256 of each shard
  shard-00000.safetensors  `ID.STREAM`, float16 (T, D), or float32 where that overflows; a stream that a clip lacks has
                           no tensor
  pending/ID.safetensors   clips that wait for their shard; gone once the store is complete
  words/ID.jsonl           words that `--asr` recognised, kept so that speech is recognised only once
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from taemi_edge.bundle.atomic import give_usual_mode, new_file
from taemi_edge.bundle.drafts import sweep
from taemi_edge.bundle.folder import sha256_of
from taemi_edge.bundle.json_files import write_json
from taemi_edge.bundle.values import Array, Frozen
from taemi_edge.corpora.opening import AnyCorpus
from taemi_edge.errors import StoreError
from taemi_edge.parity.artefact import EncoderKey

INDEX = "index.json"
PENDING = "pending"
WORDS = "words"
CLIPS_A_SHARD = 256
STORE_SCHEMA = 1


class ClipEntry(Frozen, frozen=True):
    """A clip whose features are in a shard.

    Attributes:
        split: train, valid or test.
        labels: what is true, the numbers of all outputs side by side; None where nobody knows.
        shard: the file that holds its features.
        steps: the length T of each stream; 0 where the clip has nothing of it.
        remarks: what was noticed while the clip was read, such as "no face" or "cut at 60 s".
    """

    split: str
    labels: tuple[float | None, ...]
    shard: str
    steps: dict[str, int]
    remarks: tuple[str, ...] = ()


class StoreIndex(Frozen, frozen=True):
    """The content of `index.json`."""

    schema: int
    corpus: str
    synthetic: bool
    labels_sha256: str
    encoders: dict[str, EncoderKey]
    #: How clips were read: longest clip, whose faces, whose words.
    reading: dict[str, str]
    complete: bool
    clips: dict[str, ClipEntry]
    shards: dict[str, str]
    #: Why a clip could not be read, by id.
    problems: dict[str, str]


class FeatureStore:
    """A feature store that is read.

    Args:
        folder: the store.
        index: the content of its `index.json`.
    """

    def __init__(self, folder: Path, index: StoreIndex) -> None:
        self.folder = folder
        self.index = index

    @property
    def name(self) -> str:
        return self.index.corpus

    def ids(self, split: str) -> list[str]:
        """The ids of the clips of a split in order; "all" gives every split."""
        return sorted(i for i, clip in self.index.clips.items() if split in (clip.split, "all"))

    def known_ids(self, split: str) -> list[str]:
        """The ids of the clips of a split, never an empty list.

        Raises:
            StoreError: the store has no clip of that split; the message names those that it has.
        """
        if ids := self.ids(split):
            return ids
        known = sorted({clip.split for clip in self.index.clips.values()})
        raise StoreError(f"{self.folder}: expected clips in the split {split!r}, found {', '.join(known) or 'none'}")

    def features(self, ids: list[str]) -> Iterator[tuple[str, dict[str, Array]]]:
        """Read clips shard by shard.

        Yields:
            The id of a clip and the features of each stream, float16 (T, D); T is 0 where the clip lacks it.
        """
        by_shard: dict[str, list[str]] = {}
        for clip_id in ids:
            by_shard.setdefault(self.index.clips[clip_id].shard, []).append(clip_id)
        for shard, members in sorted(by_shard.items()):
            with safe_open(self.folder / shard, framework="numpy") as stored:
                for clip_id in members:
                    steps = self.index.clips[clip_id].steps
                    yield (
                        clip_id,
                        {
                            m: stored.get_tensor(f"{clip_id}.{m}")
                            if steps[m]
                            else np.zeros((0, self.index.encoders[m].feature_dim), np.float16)
                            for m in self.index.encoders
                        },
                    )


def is_store(folder: Path) -> bool:
    """Whether a folder holds a store, complete or not."""
    return (folder / INDEX).is_file()


def open_store(folder: Path) -> FeatureStore:
    """Open a complete store and check every shard's hash.

    Raises:
        StoreError: there is no store, it is not complete, it has another schema, or a shard is missing or was changed.
    """
    index = read_index(folder)
    if not index.complete:
        raise StoreError(f"{folder}: expected a complete store, got {len(index.clips)} clips of one: run extract again")
    for name, want in index.shards.items():
        if Path(name).name != name or not os.path.isfile(folder / name):
            raise StoreError(f"{folder}: the shard {name} is missing: copy the store anew, or extract it again")
        if sha256_of(folder / name) != want:
            raise StoreError(f"{folder}: {name} is not the file that was written (its sha256 differs): extract again")
    return FeatureStore(folder, index)


def read_index(folder: Path) -> StoreIndex:
    """Read the index alone.

    Raises:
        StoreError: there is no index, or it has another schema.
    """
    file = folder / INDEX
    if not file.is_file():
        raise StoreError(f"{folder}: expected a feature store (a folder with {INDEX}), found none: run extract first")
    try:
        index = msgspec.json.decode(file.read_bytes(), type=StoreIndex)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{file}: expected the index of a feature store: {error}") from error
    if index.schema != STORE_SCHEMA:
        raise StoreError(f"{file}: expected schema {STORE_SCHEMA}, got {index.schema}: extract again")
    return index


def require_encoders(index: StoreIndex, keys: Mapping[str, EncoderKey], where: str, artefact: str) -> None:
    """Refuse features that another encoder or chunking made.

    Args:
        index: of the store.
        keys: the keys of the encoders that the features must come from.
        where: what messages call the store.
        artefact: what messages call the model.

    Raises:
        StoreError: the keys differ; the message names the streams and what each side was made by.
    """
    if set(index.encoders) != set(keys):
        raise StoreError(
            f"{where} holds features of {', '.join(index.encoders)}, {artefact} has {', '.join(keys)}: run "
            f"`taemi-edge extract` with {artefact}"
        )
    other = [m for m in keys if index.encoders[m].sha256 != keys[m].sha256]
    if other:
        m = other[0]
        raise StoreError(
            f"{where} holds {' and '.join(other)} features of another encoder or chunking than {artefact}'s: expected "
            f"{keys[m].made_by} ({keys[m].sha256[:12]}), got {index.encoders[m].made_by} "
            f"({index.encoders[m].sha256[:12]}): run `taemi-edge extract` with {artefact}"
        )


class StoreWriter:
    """Makes a feature store, or continues one: clips that an earlier run finished are kept.

    Args:
        folder: the store, which may be new.
        corpus: the labelled clips.
        labels: of each clip by its id, the outputs' numbers side by side.
        keys: the key of each encoder.
        reading: how clips are read, as text by name.

    Raises:
        StoreError: the folder holds a store of another corpus, encoder or way of reading, or something else.
    """

    def __init__(
        self,
        folder: Path,
        corpus: AnyCorpus,
        labels: Mapping[str, tuple[float, ...]],
        keys: Mapping[str, EncoderKey],
        reading: Mapping[str, str],
    ) -> None:
        self.folder = folder
        self._splits = {clip.id: clip.split for clip in corpus.clips}
        self._labels = labels
        _refuse_foreign(folder)
        self.index = self._begin(corpus, keys, reading)
        (folder / PENDING).mkdir(exist_ok=True)
        (folder / WORDS).mkdir(exist_ok=True)
        self._waiting: dict[str, tuple[str, ...]] = {}
        self._clean_up()

    def missing(self) -> list[str]:
        """The ids of the clips that are not stored yet, including those that could not be read last time."""
        return [i for i in self._splits if i not in self.index.clips and i not in self._waiting]

    def add(self, clip_id: str, remarks: tuple[str, ...]) -> None:
        """Accept a clip that was written with `write_pending`, and write a shard when enough clips wait for one."""
        self._waiting[clip_id] = remarks
        if len(self._waiting) >= CLIPS_A_SHARD:
            self._write_shard()

    def finish(self, problems: Mapping[str, str]) -> FeatureStore:
        """Write the clips that still wait as the last shard, and mark the store complete."""
        if self._waiting:
            self._write_shard()
        self._write(msgspec.structs.replace(self.index, complete=True, problems=dict(problems)))
        (self.folder / PENDING).rmdir()
        if not any((self.folder / WORDS).iterdir()):
            (self.folder / WORDS).rmdir()
        return FeatureStore(self.folder, self.index)

    def _begin(self, corpus: AnyCorpus, keys: Mapping[str, EncoderKey], reading: Mapping[str, str]) -> StoreIndex:
        fresh = StoreIndex(
            schema=STORE_SCHEMA,
            corpus=corpus.name,
            synthetic=corpus.synthetic is not None,
            labels_sha256=corpus.labels_sha256,
            encoders=dict(keys),
            reading=dict(reading),
            complete=False,
            clips={},
            shards={},
            problems={},
        )
        if not is_store(self.folder):
            self._write(fresh)
            return fresh
        index = read_index(self.folder)
        require_encoders(index, keys, str(self.folder), "the model")
        if index.labels_sha256 != corpus.labels_sha256:
            raise StoreError(f"{self.folder} was made from other label files ({index.corpus}): name a new folder")
        if index.reading != reading:
            before, now = (", ".join(f"{k}: {v}" for k, v in way.items()) for way in (index.reading, reading))
            raise StoreError(f"{self.folder} was read otherwise ({before}; now {now}): name a new folder")
        return index

    def _clean_up(self) -> None:
        """After a kill, delete shards that the index does not name, and accept clips that wait for their shard."""
        for file in self.folder.glob("shard-*.safetensors"):
            if file.name not in self.index.shards:
                file.unlink()
        for draft in (*self.folder.glob(".draft-*"), *(self.folder / PENDING).glob(".draft-*")):
            if draft.is_file():  # of an older version of this program
                draft.unlink()
        sweep(self.folder)
        sweep(self.folder / PENDING)
        for file in sorted((self.folder / PENDING).glob("*.safetensors")):
            if file.stem in self.index.clips or file.stem not in self._splits:
                file.unlink()
                continue
            try:
                with safe_open(file, framework="numpy") as stored:
                    self._waiting[file.stem] = tuple(json.loads(stored.metadata()["remarks"]))
            except (SafetensorError, KeyError, TypeError):
                file.unlink()

    def _write_shard(self) -> None:
        name = f"shard-{len(self.index.shards):05d}.safetensors"
        members = sorted(self._waiting)
        tensors: dict[str, Array] = {}
        entries: dict[str, ClipEntry] = {}
        for clip_id in members:
            features = load_file(self.folder / PENDING / f"{clip_id}.safetensors")
            tensors |= {f"{clip_id}.{m}": values for m, values in features.items()}
            entries[clip_id] = ClipEntry(
                split=self._splits[clip_id],
                labels=tuple(None if value != value else value for value in self._labels[clip_id]),
                shard=name,
                steps={m: len(features[m]) if m in features else 0 for m in self.index.encoders},
                remarks=self._waiting[clip_id],
            )
        with new_file(self.folder / name) as draft:
            save_file(tensors, draft)
            give_usual_mode(draft)
        shards = self.index.shards | {name: sha256_of(self.folder / name)}
        self._write(msgspec.structs.replace(self.index, clips=self.index.clips | entries, shards=shards))
        for clip_id in members:
            (self.folder / PENDING / f"{clip_id}.safetensors").unlink()
        self._waiting.clear()

    def _write(self, index: StoreIndex) -> None:
        write_json(self.folder / INDEX, index, indent=1)
        self.index = index


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder that holds other files. A draft is allowed: a kill before the first index leaves one."""
    if folder.is_file():
        raise StoreError(f"{folder}: expected a folder for the feature store, got a file: name another place")
    if not folder.is_dir() or is_store(folder):
        return
    foreign = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith(".draft-"))
    if foreign:
        raise StoreError(f"{folder} holds other files ({foreign[0]}) and no feature store: name a new or empty folder")


def write_pending(folder: Path, clip_id: str, features: Mapping[str, Array], remarks: tuple[str, ...]) -> None:
    """Write the features of a clip to `pending`, where the next shard takes them from.

    Args:
        folder: the store.
        clip_id: the id of the clip.
        features: (T, D) for each stream; they are stored as float16, or as float32 where they would not fit.
        remarks: what was noticed while the clip was read.
    """
    kept = {m: np.ascontiguousarray(v, _dtype_for(v)) for m, v in features.items() if len(v)}
    with new_file(folder / PENDING / f"{clip_id}.safetensors") as draft:
        save_file(kept, draft, metadata={"remarks": json.dumps(remarks)})
        give_usual_mode(draft)


def _dtype_for(values: Array) -> type[np.float16] | type[np.float32]:
    return np.float16 if np.abs(values).max() <= np.finfo(np.float16).max else np.float32

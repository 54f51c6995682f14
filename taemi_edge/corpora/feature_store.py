"""Feature stores: the features of a corpus on disk, as safetensors shards with an index beside each.

The same corpus and encoders give the same files byte for byte, whatever made them: a clip's shard follows from its rank
in the corpus. `store_writer.py` makes stores, `store_shards.py` writes their shards, `store_place.py` is where they
lie.

store/
  index.json               StoreIndex: which encoders, and a table of the shards with the sha256 of their files
  shard-00000.safetensors  `ID.STREAM`, float16 (T, D), or float32 where that overflows; a stream that a clip lacks has
                           no tensor
  shard-00000.json         ShardIndex: the clips of that shard, with their labels
  pending/ID.safetensors   clips that wait for their shard; gone once the store is complete
  words/ID.jsonl           words that `--asr` recognised, kept so that speech is recognised only once
  writer.lock              which process writes the store; gone when it ends

Nothing large is read to open a store: the table is read at once, an index and a shard when their clips are asked for,
and each is checked against its hash then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from taemi_edge.bundle.folder import sha256_of
from taemi_edge.bundle.values import Array
from taemi_edge.corpora.store_index import (
    INDEX,
    ClipEntry,
    ShardIndex,
    ShardRow,
    StoreIndex,
    decoded_shard_index,
    decoded_store_index,
    split_counts,
)
from taemi_edge.corpora.store_place import StorePlace, open_place
from taemi_edge.errors import StoreError
from taemi_edge.parity.artefact import EncoderKey


@dataclass(frozen=True, eq=False)
class StoredClip:
    """A clip of a store with its features, float16 or float32 (T, D) by stream; T is 0 where the clip lacks it."""

    id: str
    entry: ClipEntry
    features: dict[str, Array]


class FeatureStore:
    """A feature store that is read, shard by shard.

    Args:
        place: where the store lies.
        index: the content of its `index.json`.
        shards: the index of each shard by its name, where they are known already: a store of schema 1 has them inside
            of its `index.json`.
    """

    def __init__(self, place: StorePlace, index: StoreIndex, shards: Mapping[str, ShardIndex] | None = None) -> None:
        self.place = place
        self.index = index
        self._known = shards

    @property
    def name(self) -> str:
        return self.index.corpus

    @property
    def splits(self) -> dict[str, int]:
        """How many clips each split has."""
        counts: dict[str, int] = {}
        for shard in self.index.shards:
            for split, clips in shard.splits.items():
                counts[split] = counts.get(split, 0) + clips
        return dict(sorted(counts.items()))

    def count(self, split: str) -> int:
        """How many clips a split has; "all" counts every split."""
        return sum(self.splits.values()) if split == "all" else self.splits.get(split, 0)

    def require_split(self, split: str) -> None:
        """Refuse a split without clips.

        Raises:
            StoreError: the store has no clip of that split; the message names those that it has.
        """
        if not self.count(split):
            known = ", ".join(self.splits) or "none"
            raise StoreError(f"{self.place}: expected clips in the split {split!r}, found {known}")

    def clips(self, split: str = "all") -> Iterator[tuple[str, ClipEntry]]:
        """The id and the entry of each clip of a split, in the order of the shards; no features are read.

        Raises:
            StoreError: an index is missing or was changed.
        """
        for shard in self._shards_of(split):
            for clip_id, entry in self.shard_index(shard).clips.items():
                if split in (entry.split, "all"):
                    yield clip_id, entry

    def ids(self, split: str) -> list[str]:
        """The ids of the clips of a split in order; "all" gives every split."""
        return sorted(clip_id for clip_id, _ in self.clips(split))

    def read(self, split: str = "all") -> Iterator[StoredClip]:
        """Read the clips of a split, in the order of the shards. One clip is in memory at a time.

        Raises:
            StoreError: an index or a shard is missing, was changed, or holds other arrays than its index says.
        """
        for shard in self._shards_of(split):
            yield from self.read_shard(shard, split)

    def read_shard(self, shard: ShardRow, split: str = "all") -> Iterator[StoredClip]:
        """Read the clips of a split that lie in one shard. See `read`."""
        members = {i: entry for i, entry in self.shard_index(shard).clips.items() if split in (entry.split, "all")}
        if members:
            yield from self._read_members(shard, members)

    def features(self, ids: list[str]) -> Iterator[tuple[str, dict[str, Array]]]:
        """Read some clips shard by shard.

        Yields:
            The id of a clip and the features of each stream, (T, D); T is 0 where the clip lacks it.

        Raises:
            StoreError: as for `read`, or the store has no such clip.
        """
        wanted = set(ids)
        for shard in self.index.shards:
            members = {i: entry for i, entry in self.shard_index(shard).clips.items() if i in wanted}
            wanted -= members.keys()
            if members:
                for clip in self._read_members(shard, members):
                    yield clip.id, clip.features
            if not wanted:
                return
        raise StoreError(f"{self.place}: expected clips of this store, got {sorted(wanted)[0]!r:.100}, which it lacks")

    def shard_index(self, shard: ShardRow) -> ShardIndex:
        """The clips of a shard.

        Raises:
            StoreError: the shard's index is missing or was changed.
        """
        if self._known is not None:
            return self._known[shard.name]
        content = self.place.read(shard.index_file)
        if sha256(content).hexdigest() != shard.index_sha256:
            raise _changed(self.place, shard.index_file)
        index = decoded_shard_index(f"{self.place}: {shard.index_file}", content, self.index.encoders)
        if index.sha256 != shard.sha256 or split_counts(index) != shard.splits or len(index.clips) != shard.clips:
            raise StoreError(f"{self.place}: {shard.index_file} says something else than {INDEX}: extract it again")
        return index

    def _shards_of(self, split: str) -> Iterator[ShardRow]:
        return (shard for shard in self.index.shards if split == "all" or split in shard.splits)

    def _read_members(self, shard: ShardRow, members: Mapping[str, ClipEntry]) -> Iterator[StoredClip]:
        with self._opened(shard) as stored:
            for clip_id, entry in members.items():
                yield StoredClip(clip_id, entry, self._features_of(stored, shard, clip_id, entry))

    @contextmanager
    def _opened(self, shard: ShardRow) -> Iterator[Any]:
        with self.place.local(shard.file) as file:
            if sha256_of(file) != shard.sha256:
                raise _changed(self.place, shard.file)
            try:
                stored = safe_open(file, framework="numpy")
            except (SafetensorError, OSError) as error:
                raise StoreError(f"{self.place}: {shard.file} is no safetensors file: extract it again") from error
            with stored as opened:
                yield opened

    def _features_of(self, stored: Any, shard: ShardRow, clip_id: str, entry: ClipEntry) -> dict[str, Array]:
        features: dict[str, Array] = {}
        for stream, key in self.index.encoders.items():
            shape = (entry.steps[stream], key.feature_dim)
            try:
                features[stream] = stored.get_tensor(f"{clip_id}.{stream}") if shape[0] else np.zeros(shape, np.float16)
            except SafetensorError as error:
                raise StoreError(
                    f"{self.place}: {shard.file} lacks the {stream} of a clip: extract it again"
                ) from error
            if features[stream].shape != shape or features[stream].dtype.kind != "f":
                raise StoreError(
                    f"{self.place}: {shard.file}: expected {stream} features of shape {shape}, got "
                    f"{features[stream].dtype} of shape {features[stream].shape}: extract it again"
                )
            if not np.isfinite(features[stream]).all():
                raise StoreError(f"{self.place}: {shard.file}: expected finite {stream} features: extract it again")
        return features


def _changed(place: StorePlace, file: str) -> StoreError:
    return StoreError(
        f"{place}: {file} is not the file that was written (its sha256 differs): copy the store anew, or delete this "
        f"file and extract again"
    )


def is_store(where: Path | str | StorePlace) -> bool:
    """Whether a place holds a store, complete or not."""
    return _place(where).exists(INDEX)


def open_store(where: Path | str | StorePlace) -> FeatureStore:
    """Open a complete store. Shards are checked when they are read.

    Args:
        where: a folder, a URI or a place.

    Raises:
        StoreError: there is no store, it is not complete, it has another schema, or a shard is missing.
    """
    place = _place(where)
    store = _read_store(place)
    if not store.index.complete:
        raise StoreError(f"{place}: expected a complete store, got one that is being made: run extract again")
    there = set(place.names())
    for shard in store.index.shards:
        files = (shard.file,) if store.index.schema == 1 else (shard.file, shard.index_file)
        if lacking := [name for name in files if name not in there]:
            raise StoreError(f"{place}: {lacking[0]} is missing: copy the store anew, or extract it again")
    return store


def read_index(where: Path | str | StorePlace) -> StoreIndex:
    """Read the index alone.

    Raises:
        StoreError: there is no index, or it has another schema.
    """
    return _read_store(_place(where)).index


def _read_store(place: StorePlace) -> FeatureStore:
    if not place.exists(INDEX):
        raise StoreError(f"{place}: expected a feature store (a folder with {INDEX}), found none: run extract first")
    return FeatureStore(place, *decoded_store_index(f"{place}: {INDEX}", place.read(INDEX)))


def _place(where: Path | str | StorePlace) -> StorePlace:
    return open_place(where) if isinstance(where, Path | str) else where


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

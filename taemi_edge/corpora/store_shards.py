"""Shards of a feature store, as workers write them: clips wait in `pending`, and a shard is put together of them.

A worker writes each clip that it encoded to `pending`. When all clips of a shard are there, some worker assembles it:
the features go into `shard-00000.safetensors`, then the index into `shard-00000.json`, then the clips that waited are
deleted. So a shard is written as soon as its index is there, and a kill at any moment loses nothing. Features never go
through the process that hands out the work.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from taemi_edge.bundle.folder import sha256_of
from taemi_edge.bundle.values import Array
from taemi_edge.corpora.feature_store import FeatureStore
from taemi_edge.corpora.store_index import (
    STORE_SCHEMA,
    ClipEntry,
    ShardIndex,
    ShardRow,
    Split,
    StoreIndex,
    decoded_shard_index,
    encoded,
    shard_name,
    split_counts,
)
from taemi_edge.corpora.store_place import StorePlace
from taemi_edge.errors import StoreError
from taemi_edge.parity.artefact import EncoderKey

PENDING = "pending"
_REMARKS = "remarks"


@dataclass(frozen=True)
class ShardMember:
    """A clip that a shard holds: its id, its split, and the numbers of all outputs side by side, None where unknown."""

    id: str
    split: Split
    labels: tuple[float | None, ...]


@dataclass(frozen=True)
class ShardPlan:
    """A shard to put together.

    Attributes:
        place: the store.
        number: of the shard.
        members: the clips that it holds, in the order of the corpus; those that could not be read are left out.
        index: the store's index, whose encoders say which streams there are.
    """

    place: StorePlace
    number: int
    members: tuple[ShardMember, ...]
    index: StoreIndex


def pending_file(clip_id: str) -> str:
    """The name of the file in which a clip waits for its shard."""
    return f"{PENDING}/{clip_id}.safetensors"


def write_pending(place: StorePlace, clip_id: str, features: Mapping[str, Array], remarks: tuple[str, ...]) -> None:
    """Write the features of a clip to `pending`, where its shard takes them from.

    Args:
        place: the store.
        clip_id: the id of the clip.
        features: (T, D) for each stream; they are stored as float16, or as float32 where they would not fit.
        remarks: what was noticed while the clip was read.

    Raises:
        OutputError: there is no room or no permission.
    """
    kept = {m: np.ascontiguousarray(v, _dtype_for(v)) for m, v in features.items() if len(v)}
    with place.draft(pending_file(clip_id)) as draft:
        save_file(kept, draft, metadata={_REMARKS: json.dumps(remarks)})


def is_whole(place: StorePlace, clip_id: str) -> bool:
    """Whether a clip that waits for its shard can be read: what an older version left may be torn."""
    try:
        _read_pending(place, clip_id)
    except StoreError:
        return False
    return True


def assemble_shard(plan: ShardPlan) -> ShardRow:
    """Write a shard of clips that wait for it, and delete those.

    A shard that lacks clips which wait for it is taken apart first, so that it is written as if it were new. A shard
    that another worker has put together meanwhile is left as it is.

    Raises:
        StoreError: a clip is missing or damaged.
        OutputError: there is no room or no permission.
    """
    if (row := _written(plan)) is not None:
        _forget(plan)
        return row
    _take_apart(plan)
    try:
        row = _write(plan)
    except StoreError:
        if (row := _written(plan)) is None:  # a worker that was thought to be dead has done it
            raise
    _forget(plan)
    return row


def read_shard_index(place: StorePlace, number: int, encoders: Mapping[str, EncoderKey]) -> tuple[ShardIndex, ShardRow]:
    """Read the index of a shard that is written, and make its row in the table.

    Raises:
        StoreError: the index is damaged.
    """
    name = shard_name(number)
    content = place.read(f"{name}.json")
    try:
        index = decoded_shard_index(f"{place}: {name}.json", content, encoders)
    except StoreError as error:
        raise StoreError(f"{error} (or delete {name}.json, and its clips are encoded again)") from error
    return index, _row(name, index, content)


def unpack(store: FeatureStore, shard: ShardRow) -> None:
    """Put the clips of a shard back into `pending`.

    Raises:
        StoreError: the shard is missing or was changed.
        OutputError: there is no room or no permission.
    """
    for clip in store.read_shard(shard):
        write_pending(store.place, clip.id, clip.features, clip.entry.remarks)


def _written(plan: ShardPlan) -> ShardRow | None:
    """The row of the shard where it is written with just these clips."""
    name = shard_name(plan.number)
    if not (plan.place.exists(f"{name}.json") and plan.place.exists(f"{name}.safetensors")):
        return None
    index, row = read_shard_index(plan.place, plan.number, plan.index.encoders)
    return row if list(index.clips) == [member.id for member in plan.members] else None


def _take_apart(plan: ShardPlan) -> None:
    name = shard_name(plan.number)
    if plan.place.exists(f"{name}.json"):
        if plan.place.exists(f"{name}.safetensors"):
            _, row = read_shard_index(plan.place, plan.number, plan.index.encoders)
            unpack(FeatureStore(plan.place, plan.index), row)
        plan.place.delete(f"{name}.json")


def _write(plan: ShardPlan) -> ShardRow:
    name = shard_name(plan.number)
    tensors: dict[str, Array] = {}
    clips: dict[str, ClipEntry] = {}
    for member in plan.members:
        features, remarks = _read_pending(plan.place, member.id)
        tensors |= {f"{member.id}.{stream}": values for stream, values in features.items()}
        steps = {stream: len(features[stream]) if stream in features else 0 for stream in plan.index.encoders}
        clips[member.id] = ClipEntry(split=member.split, labels=member.labels, steps=steps, remarks=remarks)
    with plan.place.draft(f"{name}.safetensors") as draft:
        save_file(tensors, draft)
        digest = sha256_of(draft)
    index = ShardIndex(schema=STORE_SCHEMA, sha256=digest, clips=clips)
    content = encoded(index)
    plan.place.write(f"{name}.json", content)
    return _row(name, index, content)


def _row(name: str, index: ShardIndex, content: bytes) -> ShardRow:
    return ShardRow(
        name=name,
        sha256=index.sha256,
        index_sha256=sha256(content).hexdigest(),
        clips=len(index.clips),
        splits=split_counts(index),
    )


def _forget(plan: ShardPlan) -> None:
    delete_pending(plan.place, (member.id for member in plan.members))


def delete_pending(place: StorePlace, ids: Iterable[str]) -> None:
    """Delete clips that wait for a shard and are stored already, or will never be."""
    for clip_id in ids:
        place.delete(pending_file(clip_id))


def _read_pending(place: StorePlace, clip_id: str) -> tuple[dict[str, Array], tuple[str, ...]]:
    """The features of a clip that waits for its shard, and the remarks on it."""
    with place.local(pending_file(clip_id)) as file:
        try:
            return _read_features(file)
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"{place}: {pending_file(clip_id)} is damaged: delete it, and the clip is encoded again"
            ) from error


def _read_features(file: Path) -> tuple[dict[str, Array], tuple[str, ...]]:
    with safe_open(file, framework="numpy") as stored:
        remarks = tuple(str(remark) for remark in json.loads(stored.metadata()[_REMARKS]))
        return {stream: stored.get_tensor(stream) for stream in stored.keys()}, remarks  # noqa: SIM118 - no mapping


def _dtype_for(values: Array) -> type[np.float16] | type[np.float32]:
    return np.float16 if np.abs(values).max() <= np.finfo(np.float16).max else np.float32

"""The indexes of a feature store: what `index.json` and the index beside each shard hold, and how they are read.

They are read as if a stranger had written them: no name in them leads out of the store, and every clip has a length for
each stream and as many labels as the others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from taemi_edge.bundle.values import Frozen
from taemi_edge.errors import StoreError
from taemi_edge.parity.artefact import EncoderKey

INDEX = "index.json"
STORE_SCHEMA = 2
#: Beyond it no array has a name of its own, and nobody has so many clips.
_MOST = 2**40
_MOST_DIM = 2**24
_SHARD = re.compile(r"shard-([0-9]{5,12})")

Split = Literal["train", "valid", "test"]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, msgspec.Meta(ge=0, le=_MOST)]


class ClipEntry(Frozen, frozen=True):
    """A clip whose features are in a shard.

    Attributes:
        split: train, valid or test.
        labels: what is true, the numbers of all outputs side by side; None where nobody knows.
        steps: the length T of each stream; 0 where the clip has nothing of it.
        remarks: what was noticed while the clip was read, such as "no face" or "cut at 60 s".
    """

    split: Split
    labels: tuple[float | None, ...]
    steps: dict[str, Count]
    remarks: tuple[str, ...] = ()


class ShardIndex(Frozen, frozen=True):
    """The content of `shard-00000.json`: the clips of a shard in the order of the corpus.

    Attributes:
        sha256: of the shard beside it.
        clips: the entry of each clip by its id.
    """

    schema: int
    sha256: Sha256
    clips: dict[str, ClipEntry]


class ShardRow(Frozen, frozen=True):
    """A shard in the table of `index.json`.

    Attributes:
        name: of its files, without their endings: "shard-00000".
        sha256: of the features.
        index_sha256: of the index beside them.
        clips: how many it holds.
        splits: how many of each split.
    """

    name: str
    sha256: Sha256
    index_sha256: Sha256
    clips: Count
    splits: dict[Split, Count]

    @property
    def file(self) -> str:
        """The file with the features."""
        return f"{self.name}.safetensors"

    @property
    def index_file(self) -> str:
        """The file with the index of its clips."""
        return f"{self.name}.json"


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
    shards: tuple[ShardRow, ...]
    #: Why a clip could not be read, by id.
    problems: dict[str, str]


class _OlderEntry(Frozen, frozen=True):
    """A clip in an index of schema 1."""

    split: Split
    labels: tuple[float | None, ...]
    shard: str
    steps: dict[str, Count]
    remarks: tuple[str, ...] = ()


class _OlderIndex(Frozen, frozen=True):
    """An index of schema 1, which held every clip of the store; shards followed from who finished first."""

    schema: int
    corpus: str
    synthetic: bool
    labels_sha256: str
    encoders: dict[str, EncoderKey]
    reading: dict[str, str]
    complete: bool
    clips: dict[str, _OlderEntry]
    shards: dict[str, Sha256]
    problems: dict[str, str]


class _Schema(msgspec.Struct):
    schema: int


def shard_name(number: int) -> str:
    """The name of a shard's files, without their endings.

    >>> shard_name(7)
    'shard-00007'
    """
    return f"shard-{number:05d}"


def shard_number(name: str) -> int | None:
    """The number of a shard by the name of its files without an ending; None where it is no shard's.

    >>> shard_number("shard-00007"), shard_number("../shard-00007")
    (7, None)
    """
    match = _SHARD.fullmatch(name)
    return int(match[1]) if match is not None and shard_name(int(match[1])) == name else None


def encoded(index: ShardIndex | StoreIndex) -> bytes:
    """An index as the bytes of its file: the same for the same content.

    The table is indented, because people read it; the index of a shard is one line.
    """
    content = msgspec.json.encode(index)
    return (msgspec.json.format(content, indent=1) if isinstance(index, StoreIndex) else content) + b"\n"


def decoded_store_index(where: str, content: bytes) -> tuple[StoreIndex, dict[str, ShardIndex] | None]:
    """Read the content of `index.json`.

    Args:
        where: what messages call the file.
        content: its bytes.

    Returns:
        The index; and, of a store of schema 1, the index of each of its shards, which has no file of its own.

    Raises:
        StoreError: it is no index of a store, or has another schema.
    """
    schema = _decoded(where, content, _Schema).schema
    if schema == 1:
        older = _decoded(where, content, _OlderIndex)
        index, shards = _of_older(where, older)
        for shard in shards.values():
            _check_clips(where, shard, index.encoders)
    elif schema == STORE_SCHEMA:
        index, shards = _decoded(where, content, StoreIndex), None
        numbers = [-1 if (n := shard_number(shard.name)) is None else n for shard in index.shards]
        if -1 in numbers or numbers != sorted(set(numbers)):
            raise StoreError(f"{where}: expected shards such as {shard_name(0)} in order, each once: extract again")
    else:
        raise StoreError(f"{where}: expected schema {STORE_SCHEMA} or 1, got {schema}: extract again")
    _check_encoders(where, index.encoders)
    return index, shards


def decoded_shard_index(where: str, content: bytes, encoders: Mapping[str, EncoderKey]) -> ShardIndex:
    """Read the content of the index of a shard.

    Args:
        where: what messages call the file.
        content: its bytes.
        encoders: of the store.

    Raises:
        StoreError: it is no index of a shard of this store.
    """
    index: ShardIndex = _decoded(where, content, ShardIndex)
    if index.schema != STORE_SCHEMA:
        raise StoreError(f"{where}: expected schema {STORE_SCHEMA}, got {index.schema}: extract again")
    _check_clips(where, index, encoders)
    return index


def split_counts(index: ShardIndex) -> dict[Split, int]:
    """How many clips of each split a shard holds."""
    counts: dict[Split, int] = {}
    for entry in index.clips.values():
        counts[entry.split] = counts.get(entry.split, 0) + 1
    return dict(sorted(counts.items()))


def _decoded(where: str, content: bytes, wanted: Any) -> Any:
    try:
        return msgspec.json.decode(content, type=wanted)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{where}: expected the index of a feature store: {error}") from error


def _of_older(where: str, older: _OlderIndex) -> tuple[StoreIndex, dict[str, ShardIndex]]:
    clips: dict[str, dict[str, ClipEntry]] = {name.removesuffix(".safetensors"): {} for name in older.shards}
    if wrong := [name for name in older.shards if shard_number(name.removesuffix(".safetensors")) is None]:
        raise StoreError(f"{where}: expected shards such as {shard_name(0)}, got {wrong[0]!r:.100}: extract again")
    for clip_id, entry in older.clips.items():
        if entry.shard not in older.shards:
            raise StoreError(f"{where}: a clip is in {entry.shard!r:.100}, which is no shard of it: extract again")
        kept = ClipEntry(split=entry.split, labels=entry.labels, steps=entry.steps, remarks=entry.remarks)
        clips[entry.shard.removesuffix(".safetensors")][clip_id] = kept
    shards = {
        name: ShardIndex(schema=1, sha256=older.shards[f"{name}.safetensors"], clips=dict(sorted(members.items())))
        for name, members in sorted(clips.items())
    }
    rows = tuple(
        ShardRow(name=name, sha256=s.sha256, index_sha256="0" * 64, clips=len(s.clips), splits=split_counts(s))
        for name, s in shards.items()
    )
    index = StoreIndex(
        schema=1,
        corpus=older.corpus,
        synthetic=older.synthetic,
        labels_sha256=older.labels_sha256,
        encoders=older.encoders,
        reading=older.reading,
        complete=older.complete,
        shards=rows,
        problems=older.problems,
    )
    return index, shards


def _check_encoders(where: str, encoders: Mapping[str, EncoderKey]) -> None:
    for key in encoders.values():
        if not 0 < key.feature_dim <= _MOST_DIM:
            raise StoreError(f"{where}: expected features of 1 to {_MOST_DIM} numbers: extract again")


def _check_clips(where: str, index: ShardIndex, encoders: Mapping[str, EncoderKey]) -> None:
    """Refuse clips whose lengths or labels cannot be those of this store."""
    labels = {len(entry.labels) for entry in index.clips.values()}
    if len(labels) > 1:
        raise StoreError(f"{where}: expected as many labels for each clip, got {min(labels)} and {max(labels)}")
    for clip_id, entry in index.clips.items():
        if entry.steps.keys() != encoders.keys():
            raise StoreError(f"{where}: clip {clip_id!r:.100}: expected a length for each stream of the store")

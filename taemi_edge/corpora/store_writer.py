"""Making a feature store, or going on with one: which clips are missing, which shards can be put together, the table.

The writer hands out work and hears what was done; workers write features (`store_shards.py`). A clip's shard follows
from its rank in the corpus, so the files are the same byte for byte whoever made them, in whatever order. `index.json`
is written when the work begins and once more at its end, never in between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec

from taemi_edge.corpora.clip_reading import WORDS
from taemi_edge.corpora.feature_store import FeatureStore, is_store, require_encoders
from taemi_edge.corpora.labelled_clips import Clip
from taemi_edge.corpora.opening import AnyCorpus
from taemi_edge.corpora.sample_corpus import SampleClip, SampleCorpus
from taemi_edge.corpora.store_index import (
    INDEX,
    STORE_SCHEMA,
    ShardRow,
    StoreIndex,
    decoded_store_index,
    encoded,
    shard_name,
    shard_number,
)
from taemi_edge.corpora.store_lock import LOCK, StoreLock, hold_store
from taemi_edge.corpora.store_place import LocalPlace, StorePlace
from taemi_edge.corpora.store_shards import (
    PENDING,
    ShardMember,
    ShardPlan,
    delete_pending,
    is_whole,
    read_shard_index,
    unpack,
)
from taemi_edge.errors import StoreError
from taemi_edge.parity.artefact import EncoderKey
from taemi_edge.progress import SILENT, Progress

CLIPS_A_SHARD = 256
_ENDING = ".safetensors"


class StoreWriter:
    """Makes a feature store, or goes on with one: clips that an earlier run finished are kept. See `write_store`.

    Args:
        lock: of the store.
        place: the store.
        corpus: the labelled clips.
        labels: of each clip by its id, the outputs' numbers side by side.
        fresh: the index of a new store of this corpus.
    """

    def __init__(
        self,
        lock: StoreLock,
        place: StorePlace,
        corpus: AnyCorpus,
        labels: Mapping[str, tuple[float, ...]],
        fresh: StoreIndex,
    ) -> None:
        self.place = place
        self._lock = lock
        self._clips = _clips_of(corpus)
        self._corpus = corpus
        self._labels = labels
        self._rank = {clip.id: rank for rank, clip in enumerate(self._clips)}
        self._rows: dict[int, ShardRow] = {}
        #: Of each shard, the clips that it holds, and the clips that are ready to be in it.
        self._written: dict[int, set[str]] = {}
        self._settled: dict[int, set[str]] = {}
        #: Of each shard, how many clips this run still has to hear of.
        self._open: dict[int, int] = {}
        self._ready: deque[int] = deque()
        self._problems: dict[str, str] = {}
        self.index = self._begin(fresh)
        self._find_what_is_done()

    def missing(self) -> int:
        """How many clips are not stored yet, including those that could not be read last time."""
        return sum(self._open.values())

    def tasks(self) -> Iterator[Clip | SampleClip | ShardPlan]:
        """What is to be done: clips to encode, and shards to put together as soon as all of their clips are settled.

        It is taken from while results are told to `add`, `leave_out` and `add_shard`. `rest` has the shards whose last
        clip was told after the last task was taken.
        """
        for rank, clip in enumerate(self._clips):
            if not self._is_known(clip.id, rank // CLIPS_A_SHARD):
                while self._ready:
                    yield self._plan(self._ready.popleft())
                yield clip
        yield from self.rest()

    def rest(self) -> Iterator[ShardPlan]:
        """The shards that can be put together and that nobody took yet."""
        while self._ready:
            yield self._plan(self._ready.popleft())

    def add(self, clip_id: str) -> None:
        """Accept a clip that a worker wrote to `pending`."""
        self._reopen()
        self._settled[self._rank[clip_id] // CLIPS_A_SHARD].add(clip_id)
        self._count_down(clip_id)

    def leave_out(self, clip_id: str, problem: str) -> None:
        """Accept that a clip cannot be read, and why."""
        self._problems[clip_id] = problem
        self._count_down(clip_id)

    def add_shard(self, row: ShardRow) -> None:
        """Accept a shard that a worker wrote.

        Raises:
            StoreError: another process took the store over.
        """
        self._lock.require()
        self._rows[_number_of(row)] = row

    def finish(self) -> FeatureStore:
        """Write the table of all shards, and mark the store complete.

        Raises:
            StoreError: another process took the store over.
        """
        self._lock.require()
        for folder in ("", PENDING, WORDS):
            self.place.clean_up(folder, nobody_writes=True)
        delete_pending(self.place, list(_ids_of(self.place.names(PENDING))))
        for folder in (PENDING, WORDS):
            self.place.delete(folder)
        if self.index.schema == STORE_SCHEMA:
            rows = tuple(row for _, row in sorted(self._rows.items()))
            problems = {clip.id: self._problems[clip.id] for clip in self._clips if clip.id in self._problems}
            whole = msgspec.structs.replace(self.index, complete=True, shards=rows, problems=problems)
            if whole != self.index:
                self._write(whole)
        return FeatureStore(self.place, *decoded_store_index(f"{self.place}: {INDEX}", self.place.read(INDEX)))

    def _begin(self, fresh: StoreIndex) -> StoreIndex:
        """The index of the store that is there, brought to this schema; else that of a new one."""
        if not is_store(self.place):
            self._write(fresh)
            return fresh
        index, older = decoded_store_index(f"{self.place}: {INDEX}", self.place.read(INDEX))
        require_encoders(index, fresh.encoders, str(self.place), "the model")
        if fresh.labels_sha256 != index.labels_sha256 and not (older and self._is_older_hash(index.labels_sha256)):
            raise StoreError(f"{self.place} was made from other label files ({index.corpus}): name a new folder")
        if index.reading != fresh.reading:
            before, now = (", ".join(f"{k}: {v}" for k, v in way.items()) for way in (index.reading, fresh.reading))
            raise StoreError(f"{self.place} was read otherwise ({before}; now {now}): name a new folder")
        if older is None:
            return index
        if index.complete and sum(shard.clips for shard in index.shards) == len(self._clips):
            return index
        self._renew(FeatureStore(self.place, index, older))
        self._write(fresh)
        return fresh

    def _is_older_hash(self, labels_sha256: str) -> bool:
        return isinstance(self._corpus, SampleCorpus) and self._corpus.older_labels_sha256() == labels_sha256

    def _renew(self, older: FeatureStore) -> None:
        """Bring a store of schema 1 into the layout of this one: its clips wait for their new shards."""
        for shard in older.index.shards:
            self._require_own(shard.file, older.shard_index(shard).clips)
            unpack(older, shard)

    def _find_what_is_done(self) -> None:
        """After a kill, delete half a shard, and accept clips that wait for theirs."""
        if self.index.schema != STORE_SCHEMA:  # complete, and of an older version
            return
        self._find_shards()
        self.place.clean_up()
        self.place.clean_up(PENDING)
        waiting = set(_ids_of(self.place.names(PENDING)))
        stored = {clip_id for members in self._written.values() for clip_id in members}
        torn = {i for i in waiting - stored if i not in self._rank or not is_whole(self.place, i)}
        delete_pending(self.place, sorted(waiting & stored | torn))
        for rank, clip in enumerate(self._clips):
            number = rank // CLIPS_A_SHARD
            settled = self._settled.setdefault(number, set(self._written.get(number, ())))
            if clip.id in waiting - torn:
                settled.add(clip.id)
            self._open[number] = self._open.get(number, 0) + (clip.id not in settled)
        for number in sorted(self._open):
            self._look_at(number)

    def _find_shards(self) -> None:
        names = set(self.place.names())
        for name in names:
            if name.startswith(".draft-"):  # of an older version of this program
                self.place.delete(name)
        found = {name.rpartition(".")[0] for name in names if name.endswith((_ENDING, ".json"))}
        shas = {row.name: row.index_sha256 for row in self.index.shards}
        for number in sorted(n for name in found if (n := shard_number(name)) is not None):
            name = shard_name(number)
            if {f"{name}{_ENDING}", f"{name}.json"} <= names:
                index, row = read_shard_index(self.place, number, self.index.encoders)
                if shas.get(name, row.index_sha256) != row.index_sha256:
                    raise StoreError(
                        f"{self.place}: {name}.json is not the file that was written (its sha256 differs): delete it, "
                        f"and its clips are encoded again"
                    )
                self._require_own(f"{name}.json", index.clips, number)
                self._rows[number], self._written[number] = row, set(index.clips)
            else:
                for half in sorted({f"{name}{_ENDING}", f"{name}.json"} & names):
                    self.place.delete(half)

    def _require_own(self, file: str, clips: Mapping[str, object], number: int | None = None) -> None:
        """Refuse a shard with clips that this corpus has not, or has elsewhere."""
        ranks = [self._rank.get(clip_id, -1) for clip_id in clips]
        if any(rank < 0 or number not in (None, rank // CLIPS_A_SHARD) for rank in ranks):
            raise StoreError(f"{self.place}: {file} holds clips that are not this corpus's: name a new folder")

    def _is_known(self, clip_id: str, number: int) -> bool:
        return self.index.schema != STORE_SCHEMA or clip_id in self._settled[number]

    def _count_down(self, clip_id: str) -> None:
        number = self._rank[clip_id] // CLIPS_A_SHARD
        self._open[number] -= 1
        self._look_at(number)

    def _look_at(self, number: int) -> None:
        """Have a shard put together once nothing more can come for it."""
        if not self._open[number] and self._settled[number] - self._written.get(number, set()):
            self._ready.append(number)

    def _reopen(self) -> None:
        """Before a shard of a complete store becomes another one, since a clip of an earlier problem can be read now.

        A kill while that shard is written would leave a table that speaks of the shard before.
        """
        if self.index.complete:
            self._write(msgspec.structs.replace(self.index, complete=False, shards=(), problems={}))

    def _plan(self, number: int) -> ShardPlan:
        self._reopen()
        clips = self._clips[number * CLIPS_A_SHARD : (number + 1) * CLIPS_A_SHARD]
        members = tuple(
            ShardMember(clip.id, clip.split, tuple(None if v != v else v for v in self._labels[clip.id]))  # type: ignore[arg-type]
            for clip in clips
            if clip.id in self._settled[number]
        )
        return ShardPlan(self.place, number, members, self.index)

    def _write(self, index: StoreIndex) -> None:
        self._lock.require()
        self.place.write(INDEX, encoded(index))
        self.index = index


@contextmanager
def write_store(
    place: StorePlace,
    corpus: AnyCorpus,
    labels: Mapping[str, tuple[float, ...]],
    keys: Mapping[str, EncoderKey],
    reading: Mapping[str, str],
    progress: Progress = SILENT,
) -> Iterator[StoreWriter]:
    """Make a feature store, or go on with one; no other process can, for as long as the block lasts.

    Args:
        place: the store, which may be new.
        corpus: the labelled clips.
        labels: of each clip by its id, the outputs' numbers side by side.
        keys: the key of each encoder.
        reading: how clips are read, as text by name.
        progress: is told when the lock of another machine has to be watched for a while.

    Raises:
        StoreError: the place holds a store of another corpus, encoder or way of reading, or something else; or another
            process is writing it.
        OutputError: there is no room or no permission.
    """
    _refuse_foreign(place)
    fresh = StoreIndex(
        schema=STORE_SCHEMA,
        corpus=corpus.name,
        synthetic=corpus.synthetic is not None,
        labels_sha256=corpus.labels_sha256,
        encoders=dict(keys),
        reading=dict(reading),
        complete=False,
        shards=(),
        problems={},
    )
    with hold_store(place, progress) as lock:
        yield StoreWriter(lock, place, corpus, labels, fresh)


def _refuse_foreign(place: StorePlace) -> None:
    """Refuse a folder that holds other files but for drafts and a lock: a kill before the first index leaves those."""
    if isinstance(place, LocalPlace) and place.folder.is_file():
        raise StoreError(f"{place}: expected a folder for the feature store, got a file: name another place")
    if is_store(place):
        return
    foreign = [name for name in place.names() if name != LOCK and not name.startswith(".draft-")]
    if foreign:
        name = foreign[0].rstrip("/")
        raise StoreError(f"{place} holds other files ({name}) and no feature store: name a new or empty folder")


def _clips_of(corpus: AnyCorpus) -> Sequence[Clip | SampleClip]:
    return corpus.clips


def _ids_of(names: list[str]) -> Iterator[str]:
    return (name.removesuffix(_ENDING) for name in names if name.endswith(_ENDING))


def _number_of(row: ShardRow) -> int:
    number = shard_number(row.name)
    if number is None:
        raise ValueError(f"expected the name of a shard, got {row.name!r}")
    return number

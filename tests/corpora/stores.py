"""Making and comparing feature stores in tests."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.corpora.extract import ExtractOptions, extract_features
from taemi_edge.corpora.feature_store import FeatureStore, open_store
from taemi_edge.corpora.sample_corpus import SampleClip, SampleCorpus
from taemi_edge.corpora.store_place import StorePlace
from taemi_edge.corpora.store_shards import ShardPlan, assemble_shard, write_pending
from taemi_edge.corpora.store_writer import write_store
from taemi_edge.parity.artefact import EncoderKey
from taemi_edge.taemi.names import MODALITIES
from taemi_edge.taemi.vidmimic2 import open_corpus

KEYS = {
    name: EncoderKey(sha256=sign * 64, feature_dim=dim, made_by="tests")
    for name, sign, dim in (("imu", "a", 3), ("talk", "b", 2))
}


def extracted(corpus: Path, bundle: Path, output: Path, **options: Any) -> FeatureStore:
    options = {"workers": 1, **options}
    return extract_features(open_corpus(corpus), str(bundle), output, ExtractOptions(**options)).store


def first_clips(corpus: Path, folder: Path, of_each_split: int) -> Path:
    """Copy the first clips of each split of a corpus: most promises hold for a few as for many."""
    kept: list[str] = []
    folder.mkdir(parents=True)
    for labels in sorted(corpus.glob("*_split.csv")):
        header, *rows = labels.read_text().splitlines()
        chosen = rows[:of_each_split]
        kept += [f"{int(row.partition(',')[0].partition('.')[0]):05d}" for row in chosen]
        (folder / labels.name).write_text("\n".join([header, *chosen]) + "\n")
    for file in corpus.rglob("*"):
        if file.is_file() and (file.stem in kept or file.name == "synthetic.json"):
            (folder / file.relative_to(corpus)).parent.mkdir(exist_ok=True)
            shutil.copy(file, folder / file.relative_to(corpus))
    return folder


def same_features(a: FeatureStore, b: FeatureStore) -> bool:
    ours, theirs = ({clip.id: clip.features for clip in store.read()} for store in (a, b))
    return ours.keys() == theirs.keys() and all(
        np.array_equal(ours[i][m], theirs[i][m]) for i in ours for m in MODALITIES
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its path, and folders without a file."""
    return {str(f.relative_to(folder)): f.read_bytes() if f.is_file() else b"" for f in sorted(folder.rglob("*"))}


@dataclass(frozen=True)
class Disorderly:
    """A pool whose workers finish in another order than they began, and whose work may be stopped half way."""

    seed: int
    stops_after: int | None = None
    on_this_machine: bool = True

    def require_shared(self, reads: Iterable[Path | str] = (), writes: Iterable[Path | str] = ()) -> None:
        """Its workers are in this process, and see what it sees."""

    def run(
        self,
        function: Callable[[Any], Any],
        tasks: Iterable[Any],
        initialise: Callable[..., None] | None = None,
        arguments: tuple[Any, ...] = (),
    ) -> Iterator[Any]:
        numbers = random.Random(self.seed)
        if initialise is not None:
            initialise(*arguments)
        waiting, taken, done = iter(tasks), list[Any](), 0
        while taken := taken + list(islice(waiting, 6 - len(taken))):
            if done == self.stops_after:
                raise KeyboardInterrupt
            done += 1
            yield function(taken.pop(numbers.randrange(len(taken))))


def made_up_corpus(count: int) -> SampleCorpus:
    """Clips that nobody reads: their features are made up."""
    splits = ("train", "valid", "test")
    clips = tuple(SampleClip(f"clip {n}", splits[n % 3], f"row {n}", None, {}, Path()) for n in reversed(range(count)))
    return SampleCorpus(Path("made up"), clips, None, "c" * 64)


def made_up_features(clip_id: str) -> dict[str, Array]:
    numbers = np.random.default_rng(int(clip_id.split()[1]))
    lengths = {"imu": int(numbers.integers(0, 4)), "talk": int(numbers.integers(1, 3))}
    values = {name: numbers.normal(size=(lengths[name], key.feature_dim)) for name, key in KEYS.items()}
    return {name: rows * (1e6 if clip_id.endswith("7") else 1.0) for name, rows in values.items()}


def write_made_up(
    place: StorePlace, corpus: SampleCorpus, pool: Disorderly = Disorderly(0), unreadable: Iterable[str] = ()
) -> FeatureStore:
    """Make a store of made-up features, or go on with one."""
    labels = {clip.id: (float(clip.id.split()[1]), float("nan")) for clip in corpus.clips}

    def work(task: SampleClip | ShardPlan) -> Any:
        if isinstance(task, ShardPlan):
            return assemble_shard(task)
        if task.id not in unreadable:
            write_pending(place, task.id, made_up_features(task.id), ("no imu",) if task.id.endswith("3") else ())
        return task.id

    with write_store(place, corpus, labels, KEYS, {"longest_s": "60"}) as writer:
        for done in pool.run(work, writer.tasks()):
            if not isinstance(done, str):
                writer.add_shard(done)
            elif done in unreadable:
                writer.leave_out(done, "not a video")
            else:
                writer.add(done)
        for plan in list(writer.rest()):
            writer.add_shard(assemble_shard(plan))
        return writer.finish()


def write_older(store: Path, folder: Path, complete: bool = True, shards: int = 2) -> Path:
    """Write a store of schema 1: every clip in `index.json`, shards by who finished first."""
    from safetensors.numpy import save_file

    from taemi_edge.bundle.folder import sha256_of

    folder.mkdir()
    opened = open_store(store)
    index = json.loads((store / "index.json").read_text())
    index |= {"schema": 1, "complete": complete, "clips": {}, "shards": {}}
    clips = sorted(opened.read(), key=lambda clip: clip.id[::-1])
    for number in range(shards):
        name = f"shard-{number:05d}.safetensors"
        members = clips[number::shards]
        tensors = {f"{c.id}.{m}": v for c in members for m, v in c.features.items() if len(v)}
        save_file(tensors, folder / name)
        index["shards"][name] = sha256_of(folder / name)
        for clip in members:
            entry = {"split": clip.entry.split, "labels": clip.entry.labels, "shard": name, "steps": clip.entry.steps}
            index["clips"][clip.id] = {**entry, "remarks": clip.entry.remarks}
    (folder / "index.json").write_text(json.dumps(index, indent=1))
    return folder

"""Tables, arrays and pickles of numbers, and what lies in a corpus and in a feature store."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from taemi_edge.bundle.outputs import RegressionSpec
from taemi_edge.corpora.feature_store import FeatureStore, open_store
from taemi_edge.corpora.pickled_features import load_array
from taemi_edge.corpora.recorded_clips import LOSSES, open_recorded
from taemi_edge.corpora.sample_corpus import open_samples
from taemi_edge.corpora.store_index import INDEX, decoded_shard_index, decoded_store_index, split_counts
from taemi_edge.corpora.store_lock import decoded_lock, named
from taemi_edge.corpora.store_place import LocalPlace
from taemi_edge.media.npz_files import read_array
from taemi_edge.media.series import read_streams
from taemi_edge.taemi.vidmimic2 import open_corpus
from tests.fuzz.harness import SEEDS, Harness, as_file, scratch
from tests.fuzz.mutation.binary import mutate_archive, mutate_npy, mutate_pickle
from tests.fuzz.mutation.plain import mutate_text
from tests.fuzz.mutation.trees import mutate_json, mutate_json_lines

#: A feature store of three clips.
LITTLE_STORE = SEEDS.parent / "little_store"


def _series(ending: str) -> Callable[[bytes], object]:
    def read(content: bytes) -> None:
        file = as_file(content, f"imu{ending}")
        for series in (read_streams(file, {"imu": 2}) | read_streams(file, {"imu": 2, "pulse": 1})).values():
            assert np.isfinite(series.rows).all()
            assert np.isfinite(series.times_s).all()
            assert series.end_s >= series.times_s[0]

    return read


def _npy(content: bytes) -> None:
    assert read_array(as_file(content, "token.npy")).nbytes <= len(content)


def _in_folder(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """Read a folder that holds one file."""

    def run(content: bytes) -> None:
        Path(scratch().name, name.partition(".")[0]).mkdir(exist_ok=True)
        read(as_file(content, f"{name.partition('.')[0]}/{name}").parent)

    return run


def _samples(folder: Path) -> None:
    corpus = open_samples(folder)
    for clip in corpus.clips if corpus else ():
        clip.labels({"load": RegressionSpec(names=("load",))})


def _store(folder: Path) -> None:
    """Open a store; of an older one, look at every clip: they stand in the same file."""
    for number in range(2):
        for ending in ("json", "safetensors"):
            (folder / f"shard-{number:05d}.{ending}").touch()
    store = open_store(folder)
    if store.index.schema == 1:
        assert len(store.ids("all")) == store.count("all")


def _store_shard(content: bytes) -> None:
    """Read clips by an index that anybody may have written: each has the features that it says, or it is refused."""
    Path(scratch().name, "store").mkdir(exist_ok=True)
    as_file((LITTLE_STORE / "shard-00000.safetensors").read_bytes(), "store/shard-00000.safetensors")
    place = LocalPlace(as_file(content, "store/shard-00000.json").parent)
    table = decoded_store_index(INDEX, (LITTLE_STORE / INDEX).read_bytes())[0]
    shard = decoded_shard_index("shard", content, table.encoders)
    digest, splits = sha256(content).hexdigest(), split_counts(shard)
    row = replace(table.shards[0], index_sha256=digest, splits=splits, clips=len(shard.clips))
    for clip in FeatureStore(place, replace(table, shards=(row,))).read():
        assert all(len(values) == clip.entry.steps[name] for name, values in clip.features.items())


def _store_lock(content: bytes) -> None:
    """A lock is taken over only where its process is known to be dead or its content stays the same."""
    holder = decoded_lock(content)
    assert holder is None or named(holder).isprintable()


def _pickle(content: bytes) -> None:
    array = load_array(as_file(content, "rows.pkl"))
    assert array.dtype.kind in "fiu"
    float(array.sum(dtype=np.float64))


HARNESSES = (
    Harness("series-csv", _series(".csv"), mutate_text),
    Harness("series-npz", _series(".npz"), mutate_archive),
    Harness("npy", _npy, mutate_npy, share=0.5),
    Harness("samples-csv", _in_folder("samples.csv", _samples), mutate_text),
    Harness("labels", _in_folder("train_split.csv", open_corpus), mutate_text),
    Harness("losses", _in_folder(LOSSES, open_recorded), mutate_json_lines, share=0.5),
    Harness("store-index", _in_folder(INDEX, _store), mutate_json, share=0.5),
    Harness("store-shard", _store_shard, mutate_json, share=0.5),
    Harness("store-lock", _store_lock, mutate_json, share=0.2),
    Harness("pickle", _pickle, mutate_pickle, share=2),
)

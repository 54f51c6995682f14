"""Tables, arrays and pickles of numbers, and what lies in a corpus and in a feature store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from taemi_edge.bundle.outputs import RegressionSpec
from taemi_edge.corpora.feature_store import INDEX, open_store
from taemi_edge.corpora.pickled_features import load_array
from taemi_edge.corpora.recorded_clips import LOSSES, open_recorded
from taemi_edge.corpora.sample_corpus import open_samples
from taemi_edge.media.npz_files import read_array
from taemi_edge.media.series import read_streams
from taemi_edge.taemi.vidmimic2 import open_corpus
from tests.fuzz.harness import Harness, as_file, scratch
from tests.fuzz.mutation.binary import mutate_archive, mutate_npy, mutate_pickle
from tests.fuzz.mutation.plain import mutate_text
from tests.fuzz.mutation.trees import mutate_json, mutate_json_lines


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
    Harness("store-index", _in_folder(INDEX, open_store), mutate_json, share=0.5),
    Harness("pickle", _pickle, mutate_pickle, share=2),
)

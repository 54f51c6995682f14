"""Samples of any model: tables and files of arrays, their labels, and what cannot be a sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.bundle.outputs import ClassesSpec, RegressionSpec
from taemi_edge.corpora.opening import find_corpus, open_any_corpus
from taemi_edge.corpora.sample_corpus import SampleClip, open_samples
from taemi_edge.errors import CorpusError, InputError
from tests.parity.toy_model import OUTPUTS, STREAMS, sample

TAGS = {"tags": ClassesSpec(names=("wind", "rain"), exclusive=False), "force": RegressionSpec(names=("newton",))}


def table(folder: Path, *lines: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "samples.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_a_row_of_a_table_is_a_sample(tmp_path: Path):
    folder = table(
        tmp_path,
        "id,split,front,pulse.0,label/door,mood.valence,mood.arousal,_note",
        "a,train,a.mp4,61,shut,0.5,-0.5,first",
        "b,valid,,,2,,0.25,second",
    )
    corpus = open_samples(folder)
    first, second = corpus.clips
    assert [(clip.id, clip.split) for clip in corpus.clips] == [("a", "train"), ("b", "valid")]
    assert first.labels(OUTPUTS) == (0.5, -0.5, 1.0)
    assert second.labels(OUTPUTS)[1:] == (0.25, 2.0)
    assert np.isnan(second.labels(OUTPUTS)[0])  # an empty cell is a label that nobody knows
    assert dict(second.cells) == {"label/door": "2", "mood.arousal": "0.25"}
    first.require_names(STREAMS, OUTPUTS)


def test_files_of_arrays_are_samples_with_the_split_of_their_folder(tmp_path: Path):
    (tmp_path / "train").mkdir()
    np.savez(tmp_path / "train" / "one.npz", **sample(0), **{"label/door": np.array("ajar"), "label/mood": [0.1, 0.2]})
    (tmp_path / "valid").mkdir()
    np.savez(tmp_path / "valid" / "one.npz", **{"label/door": 0})  # the same name in another split
    np.savez(tmp_path / "two.npz", **{"label/door": 0})
    corpus = find_corpus(tmp_path)
    assert [(clip.id, clip.split) for clip in corpus.clips] == [
        ("train-one", "train"),
        ("valid-one", "valid"),
        ("two", "test"),
    ]
    assert corpus.clips[0].labels(OUTPUTS) == pytest.approx((0.1, 0.2, 2.0))
    before = corpus.labels_sha256
    np.savez(tmp_path / "two.npz", **{"label/door": 1})
    assert find_corpus(tmp_path).labels_sha256 != before


def test_classes_that_may_be_together_have_a_column_each(tmp_path: Path):
    folder = table(tmp_path, "tags.wind,tags.rain,label/force", "1,0,2.5")
    assert open_samples(folder).clips[0].labels(TAGS) == (1.0, 0.0, 2.5)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("id,split", "a,dev"), "row 1: expected the split train, valid, test, got 'dev'"),
        (("id", "a", "a"), "expected each sample once, got 'a' again"),
        (("id", "../a"), "expected an id that can be a file's name, got '../a'"),
        (("id", "a" * 241), "expected an id that can be a file's name, got 'aaaa"),
        (("a,a", "1,2"), "each with a name of its own, got 'a' twice"),
        (("a,b", "1"), "line 2: expected 2 cells, got 1"),
        (("a,", "1,2"), "got a column without a name"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_sentence(tmp_path: Path, lines: tuple[str, ...], message: str):
    with pytest.raises(CorpusError, match=message):
        open_samples(table(tmp_path, *lines))


def test_an_id_with_a_zero_is_refused(tmp_path: Path):
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    parquet.write_table(pyarrow.table({"id": ["a\0b"]}), tmp_path / "samples.parquet")
    with pytest.raises(CorpusError, match="expected an id that can be a file's name"):
        open_samples(tmp_path)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"label/door": "closed"}, "label/door: expected one of open, shut, ajar, or its number, got 'closed'"),
        ({"label/door": "3"}, "or its number, got '3'"),
        ({"door.open": "1"}, "expected label/door with the name of a class"),
        ({"mood.valence": "high"}, "mood.valence: expected a number, got 'high'"),
        ({"label/mood": "0.5"}, "label/mood: expected 2 numbers, got 1"),
    ],
)
def test_a_label_of_something_else_is_one_sentence(cells: dict[str, str], message: str):
    clip = SampleClip("a", "test", "row 1", None, cells, Path())
    with pytest.raises(CorpusError, match=f"^row 1: .*{message}"):
        clip.labels(OUTPUTS)


def test_a_column_of_nothing_is_one_sentence():
    clip = SampleClip("a", "test", "row 1", None, {"imu0": "1"}, Path())
    with pytest.raises(CorpusError, match="expected columns of front, .*, door, got 'imu0': a name that begins with _"):
        clip.require_names(STREAMS, OUTPUTS)


def test_nothing_and_a_damaged_file_are_one_sentence(tmp_path: Path):
    with pytest.raises(CorpusError, match="expected a corpus with train_split.csv, samples.csv.*, found nothing"):
        open_any_corpus(tmp_path / "none")
    with pytest.raises(CorpusError, match="found a folder without"):
        open_any_corpus(tmp_path)
    (tmp_path / "a.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"a.npz: expected an npz file of arrays"):
        open_any_corpus(tmp_path).clips[0].labels(OUTPUTS)


@given(st.text(alphabet="abc.,\"'\n/01é ", max_size=60))
def test_any_text_is_a_table_or_one_sentence(tmp_path_factory: pytest.TempPathFactory, text: str):
    folder = tmp_path_factory.mktemp("table")
    (folder / "samples.csv").write_text(text, encoding="utf-8")
    try:
        corpus = open_samples(folder)
        for clip in corpus.clips if corpus else ():
            clip.labels(OUTPUTS)
    except CorpusError:
        pass


def test_a_table_can_be_parquet(tmp_path: Path):
    pyarrow = pytest.importorskip("pyarrow", reason="Parquet is read with pyarrow")
    from pyarrow import parquet

    rows = pyarrow.table({"id": ["a"], "label/door": ["ajar"], "imu": [[[1.0, 2.0, 3.0]] * 4]})
    parquet.write_table(rows, tmp_path / "samples.parquet")
    [clip] = open_samples(tmp_path).clips
    assert clip.labels(OUTPUTS)[-1] == 2.0
    assert np.shape(clip.cells["imu"]) == (4, 3)


def test_labels_of_files_are_known_without_reading_their_other_arrays(tmp_path: Path):
    """A corpus of many large files is opened by the ends of its files."""
    arrays = sample(0) | {"label/door": np.array("ajar"), "label/mood": np.array([0.1, 0.2])}
    np.savez(tmp_path / "one.npz", **arrays)
    whole = open_samples(tmp_path)
    content = bytearray((tmp_path / "one.npz").read_bytes())
    at = content.index(b"NUMPY", content.index(next(name for name in arrays if "label" not in name).encode()))
    content[at : at + 5] = b"XXXXX"
    (tmp_path / "one.npz").write_bytes(content)
    damaged = open_samples(tmp_path)
    assert damaged.labels_sha256 == whole.labels_sha256
    assert damaged.clips[0].labels(OUTPUTS) == pytest.approx((0.1, 0.2, 2.0))
    with pytest.raises(InputError, match="cannot read it"):
        damaged.clips[0].arrays()
    assert damaged.older_labels_sha256() != whole.labels_sha256
    (tmp_path / "one.npz").write_bytes(b"no archive")
    assert len(open_samples(tmp_path).labels_sha256) == 64

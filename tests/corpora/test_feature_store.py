"""Feature stores: read shard by shard, refused where they were changed, and never written among other files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from taemi_edge.bundle.folder import open_bundle, sha256_of
from taemi_edge.corpora import store_writer
from taemi_edge.corpora.clip_reading import Reading
from taemi_edge.corpora.feature_store import INDEX, open_store
from taemi_edge.corpora.store_place import LocalPlace
from taemi_edge.errors import InputError, StoreError
from taemi_edge.taemi.names import MODALITIES
from tests.corpora.label_files import ROW, write_labels
from tests.corpora.stores import KEYS, extracted, made_up_corpus, write_made_up, write_older


def test_a_store_of_another_chunking_corpus_or_reading_is_refused(
    corpus_folder, store_folder, tiny_folder, tmp_path, demo_video
):
    copy = tmp_path / "store"
    shutil.copytree(store_folder, copy)
    with pytest.raises(StoreError, match=r"was read otherwise .*longest_s: 60.*now longest_s: 9"):
        extracted(corpus_folder, tiny_folder, copy, reading=Reading(longest_s=9.0))
    other = write_labels(tmp_path / "other", f"1,{ROW}")
    with pytest.raises(StoreError, match="other label files"):
        extracted(other, tiny_folder, copy)
    index = (copy / INDEX).read_text()
    audio = open_store(copy).index.encoders["audio"].sha256
    (copy / INDEX).write_text(index.replace(audio, "0" * 64))
    with pytest.raises(StoreError, match=r"audio features of another encoder or chunking .*chunk_s 0.5"):
        extracted(corpus_folder, tiny_folder, copy)
    assert sorted(f.name for f in copy.iterdir()) == [INDEX, "shard-00000.json", "shard-00000.safetensors"]


@pytest.mark.parametrize("file", ["shard-00001.safetensors", "shard-00001.json"])
@pytest.mark.parametrize("damage", ["changed", "truncated", "emptied"])
def test_a_changed_shard_is_refused_when_it_is_read(tmp_path, file: str, damage: str, monkeypatch):
    monkeypatch.setattr(store_writer, "CLIPS_A_SHARD", 5)
    write_made_up(LocalPlace(tmp_path / "s"), made_up_corpus(12))
    content = bytearray((tmp_path / "s" / file).read_bytes())
    content[-3] ^= 1
    (tmp_path / "s" / file).write_bytes({"changed": content, "truncated": content[:50], "emptied": b""}[damage])
    store = open_store(tmp_path / "s")  # nothing large is read here
    reading, read = store.read(), []
    with pytest.raises(StoreError, match=f"{file} is not the file that was written"):
        read.extend(clip.id for clip in reading)
    assert len(read) in (0, 5)  # the first shard is whole
    assert len(list(store.features(["clip 11", "clip 8"]))) == 2
    (tmp_path / "s" / file).unlink()
    with pytest.raises(StoreError, match=f"{file} is missing"):
        list(store.read())
    with pytest.raises(StoreError, match=f"{file} is missing"):
        open_store(tmp_path / "s")


def test_a_shard_that_holds_other_arrays_than_its_index_says_is_refused(tmp_path):
    """A store whose hashes are right, and whose content was made to mislead."""
    write_made_up(LocalPlace(tmp_path / "s"), made_up_corpus(3))
    whole = load_file(tmp_path / "s" / "shard-00000.safetensors")
    key, values = next((key, values) for key, values in whole.items() if key.endswith("talk"))
    for said, changed in (
        ("lacks the talk of a clip", {k: v for k, v in whole.items() if k != key}),
        (r"expected talk features of shape \(\d, 2\), got float16 of shape \(\d, 1\)", {**whole, key: values[:, :1]}),
        (r"expected talk features of shape \(\d, 2\), got int8", {**whole, key: values.astype(np.int8)}),
        (r"expected finite talk features", {**whole, key: values * np.nan}),
    ):
        save_file({k: np.ascontiguousarray(v) for k, v in changed.items()}, tmp_path / "s" / "shard-00000.safetensors")
        sign_again(tmp_path / "s")
        with pytest.raises(StoreError, match=said):
            list(open_store(tmp_path / "s").read())
    (tmp_path / "s" / "shard-00000.safetensors").write_bytes(b"not tensors")
    sign_again(tmp_path / "s")
    with pytest.raises(StoreError, match=r"shard-00000.safetensors is no safetensors file"):
        list(open_store(tmp_path / "s").read())


def sign_again(folder: Path) -> None:
    """Put the hash of the shard as it is into both indexes."""
    shard, index = (json.loads((folder / name).read_text()) for name in ("shard-00000.json", INDEX))
    shard["sha256"] = index["shards"][0]["sha256"] = sha256_of(folder / "shard-00000.safetensors")
    (folder / "shard-00000.json").write_text(json.dumps(shard))
    index["shards"][0]["index_sha256"] = sha256_of(folder / "shard-00000.json")
    (folder / INDEX).write_text(json.dumps(index))


def test_splits_and_clips_are_found_by_the_indexes_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(store_writer, "CLIPS_A_SHARD", 5)
    store = write_made_up(LocalPlace(tmp_path / "s"), made_up_corpus(12))
    for shard in (tmp_path / "s").glob("*.safetensors"):
        shard.write_bytes(b"")
    assert store.splits == {"test": 4, "train": 4, "valid": 4}
    assert store.ids("train") == ["clip 0", "clip 3", "clip 6", "clip 9"]
    assert [clip_id for clip_id, _ in store.clips("train")] == ["clip 9", "clip 6", "clip 3", "clip 0"]
    with pytest.raises(StoreError, match="expected clips in the split 'dev', found test, train, valid"):
        store.require_split("dev")
    with pytest.raises(StoreError, match="got 'clip 99', which it lacks"):
        list(store.features(["clip 99"]))


def test_stores_of_an_older_version_are_read(tmp_path):
    new = write_made_up(LocalPlace(tmp_path / "new"), made_up_corpus(12), unreadable=["clip 2"])
    older = write_older(tmp_path / "new", tmp_path / "older", shards=3)
    store = open_store(older)
    assert (store.splits, store.index.problems) == (new.splits, new.index.problems)
    assert dict(store.clips()) == dict(new.clips())
    ours, theirs = ({c.id: c.features for c in s.read("test")} for s in (store, new))
    assert all(np.array_equal(ours[i][m], theirs[i][m]) for i in theirs for m in KEYS)
    (older / "shard-00002.safetensors").write_bytes(b"")
    with pytest.raises(StoreError, match=r"shard-00002.safetensors is not the file that was written"):
        list(open_store(older).read())
    index = json.loads((older / INDEX).read_text())
    (older / INDEX).write_text(json.dumps({**index, "complete": False}))
    with pytest.raises(StoreError, match="expected a complete store"):
        open_store(older)


def test_open_bundle_is_what_keys_are_made_of(tiny_folder):
    assert set(open_bundle(tiny_folder).manifest.provenance.encoder_sha256) == set(MODALITIES)
    assert issubclass(StoreError, InputError)


def test_files_that_are_no_stores_are_left_alone(corpus_folder, tiny_folder, tmp_path):
    mine = tmp_path / "thesis"
    mine.mkdir()
    (mine / "chapter.txt").write_text("x")
    with pytest.raises(StoreError, match=r"holds other files \(chapter.txt\) and no feature store"):
        extracted(corpus_folder, tiny_folder, mine)
    with pytest.raises(StoreError, match="got a file"):
        extracted(corpus_folder, tiny_folder, mine / "chapter.txt")
    assert [entry.name for entry in mine.iterdir()] == ["chapter.txt"]

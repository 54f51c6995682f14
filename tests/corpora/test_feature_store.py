"""Feature stores: whole after a kill, refused where they were changed, and never written among other files."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from taemi_edge.bundle.folder import open_bundle
from taemi_edge.corpora.clip_reading import Reading
from taemi_edge.corpora.feature_store import INDEX, PENDING, open_store, write_pending
from taemi_edge.errors import InputError, StoreError
from taemi_edge.taemi.names import MODALITIES
from tests.corpora.label_files import ROW, write_labels
from tests.corpora.stores import extracted, same_features


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
    assert sorted(f.name for f in copy.iterdir()) == [INDEX, "shard-00000.safetensors"]


def test_a_changed_or_missing_shard_is_refused(store_folder, tmp_path):
    copy = tmp_path / "store"
    shutil.copytree(store_folder, copy)
    shard = copy / "shard-00000.safetensors"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(StoreError, match=r"shard-00000.safetensors is not the file that was written"):
        open_store(copy)
    shard.unlink()
    with pytest.raises(StoreError, match="is missing"):
        open_store(copy)


def test_open_bundle_is_what_keys_are_made_of(tiny_folder):
    assert set(open_bundle(tiny_folder).manifest.provenance.encoder_sha256) == set(MODALITIES)
    assert issubclass(StoreError, InputError)


@pytest.mark.once
@pytest.mark.parametrize("moment", ["a shard without its index", "an index before its pending clips went"])
def test_a_kill_while_a_shard_is_written_loses_nothing(corpus_folder, store_folder, tiny_folder, tmp_path, moment):
    """Both orders in which a shard, its index and its pending clips can be found after a kill."""
    copy = tmp_path / "store"
    shutil.copytree(store_folder, copy)
    index = json.loads((copy / INDEX).read_text())
    (copy / PENDING).mkdir()
    for clip_id, features in open_store(store_folder).features(list(index["clips"])[:4]):
        write_pending(copy, clip_id, features, tuple(index["clips"][clip_id]["remarks"]))
    (copy / PENDING / ".draft-1-00009.safetensors").write_bytes(b"half")
    (copy / PENDING / "00013.safetensors").write_bytes(b"torn")
    index["complete"] = False
    if moment.startswith("a shard"):
        index["clips"], index["shards"] = {}, {}
    (copy / INDEX).write_text(json.dumps(index))
    assert same_features(extracted(corpus_folder, tiny_folder, copy), open_store(store_folder))
    assert sorted(f.name for f in copy.iterdir()) == [INDEX, "shard-00000.safetensors"]


def test_files_that_are_no_stores_are_left_alone(corpus_folder, tiny_folder, tmp_path):
    mine = tmp_path / "thesis"
    mine.mkdir()
    (mine / "chapter.txt").write_text("x")
    with pytest.raises(StoreError, match=r"holds other files \(chapter.txt\) and no feature store"):
        extracted(corpus_folder, tiny_folder, mine)
    with pytest.raises(StoreError, match="got a file"):
        extracted(corpus_folder, tiny_folder, mine / "chapter.txt")
    assert [entry.name for entry in mine.iterdir()] == ["chapter.txt"]


def test_features_that_half_precision_cannot_hold_are_kept_whole(tmp_path):
    from safetensors.numpy import load_file

    (tmp_path / PENDING).mkdir()
    write_pending(tmp_path, "a", {"small": np.full((1, 2), 0.5), "large": np.full((1, 2), 1e5)}, ())
    kept = load_file(tmp_path / PENDING / "a.safetensors")
    assert {name: value.dtype for name, value in kept.items()} == {"small": np.float16, "large": np.float32}
    assert kept["large"].tolist() == [[1e5, 1e5]]

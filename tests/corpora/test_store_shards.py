"""Shards as workers write them: features that need more than half precision, and work that is done twice."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file

from taemi_edge.corpora.store_index import StoreIndex
from taemi_edge.corpora.store_place import LocalPlace
from taemi_edge.corpora.store_shards import PENDING, ShardMember, ShardPlan, assemble_shard, write_pending
from taemi_edge.errors import StoreError
from tests.corpora.stores import KEYS, contents, made_up_features


def test_features_that_half_precision_cannot_hold_are_kept_whole(tmp_path):
    write_pending(LocalPlace(tmp_path), "a", {"small": np.full((1, 2), 0.5), "large": np.full((1, 2), 1e5)}, ())
    kept = load_file(tmp_path / PENDING / "a.safetensors")
    assert {name: value.dtype for name, value in kept.items()} == {"small": np.float16, "large": np.float32}
    assert kept["large"].tolist() == [[1e5, 1e5]]


def plan(place: LocalPlace, *ids: str) -> ShardPlan:
    index = StoreIndex(
        schema=2, corpus="c", synthetic=True, labels_sha256="", encoders=KEYS, reading={}, complete=False, shards=(),
        problems={},
    )  # fmt: skip
    return ShardPlan(place, 0, tuple(ShardMember(i, "train", (0.5, None)) for i in ids), index)


def test_a_shard_that_is_put_together_twice_is_the_same(tmp_path):
    """A worker that was thought to be dead may still write: a second one does the same work."""
    place = LocalPlace(tmp_path / "s")
    for clip_id in ("clip 1", "clip 2"):
        write_pending(place, clip_id, made_up_features(clip_id), ())
    row = assemble_shard(plan(place, "clip 1", "clip 2"))
    before = contents(tmp_path / "s")
    assert assemble_shard(plan(place, "clip 1", "clip 2")) == row
    write_pending(place, "clip 2", made_up_features("clip 2"), ())
    assert assemble_shard(plan(place, "clip 1", "clip 2")) == row
    assert contents(tmp_path / "s") == before
    with pytest.raises(StoreError, match=r"pending/clip 3.safetensors is missing"):
        assemble_shard(plan(place, "clip 1", "clip 2", "clip 3"))


def test_a_clip_that_is_damaged_while_it_waits_is_said(tmp_path):
    place = LocalPlace(tmp_path / "s")
    place.write("pending/clip 1.safetensors", b"torn")
    with pytest.raises(StoreError, match=r"pending/clip 1.safetensors is damaged: delete it"):
        assemble_shard(plan(place, "clip 1"))

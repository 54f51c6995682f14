"""Indexes of stores: written the same for the same content, and read as if a stranger had written them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taemi_edge.corpora.feature_store import INDEX, open_store
from taemi_edge.corpora.store_index import (
    StoreIndex,
    decoded_shard_index,
    decoded_store_index,
    encoded,
    shard_name,
    shard_number,
)
from taemi_edge.corpora.store_place import LocalPlace
from taemi_edge.errors import StoreError
from tests.corpora.stores import KEYS, made_up_corpus, write_made_up, write_older

ENTRY = {"split": "train", "labels": [0.5, None], "steps": {"imu": 3, "talk": 0}, "remarks": ["no talk"]}
SHARD = {"schema": 2, "sha256": "e" * 64, "clips": {"a": ENTRY, "b": ENTRY}}


@pytest.mark.parametrize("number", [0, 7, 99_999, 100_000, 10**8])
def test_shards_have_names(number: int):
    assert shard_number(shard_name(number)) == number


@pytest.mark.parametrize(
    "name",
    [
        "",
        "shard-1",
        "shard-000001",
        "shard-00001/..",
        "../shard-00001",
        "shard-00001\n",
        "shard-\u0660\u0660\u0660\u0660\u0661",
        "x",
    ],
)
def test_other_names_are_no_shards(name: str):
    assert shard_number(name) is None


def test_an_index_is_read_as_it_was_written(tmp_path):
    write_made_up(LocalPlace(tmp_path / "s"), made_up_corpus(4))
    content = (tmp_path / "s" / INDEX).read_bytes()
    index, shards = decoded_store_index("here", content)
    assert (encoded(index), shards) == (content, None)
    content = (tmp_path / "s" / "shard-00000.json").read_bytes()
    assert encoded(decoded_shard_index("here", content, KEYS)) == content


def changed(value: dict[str, Any], where: str, to: Any) -> dict[str, Any]:
    """A copy of nested tables and lists in which one value is another."""
    copy = json.loads(json.dumps(value))
    *path, last = where.split(".")
    place: Any = copy
    for key in path:
        place = place[int(key)] if isinstance(place, list) else place[key]
    place[int(last) if isinstance(place, list) else last] = to
    return copy


@pytest.mark.parametrize(
    ("where", "to", "said"),
    [
        ("schema", 3, "expected schema 2 or 1, got 3"),
        ("shards.0.name", "../../etc/passwd", "expected shards such as shard-00000"),
        ("shards.0.name", "shard-1", "expected shards such as shard-00000"),
        ("shards.0.sha256", "x", "expected the index of a feature store"),
        ("shards.0.clips", -1, "expected the index of a feature store"),
        ("shards.0.splits", {"dev": 1}, "expected the index of a feature store"),
        ("encoders.imu.feature_dim", 0, "expected features of 1 to"),
        ("encoders.imu.feature_dim", 10**15, "expected features of 1 to"),
        ("more", 1, "expected the index of a feature store"),
    ],
)
def test_a_table_that_nobody_writes_is_refused(tmp_path, where: str, to: Any, said: str):
    write_made_up(LocalPlace(tmp_path / "s"), made_up_corpus(4))
    index = json.loads((tmp_path / "s" / INDEX).read_text())
    (tmp_path / "s" / INDEX).write_text(json.dumps(changed(index, where, to)))
    with pytest.raises(StoreError, match=said):
        open_store(tmp_path / "s")


def test_shards_in_disorder_and_twice_are_refused(tmp_path):
    write_made_up(LocalPlace(tmp_path / "s"), made_up_corpus(4))
    index = json.loads((tmp_path / "s" / INDEX).read_text())
    [row] = index["shards"]
    for names in (["shard-00001", "shard-00000"], ["shard-00000", "shard-00000"]):
        content = json.dumps({**index, "shards": [{**row, "name": name} for name in names]}).encode()
        with pytest.raises(StoreError, match="in order, each once"):
            decoded_store_index("here", content)


@pytest.mark.parametrize(
    ("where", "to", "said"),
    [
        ("schema", 1, "expected schema 2, got 1"),
        ("clips.a.steps", {"imu": 3}, "clip 'a': expected a length for each stream"),
        ("clips.a.steps.imu", -3, "expected the index of a feature store"),
        ("clips.a.steps.imu", 2**50, "expected the index of a feature store"),
        ("clips.a.labels", [0.5], "expected as many labels for each clip, got 1 and 2"),
        ("clips.a.split", "dev", "expected the index of a feature store"),
        ("clips", [], "expected the index of a feature store"),
    ],
)
def test_an_index_of_a_shard_that_nobody_writes_is_refused(where: str, to: Any, said: str):
    assert list(decoded_shard_index("here", json.dumps(SHARD).encode(), KEYS).clips) == ["a", "b"]
    with pytest.raises(StoreError, match=f"here: .*{said}"):
        decoded_shard_index("here", json.dumps(changed(SHARD, where, to)).encode(), KEYS)


@pytest.mark.parametrize(
    ("where", "to", "said"),
    [
        ("shards", {"../shard-00000.safetensors": "e" * 64}, "got '../shard-00000.safetensors'"),
        ("clips.clip 1.shard", "shard-00009.safetensors", "which is no shard of it"),
        ("clips.clip 1.steps", {"imu": 3}, "clip 'clip 1': expected a length for each stream"),
        ("clips.clip 1.labels", [], "expected as many labels"),
    ],
)
def test_an_older_index_that_nobody_wrote_is_refused(tmp_path, where: str, to: Any, said: str):
    write_made_up(LocalPlace(tmp_path / "s"), made_up_corpus(4))
    older = json.loads((write_older(tmp_path / "s", tmp_path / "older") / INDEX).read_text())
    assert isinstance(decoded_store_index("here", json.dumps(older).encode())[0], StoreIndex)
    with pytest.raises(StoreError, match=said):
        decoded_store_index("here", json.dumps(changed(older, where, to)).encode())

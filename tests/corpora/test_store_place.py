"""Places of feature stores: files appear whole, names are told apart from drafts, and one of two creates a file."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

from taemi_edge.corpora.store_place import LocalPlace, open_place
from taemi_edge.errors import OutputError, StoreError


def test_a_file_is_written_read_listed_and_deleted(tmp_path):
    place = open_place(tmp_path / "store")
    assert place.names() == []
    place.write("pending/a b.safetensors", b"1")
    place.write("index.json", b"{}")
    assert place.names() == ["index.json", "pending/"]
    assert place.names("pending") == ["a b.safetensors"]
    assert place.exists("index.json")
    assert not place.exists("pending")
    assert place.read("pending/a b.safetensors") == b"1"
    with place.local("index.json") as file:
        assert file.read_bytes() == b"{}"
    for name in ("pending", "pending/a b.safetensors", "pending", "pending"):
        place.delete(name)
    assert place.names() == ["index.json"]
    assert pickle.loads(pickle.dumps(place)) == place  # noqa: S301 - it was pickled here
    assert str(place) == str(tmp_path / "store")


def test_what_is_missing_is_said_in_one_sentence(tmp_path):
    with pytest.raises(StoreError, match="index.json is missing"):
        LocalPlace(tmp_path).read("index.json")


def test_a_draft_that_fails_leaves_what_was_there(tmp_path):
    place = LocalPlace(tmp_path)
    place.write("index.json", b"old")
    with pytest.raises(RuntimeError), place.draft("index.json") as draft:
        draft.write_bytes(b"half")
        assert place.names() == ["index.json"]
        raise RuntimeError
    assert place.read("index.json") == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["index.json"]


def test_one_of_many_creates_a_file(tmp_path):
    place = LocalPlace(tmp_path / "store")
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda n: place.create("writer.lock", str(n).encode()), range(8)))
    assert made.count(True) == 1
    assert place.read("writer.lock") == str(made.index(True)).encode()
    assert place.names() == ["writer.lock"]


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("x")
    for write in (LocalPlace(tmp_path / "file").write, LocalPlace(tmp_path / "file").create):
        with pytest.raises(OutputError, match="a file stands where its folder should be"):
            write("index.json", b"{}")

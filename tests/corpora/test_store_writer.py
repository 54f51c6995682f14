"""Stores are the same byte for byte, whatever made them: in any order, after any kill, after clips that failed."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from taemi_edge.bundle import atomic, drafts
from taemi_edge.corpora import store_writer
from taemi_edge.corpora.feature_store import INDEX, open_store
from taemi_edge.corpora.sample_corpus import open_samples
from taemi_edge.corpora.store_lock import LOCK
from taemi_edge.corpora.store_place import LocalPlace
from taemi_edge.corpora.store_shards import PENDING, write_pending
from taemi_edge.errors import OutputError, StoreError
from tests.corpora.stores import (
    KEYS,
    Disorderly,
    contents,
    extracted,
    made_up_corpus,
    made_up_features,
    write_made_up,
    write_older,
)

CLIPS = 23
EVERY_FILE = [INDEX, *(f"shard-0000{n}.{ending}" for n in range(5) for ending in ("json", "safetensors"))]


@pytest.fixture(autouse=True)
def _small_shards_and_no_power_cuts(monkeypatch):
    monkeypatch.setattr(store_writer, "CLIPS_A_SHARD", 5)
    monkeypatch.setattr(atomic, "_sync", lambda _: None)  # a disk that is busy takes long to promise that it holds


@pytest.fixture(scope="module")
def in_one_go(tmp_path_factory) -> dict[str, bytes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_writer, "CLIPS_A_SHARD", 5)
        folder = tmp_path_factory.mktemp("stores") / "one go"
        write_made_up(LocalPlace(folder), made_up_corpus(CLIPS))
        return contents(folder)


def test_a_store_holds_what_was_encoded(tmp_path):
    store = write_made_up(LocalPlace(tmp_path / "store"), made_up_corpus(CLIPS))
    assert sorted(contents(tmp_path / "store")) == EVERY_FILE
    assert store.splits == {"test": 7, "train": 8, "valid": 8}
    assert store.count("all") == CLIPS
    found = {clip.id: clip for clip in open_store(tmp_path / "store").read()}
    assert len(found) == CLIPS
    for clip_id, clip in found.items():
        assert clip.entry.labels == (float(clip_id.split()[1]), None)
        assert clip.entry.remarks == (("no imu",) if clip_id.endswith("3") else ())
        for name, values in made_up_features(clip_id).items():
            assert clip.features[name].shape == values.shape == (clip.entry.steps[name], KEYS[name].feature_dim)
            assert np.allclose(clip.features[name], values, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("seed", range(1, 6))
def test_workers_that_finish_in_any_order_make_the_same_files(tmp_path, in_one_go, seed: int):
    write_made_up(LocalPlace(tmp_path / "store"), made_up_corpus(CLIPS), Disorderly(seed))
    assert contents(tmp_path / "store") == in_one_go


@pytest.mark.parametrize("seed", range(4))
def test_a_store_that_was_stopped_again_and_again_ends_as_the_same_files(tmp_path, in_one_go, seed: int):
    for number in range(20):
        failing = [f"clip {(seed + number * n) % CLIPS}" for n in range(3)]
        try:
            write_made_up(LocalPlace(tmp_path / "s"), made_up_corpus(CLIPS), Disorderly(number, 3 + seed), failing)
        except KeyboardInterrupt:
            with pytest.raises(StoreError, match="expected a complete store"):
                open_store(tmp_path / "s")
    write_made_up(LocalPlace(tmp_path / "s"), made_up_corpus(CLIPS), Disorderly(seed))
    assert contents(tmp_path / "s") == in_one_go


def test_clips_that_fail_first_and_succeed_later_leave_no_trace(tmp_path, in_one_go):
    failing = ["clip 0", "clip 9", "clip 10", *(f"clip {n}" for n in range(18, 23))]
    for seed in (1, 2):
        store = write_made_up(LocalPlace(tmp_path / "s"), made_up_corpus(CLIPS), Disorderly(seed), failing)
        assert list(store.index.problems) == [f"clip {n}" for n in (22, 21, 20, 19, 18, 10, 9, 0)]  # of the corpus
        assert [row.name for row in store.index.shards] == [f"shard-0000{n}" for n in (1, 2, 3, 4)]
    assert len(open_store(tmp_path / "s").ids("all")) == CLIPS - len(failing)
    write_made_up(LocalPlace(tmp_path / "s"), made_up_corpus(CLIPS))
    assert contents(tmp_path / "s") == in_one_go


def test_a_complete_store_is_not_written_again(tmp_path):
    write_made_up(LocalPlace(tmp_path / "s"), made_up_corpus(CLIPS), unreadable=["clip 4"])
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "s").iterdir()}
    write_made_up(LocalPlace(tmp_path / "s"), made_up_corpus(CLIPS), unreadable=["clip 4"])
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "s").iterdir()} == before


@pytest.mark.parametrize("lost", [[n] for n in EVERY_FILE[1:4]] + [EVERY_FILE[1:3], EVERY_FILE[1:]])
def test_shards_that_were_deleted_are_written_again_the_same(tmp_path, in_one_go, lost: list[str]):
    write_made_up(LocalPlace(tmp_path / "s"), made_up_corpus(CLIPS))
    for name in lost:
        (tmp_path / "s" / name).unlink()
    with pytest.raises(StoreError, match=r"shard-0000[01]\.[a-z]+ is missing"):
        open_store(tmp_path / "s")
    write_made_up(LocalPlace(tmp_path / "s"), made_up_corpus(CLIPS))
    assert contents(tmp_path / "s") == in_one_go


class Killed(BaseException):
    """What a process meets that is killed."""


@dataclass(frozen=True)
class DyingPlace(LocalPlace):
    """A folder whose process is killed when it changes something for the nth time: before or after it does."""

    left: list[int] = field(default_factory=lambda: [0])
    after: bool = False

    @contextmanager
    def draft(self, name: str) -> Iterator[Path]:
        self._count(self.after)
        with super().draft(name) as draft:
            yield draft
        self._count(not self.after)

    def delete(self, name: str) -> None:
        self._count(self.after)
        super().delete(name)
        self._count(not self.after)

    def _count(self, skipped: bool) -> None:
        if skipped:
            return
        self.left[0] -= 1
        if self.left[0] < 0:
            raise Killed


@pytest.mark.once
@pytest.mark.parametrize("after", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_a_kill_at_any_moment_loses_nothing(tmp_path, after: bool):
    """Each change that a run makes is once the last one of its process; half of the runs go on with a store."""
    corpus, place = made_up_corpus(7), LocalPlace(tmp_path / "whole")
    write_made_up(place, corpus)
    whole = contents(tmp_path / "whole")
    for begun in (False, True):
        for changes in range(100):
            folder = tmp_path / f"{begun} {changes}"
            if begun:  # the first shard gets its second and fourth clip later
                write_made_up(LocalPlace(folder), corpus, unreadable=["clip 5", "clip 3"])
            try:
                write_made_up(DyingPlace(folder, [changes], after), corpus)
                break
            except Killed:
                (folder / LOCK).unlink(missing_ok=True)  # of this process, which is still alive
            write_made_up(LocalPlace(folder), corpus)
            assert contents(folder) == whole, changes
            shutil.rmtree(folder)
        assert changes > (10 if begun else 18)


@pytest.mark.once
@pytest.mark.parametrize("after", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_a_clip_that_waits_beside_a_complete_store_survives_a_second_kill(tmp_path, after: bool):
    """The first kill came between a worker that wrote a clip, and the driver that was to hear of it."""
    corpus = made_up_corpus(7)
    write_made_up(LocalPlace(tmp_path / "whole"), corpus)
    for changes in range(100):
        place = LocalPlace(tmp_path / f"{changes}")
        write_made_up(place, corpus, unreadable=["clip 5"])
        write_pending(place, "clip 5", made_up_features("clip 5"), ())
        try:
            write_made_up(DyingPlace(place.folder, [changes], after), corpus)
            break
        except Killed:
            place.delete(LOCK)  # of this process, which is still alive
        write_made_up(place, corpus)
        assert contents(place.folder) == contents(tmp_path / "whole"), changes
    assert changes > 10


def test_damaged_indexes_are_said_and_what_to_do(tmp_path):
    write_made_up(LocalPlace(tmp_path / "s"), made_up_corpus(CLIPS), unreadable=["clip 4"])
    shard = tmp_path / "s" / "shard-00001.json"
    content = shard.read_bytes()
    for damaged, said in (
        (content[:40], "shard-00001.json.*delete shard-00001.json, and its clips are encoded again"),
        (content.replace(b"clip 17", b"clip 00"), "shard-00001.json is not the file that was written"),
    ):
        shard.write_bytes(damaged)
        with pytest.raises(StoreError, match=said):
            write_made_up(LocalPlace(tmp_path / "s"), made_up_corpus(CLIPS))
    assert sorted(contents(tmp_path / "s")) == EVERY_FILE
    index = json.loads((tmp_path / "s" / INDEX).read_text())
    (tmp_path / "s" / INDEX).write_text(json.dumps({**index, "complete": False, "shards": []}))
    with pytest.raises(StoreError, match="shard-00001.json holds clips that are not this corpus's"):
        write_made_up(LocalPlace(tmp_path / "s"), made_up_corpus(CLIPS))


def test_torn_and_foreign_clips_that_wait_are_deleted(tmp_path, in_one_go):
    place = LocalPlace(tmp_path / "s")
    with pytest.raises(KeyboardInterrupt):
        write_made_up(place, made_up_corpus(CLIPS), Disorderly(0, 3))
    for name in ("clip 1.safetensors", "stranger.safetensors", ".draft-1-clip 2.safetensors"):
        (tmp_path / "s" / PENDING / name).write_bytes(b"torn")
    tag = drafts._tag("00000000", "1", "abcdef", "clip 1.safetensors")
    (tmp_path / "s" / PENDING / f".draft-00000000-1-abcdef{tag}-clip 1.safetensors").mkdir()  # of another machine
    (tmp_path / "s" / ".draft-1-index.json").write_bytes(b"half")
    write_made_up(place, made_up_corpus(CLIPS))
    assert contents(tmp_path / "s") == in_one_go


@pytest.mark.parametrize("complete", [True, False])
def test_a_store_of_an_older_version_is_finished_in_the_new_layout(tmp_path, in_one_go, complete: bool):
    failing = ["clip 3", "clip 20"]
    write_made_up(LocalPlace(tmp_path / "new"), made_up_corpus(CLIPS), unreadable=failing)
    older = write_older(tmp_path / "new", tmp_path / "older", complete)
    if complete:
        assert open_store(older).ids("all") == open_store(tmp_path / "new").ids("all")
    write_made_up(LocalPlace(older), made_up_corpus(CLIPS))
    assert contents(older) == in_one_go


def test_a_whole_store_of_an_older_version_stays_as_it_is(tmp_path):
    write_made_up(LocalPlace(tmp_path / "new"), made_up_corpus(CLIPS))
    older = write_older(tmp_path / "new", tmp_path / "older")
    before = contents(older)
    store = write_made_up(LocalPlace(older), made_up_corpus(CLIPS))
    assert contents(older) == before
    assert store.ids("all") == open_store(tmp_path / "new").ids("all")
    assert store.index.schema == 1


def test_an_older_store_of_files_of_arrays_knows_its_corpus(tmp_path):
    """Its hash was made of every byte of the files."""
    for number in range(3):
        np.savez(tmp_path / f"clip {number}.npz", values=np.ones(3))
    corpus = open_samples(tmp_path)
    before = replace(corpus, labels_sha256=corpus.older_labels_sha256())
    write_made_up(LocalPlace(tmp_path / "new"), before, unreadable=["clip 1"])
    older = write_older(tmp_path / "new", tmp_path / "older")
    store = write_made_up(LocalPlace(older), corpus)
    assert store.ids("all") == ["clip 0", "clip 1", "clip 2"]
    assert store.index.labels_sha256 == corpus.labels_sha256 != before.labels_sha256
    np.savez(tmp_path / "clip 1.npz", values=np.zeros(3))
    older = write_older(tmp_path / "new", tmp_path / "again")
    with pytest.raises(StoreError, match="other label files"):
        write_made_up(LocalPlace(older), open_samples(tmp_path))


def test_a_second_writer_is_refused(tmp_path):
    place = LocalPlace(tmp_path / "s")
    with (
        store_writer.write_store(place, made_up_corpus(1), {}, KEYS, {}),
        pytest.raises(StoreError, match=r"s: process \d+ on .* is writing it: wait until it is done"),
        store_writer.write_store(place, made_up_corpus(1), {}, KEYS, {}),
    ):
        pass
    assert sorted(contents(tmp_path / "s")) == [INDEX]


@pytest.mark.once
@pytest.mark.parametrize("size_kb", [96, pytest.param(320, marks=pytest.mark.nightly)], ids=["a clip", "a shard"])
def test_a_full_disk_is_said_and_the_run_goes_on_later(corpus_folder, tiny_folder, tmp_path, monkeypatch, size_kb: int):
    monkeypatch.setattr(store_writer, "CLIPS_A_SHARD", 256)
    disk = tmp_path / "disk"
    disk.mkdir()
    mount, unmount = shutil.which("mount") or "mount", shutil.which("umount") or "umount"
    options = ["-t", "tmpfs", "-o", f"size={size_kb}k", "none", str(disk)]
    if subprocess.run([mount, *options], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        with pytest.raises(OutputError, match="no space left on the device: free some, or write elsewhere"):
            extracted(corpus_folder, tiny_folder, disk / "store")
        left = {name.partition("/")[0] for name in contents(disk / "store")}
        assert left == {INDEX, PENDING}
        assert not list((disk / "store").rglob(".draft-*"))
        subprocess.run([mount, "-o", "remount,size=8m", str(disk)], check=True)
        extracted(corpus_folder, tiny_folder, disk / "store")
        extracted(corpus_folder, tiny_folder, tmp_path / "elsewhere")
        assert contents(disk / "store") == contents(tmp_path / "elsewhere")
    finally:
        subprocess.run([unmount, str(disk)], check=True)

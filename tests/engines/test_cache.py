"""The cache of engines: what comes from it, and what never does."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from pathlib import Path

import pytest

from taemi_edge.bundle.folder import open_bundle, sha256_of
from taemi_edge.bundle.graph_source import find_graphs
from taemi_edge.engines.build import build_engine
from taemi_edge.engines.cache import EngineCache
from taemi_edge.errors import UsageError
from tests.engines.targets import target


def test_the_same_build_again_takes_under_a_second(cli, calibrated_folder, tmp_path):
    environment = {**os.environ, "TAEMI_EDGE_CACHE": str(tmp_path / "cache")}
    words = ("build-engine", calibrated_folder, "--target", "cpu", "--precision", "fp32")
    first = cli(*words, "--output", tmp_path / "a", env=environment)
    assert first.returncode == 0, first.stderr
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    again = cli(*words, "--output", tmp_path / "b", env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert "taken from the cache" in again.stdout
    assert open_bundle(tmp_path / "b").manifest.verified
    assert seconds < 3  # of the processor; under 1 s alone (docs/how-to/engines.md)


def test_what_was_damaged_in_the_cache_is_built_anew(calibrated_folder, tmp_path):
    kept = EngineCache(tmp_path / "cache")
    first = build_engine(calibrated_folder, target(), "fp32", tmp_path / "a", threads=1, cache=kept)
    (part,) = [f for f in (tmp_path / "cache" / "parts").iterdir() if f.name == first.record.part_keys["fusion"]]
    part.write_bytes(part.read_bytes()[:-1])
    for other in set((tmp_path / "cache" / "parts").iterdir()) - {part}:
        head, _, engine = other.read_bytes().partition(b"\n")
        other.write_bytes(json.dumps({**json.loads(head), "code": "\u00e9"}).encode() + b"\n" + engine)
    (bundle,) = (tmp_path / "cache" / "bundles").iterdir()
    (bundle / "fusion.onnx").unlink()
    again = build_engine(calibrated_folder, target(), "fp32", tmp_path / "b", threads=1, cache=kept)
    assert not again.from_cache
    assert again.bundle.manifest.verified


def test_files_are_what_the_manifest_says_after_a_cached_build(calibrated_folder, cache, tmp_path):
    build_engine(calibrated_folder, target(), "fp16", tmp_path / "a", threads=1, cache=cache)
    again = build_engine(calibrated_folder, target(), "fp16", tmp_path / "b", threads=1, cache=cache)
    assert again.from_cache
    manifest = again.bundle.manifest
    assert {name: sha256_of(tmp_path / "b" / name) for name in manifest.sha256} == manifest.sha256


def test_what_was_used_longest_ago_is_removed_first(tmp_path):
    cache = EngineCache(tmp_path / "cache")
    for age, name in enumerate(("new", "old", "used", "oldest")):
        cache.write_part(name, b"x" * 1000, 1.0)
        os.utime(cache.folder / "parts" / name, (1e9 - age,) * 2)
    bundle = cache.folder / "bundles" / "ancient"
    bundle.mkdir(parents=True)
    (bundle / "a.onnx").write_bytes(b"x" * 1000)
    os.utime(bundle, (1e8,) * 2)
    assert cache.read_part("used")
    cache.trim(2600)
    assert sorted(os.listdir(cache.folder / "parts")) == ["new", "used"]
    assert not bundle.exists()
    EngineCache(tmp_path / "none").trim(0)


@pytest.fixture
def kept(calibrated_folder, tmp_path) -> tuple[EngineCache, Path]:
    """A cache with one built bundle in it, and the folder of that entry."""
    cache = EngineCache(tmp_path / "cache")
    build_engine(calibrated_folder, target(), "fp32", tmp_path / "a", threads=1, cache=cache)
    (entry,) = (tmp_path / "cache" / "bundles").iterdir()
    return cache, entry


def planted(entry: Path, change) -> None:
    """Change a manifest and bring its hashes in order, as an attacker can who lacks the secret."""
    content = json.loads((entry / "manifest.json").read_text())
    change(content)
    for name in content["sha256"]:
        if (entry / name).is_file():
            content["sha256"][name] = sha256_of(entry / name)
    (entry / "manifest.json").write_text(json.dumps(content))


def test_a_planted_bundle_is_not_served_as_verified(kept, calibrated_folder, tmp_path):
    cache, entry = kept
    with (entry / "fusion.onnx").open("ab") as graph:
        graph.write(b"\0")
    planted(entry, lambda content: None)
    again = build_engine(calibrated_folder, target(), "fp32", tmp_path / "b", threads=1, cache=cache)
    assert not again.from_cache


def test_no_name_of_a_manifest_leads_out_of_the_output(kept, calibrated_folder, tmp_path):
    cache, entry = kept
    planted(entry, lambda content: content["sha256"].update({"../../escaped": "0" * 64}))
    assert not build_engine(calibrated_folder, target(), "fp32", tmp_path / "b", threads=1, cache=cache).from_cache
    assert not list(tmp_path.rglob("escaped"))


def test_an_entry_of_another_cache_or_under_another_key_is_none(kept, tmp_path):
    cache, entry = kept
    other = EngineCache(tmp_path / "other")
    assert other.copy_bundle(entry.name, tmp_path / "b") is None
    shutil.copytree(entry, tmp_path / "other" / "bundles" / entry.name)
    shutil.copytree(entry, entry.with_name("0" * 64))
    assert other.copy_bundle(entry.name, tmp_path / "b") is None
    assert cache.copy_bundle("0" * 64, tmp_path / "b") is None
    assert not (tmp_path / "b").exists()
    assert cache.copy_bundle(entry.name, tmp_path / "b") is not None


def test_what_lies_beside_the_files_of_an_entry_or_is_a_link_makes_it_none(kept, tmp_path):
    cache, entry = kept
    (entry / "more.bin").write_bytes(b"1")
    assert cache.copy_bundle(entry.name, tmp_path / "b") is None
    (entry / "more.bin").unlink()
    outside = Path(shutil.move(entry / "fusion.onnx", tmp_path / "fusion.onnx"))
    (entry / "fusion.onnx").symlink_to(outside)
    assert cache.copy_bundle(entry.name, tmp_path / "b") is None


def test_what_is_changed_in_the_cache_later_changes_no_bundle(kept, calibrated_folder, tmp_path):
    cache, entry = kept
    built = build_engine(calibrated_folder, target(), "fp32", tmp_path / "b", threads=1, cache=cache)
    assert built.from_cache
    with (entry / "fusion.onnx").open("r+b") as graph:
        graph.write(b"changed")
    open_bundle(tmp_path / "a")
    open_bundle(tmp_path / "b")


def test_a_part_without_the_secrets_code_is_none(tmp_path):
    cache = EngineCache(tmp_path / "cache")
    cache.write_part("a", b"engine", 1.5)
    assert cache.read_part("a") == (b"engine", 1.5)
    part = tmp_path / "cache" / "parts" / "a"
    shutil.copy(part, part.with_name("b"))
    assert cache.read_part("b") is None
    part.write_bytes(part.read_bytes().replace(b"1.5", b"2.5"))
    assert cache.read_part("a") is None


def test_the_cache_is_its_owners_alone(tmp_path):
    folder = tmp_path / "cache"
    EngineCache(folder).write_part("a", b"engine", 1.0)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "secret").stat().st_mode & 0o777 == 0o600
    folder.chmod(0o777)
    with pytest.raises(UsageError, match="its owner alone can write: `chmod 700"):
        EngineCache(folder).read_part("a")
    folder.chmod(0o755)
    assert EngineCache(folder).read_part("a") == (b"engine", 1.0)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_engines_from_the_cache_name_the_graphs_that_they_were_asked_for(calibrated_folder, tmp_path):
    cache = EngineCache(tmp_path / "cache")
    shutil.copytree(calibrated_folder, tmp_path / "one" / "m")
    build_engine(tmp_path / "one" / "m", target(), "fp32", tmp_path / "one" / "e", threads=1, cache=cache)
    (tmp_path / "one").rename(tmp_path / "two")
    assert find_graphs(open_bundle(tmp_path / "two" / "e")) == tmp_path / "two" / "m"
    deep = tmp_path / "a" / "b" / "e"
    again = build_engine(tmp_path / "two" / "m", target(), "fp32", deep, threads=1, cache=cache)
    assert again.from_cache
    assert again.record.source == "../../../two/m"
    assert find_graphs(open_bundle(deep)) == tmp_path / "two" / "m"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 kB, where mounting one is allowed."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount, umount = shutil.which("mount") or "mount", shutil.which("umount") or "umount"
    words = [mount, "-t", "tmpfs", "-o", "size=256k,mode=700", "none", str(folder)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run([umount, str(folder)], check=True)


def test_a_full_disk_keeps_nothing_and_says_so_once(small_disk, caplog):
    cache = EngineCache(small_disk / "cache")
    cache.write_part("small", b"engine", 1.0)
    cache.write_part("large", bytes(1 << 20), 1.0)
    cache.write_times("times", bytes(1 << 20))
    assert cache.read_part("small") == (b"engine", 1.0)
    assert cache.read_part("large") is None
    [record] = caplog.records
    assert f"{cache.folder} is not used (No space left on device): what is built now is not kept" in record.getMessage()


def test_a_read_only_folder_is_read_and_said_once(small_disk, caplog):
    folder = small_disk / "cache"
    EngineCache(folder).write_part("a", b"engine", 1.0)
    subprocess.run([shutil.which("mount") or "mount", "-o", "remount,ro", str(small_disk)], check=True)
    cache = EngineCache(folder)
    assert cache.read_part("a") == (b"engine", 1.0)
    cache.write_part("b", b"engine", 1.0)
    cache.write_times("times", b"times")
    [record] = caplog.records
    assert "(Read-only file system)" in record.getMessage()


def test_a_folder_that_cannot_be_made_is_said_once(caplog):
    cache = EngineCache(Path("/proc/nowhere"))
    cache.write_part("a", b"engine", 1.0)
    assert cache.read_part("a") is None
    assert cache.read_times("times") is None
    [record] = caplog.records
    assert "/proc/nowhere is not used (it cannot be made or read)" in record.getMessage()

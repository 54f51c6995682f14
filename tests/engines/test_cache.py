"""The cache of engines: what comes from it, and what never does."""

from __future__ import annotations

import os
import time

from taemi_edge.bundle.folder import open_bundle, sha256_of
from taemi_edge.engines.build import build_engine
from taemi_edge.engines.cache import EngineCache
from tests.engines.targets import target


def test_the_same_build_again_takes_under_a_second(cli, calibrated_folder, tmp_path):
    environment = {**os.environ, "TAEMI_EDGE_CACHE": str(tmp_path / "cache")}
    words = ("build-engine", calibrated_folder, "--target", "cpu", "--precision", "fp32")
    first = cli(*words, "--output", tmp_path / "a", env=environment)
    assert first.returncode == 0, first.stderr
    started = time.perf_counter()
    again = cli(*words, "--output", tmp_path / "b", env=environment)
    seconds = time.perf_counter() - started
    assert "taken from the cache" in again.stdout
    assert open_bundle(tmp_path / "b").manifest.verified
    assert seconds < 3  # under 1 s alone (docs/engines.md); tests share the cores


def test_what_was_damaged_in_the_cache_is_built_anew(calibrated_folder, tmp_path):
    kept = EngineCache(tmp_path / "cache")
    first = build_engine(calibrated_folder, target(), "fp32", tmp_path / "a", threads=1, cache=kept)
    (part,) = [f for f in (tmp_path / "cache" / "parts").iterdir() if f.name == first.record.part_keys["fusion"]]
    part.write_bytes(part.read_bytes()[:-1])
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

"""Engines that a device builds from signed graphs: bound to them, and refused where anything else lies there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest

from taemi_edge.bundle.folder import Bundle, open_bundle, sha256_of
from taemi_edge.bundle.json_files import write_json
from taemi_edge.bundle.seal import seal_manifest
from taemi_edge.engines import build
from taemi_edge.engines.build import build_engine, rebuild_if_foreign
from taemi_edge.engines.cache import EngineCache
from taemi_edge.errors import BundleError, DeviceLostError, EngineError, SignatureError
from taemi_edge.runtime.failover import fail_over_to_cpu
from taemi_edge.runtime.work import Layout
from tests.engines.targets import target

make = pytest.importorskip("tests.signatures", exc_type=ImportError)
signing = pytest.importorskip("taemi_edge.fleet.signing")


@pytest.fixture
def signed(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Bundle, Path]:
    """A signed bundle of graphs, and the public key."""
    monkeypatch.setenv("TAEMI_EDGE_STATE", str(tmp_path / "state"))
    shutil.copytree(tiny_folder, tmp_path / "m")
    key, public = make.write_key(tmp_path)
    signing.sign_bundle(tmp_path / "m", key)
    return open_bundle(tmp_path / "m", require_signature=public), public


def _build(source: Bundle | Path, output: Path, cache: EngineCache | None = None) -> build.BuildResult:
    return build_engine(source, target(), "fp32", output, threads=1, cache=cache)


def test_engines_carry_the_signature_and_the_hashes_of_their_graphs(signed, tmp_path):
    source, public = signed
    _build(source, tmp_path / "e")
    made = open_bundle(tmp_path / "e", require_signature=public)
    assert made.signed_by is not None
    assert made.signed_by.built_here
    assert made.read("source.sig") == (tmp_path / "m.sig").read_bytes()
    assert made.manifest.engine is not None
    assert made.manifest.engine.source_digests == source.digests
    shutil.move(tmp_path / "e", tmp_path / "moved")
    assert open_bundle(tmp_path / "moved", require_signature=public).manifest.verified


def test_engines_whose_manifest_was_changed_are_refused(signed, tmp_path):
    source, public = signed
    _build(source, tmp_path / "e")
    (tmp_path / "e" / "text.onnx").write_bytes((tmp_path / "e" / "audio.onnx").read_bytes())
    content = json.loads((tmp_path / "e" / "manifest.json").read_text())
    content["sha256"]["text.onnx"] = sha256_of(tmp_path / "e" / "text.onnx")
    (tmp_path / "e" / "manifest.json").write_text(json.dumps(content))
    open_bundle(tmp_path / "e")
    with pytest.raises(SignatureError, match="found no seal"):
        open_bundle(tmp_path / "e", require_signature=public)


def test_engines_of_unsigned_graphs_are_refused_with_what_to_do(signed, tmp_path):
    _, public = signed
    _build(tmp_path / "m", tmp_path / "e")
    with pytest.raises(SignatureError, match="build-engine --require-signature"):
        open_bundle(tmp_path / "e", require_signature=public)


def test_the_cache_serves_engines_that_are_bound_to_the_same_signature(signed, tmp_path):
    source, public = signed
    cache = EngineCache(tmp_path / "cache")
    assert not _build(tmp_path / "m", tmp_path / "unsigned", cache).from_cache
    assert not _build(source, tmp_path / "a", cache).from_cache
    shutil.rmtree(tmp_path / "state")
    assert _build(source, tmp_path / "b", cache).from_cache
    assert open_bundle(tmp_path / "b", require_signature=public).signed_by is not None
    assert _build(tmp_path / "m", tmp_path / "c", cache).from_cache
    assert "source.sig" not in open_bundle(tmp_path / "c").digests
    other, other_public = make.write_key(tmp_path, "other")
    signing.sign_bundle(tmp_path / "m", other)
    again = open_bundle(tmp_path / "m", require_signature=other_public)
    assert not _build(again, tmp_path / "d", cache).from_cache


def test_a_draft_that_somebody_changes_is_not_sealed(signed, tmp_path, monkeypatch):
    source, _ = signed

    def swap(draft: Path, *given):
        manifest, report = verify(draft, *given)
        changed = msgspec.structs.replace(manifest, sha256={**manifest.sha256, "source.sig": "0" * 64})
        content = b"another"
        (draft / "source.sig").write_bytes(content)
        changed.sha256["source.sig"] = sha256_of(draft / "source.sig")
        write_json(draft / "manifest.json", changed)
        return manifest, report

    verify = build.verify_engines
    monkeypatch.setattr(build, "verify_engines", swap)
    with pytest.raises(EngineError, match="changed by somebody"):
        _build(source, tmp_path / "e")
    assert not (tmp_path / "e").exists()
    assert not (tmp_path / "state").exists()


def test_graphs_that_change_after_their_signature_was_checked_are_refused(signed, tmp_path):
    source, _ = signed
    (tmp_path / "m" / "text.onnx").write_bytes(b"another")
    with pytest.raises((BundleError, EngineError)):
        _build(source, tmp_path / "e")


def test_engines_are_built_anew_from_signed_graphs_alone(signed, tmp_path, monkeypatch):
    monkeypatch.setenv("TAEMI_EDGE_CACHE", str(tmp_path / "cache"))
    source, public = signed
    made = _build(source, tmp_path / "e").bundle
    assert made.manifest.engine is not None
    foreign = msgspec.structs.replace(made.manifest.engine, library="onnxruntime 1.0.0")
    write_json(tmp_path / "e" / "manifest.json", msgspec.structs.replace(made.manifest, engine=foreign))
    seal_manifest(sha256_of(tmp_path / "e" / "manifest.json"))  # as an older library left them
    old = open_bundle(tmp_path / "e", require_signature=public)
    with pytest.raises(SignatureError, match="by another key"):
        rebuild_if_foreign(old, require_signature=make.write_key(tmp_path, "other")[1])
    new = rebuild_if_foreign(old, require_signature=public)
    assert new.signed_by is not None
    assert new.manifest.engine is not None
    assert new.manifest.engine.library != foreign.library


def test_only_the_graphs_that_engines_were_built_from_take_over(signed, tmp_path):
    source, _ = signed
    engines = open_bundle(_build(source, tmp_path / "e").bundle.folder)
    content = json.loads((tmp_path / "m" / "manifest.json").read_text())
    content["trained_on"] = "another"
    (tmp_path / "m" / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(DeviceLostError, match="no bundle of graphs to go on with on the CPU: .*is another bundle"):
        fail_over_to_cpu(engines, Layout(1, 4.0, 0.5), {}, DeviceLostError("the GPU was lost"))

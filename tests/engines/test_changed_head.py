"""A head with other weights: the engines of the other parts are neither built nor timed again."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the test changes a graph with onnx")

from taemi_edge.bundle.folder import read_manifest, write_manifest
from taemi_edge.engines import measuring
from taemi_edge.engines.build import build_engine
from taemi_edge.engines.cache import EngineCache
from taemi_edge.engines.compiler import Compiler
from taemi_edge.parity.golden import Case
from taemi_edge.runtime import onnx_sessions
from tests.engines.targets import CPU, target


def with_another_head(folder: Path, new: Path) -> Path:
    """A copy whose head has weights that differ in their last bits: its outputs keep their tolerance."""
    shutil.copytree(folder, new)
    graph = onnx.load(new / "fusion.onnx")
    weights = max((w for w in graph.graph.initializer if w.data_type == 1), key=lambda w: np.prod(w.dims))
    values = onnx.numpy_helper.to_array(weights) * np.float32(1 + 1e-6)
    weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    onnx.save(graph, new / "fusion.onnx")
    write_manifest(new, read_manifest(new))
    return new


def counted(monkeypatch, owner, name):
    """Count the calls of a function that goes on doing its work; gives the list that they are noted in."""
    calls, real = [], getattr(owner, name)

    def noting(*args, **options):
        calls.append(args)
        return real(*args, **options)

    monkeypatch.setattr(owner, name, noting)
    return calls


def test_auto_builds_and_times_the_head_alone(tiny_folder, tmp_path, monkeypatch):
    cache = EngineCache(tmp_path / "cache")
    built = counted(monkeypatch, onnx_sessions, "optimise")
    timed = counted(monkeypatch, measuring, "_measured_now")
    as_they_are = target(**CPU, forms="[]")
    first = build_engine(tiny_folder, as_they_are, "auto", tmp_path / "a", threads=1, cache=cache)
    assert (len(built), len(timed)) == (8, 4), "four parts in two precisions"
    built.clear()
    timed.clear()
    changed = with_another_head(tiny_folder, tmp_path / "changed")
    second = build_engine(changed, as_they_are, "auto", tmp_path / "b", threads=1, cache=cache)
    assert not second.from_cache
    assert second.bundle.manifest.verified
    assert {file.name.partition("-")[0] for _, file in built} == {"fusion"}
    assert [candidates[0].part for _, candidates, *_ in timed] == ["fusion"]
    kept = {c.part: c.median_ms for c in first.record.candidates if c.kept and c.part != "fusion"}
    assert kept == {c.part: c.median_ms for c in second.record.candidates if c.kept and c.part != "fusion"}


@pytest.mark.nightly
def test_the_compiler_is_called_for_the_head_alone(tiny_folder, tmp_path, monkeypatch):
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX has wheels for x86-64 (extra `rtx`)")
    cache = EngineCache(tmp_path / "cache")
    compiled = counted(monkeypatch, Compiler, "compile")
    build_engine(tiny_folder, target("rtx"), "fp32", tmp_path / "a", cache=cache)
    assert len(compiled) == 4
    compiled.clear()
    changed = with_another_head(tiny_folder, tmp_path / "changed")
    build_engine(changed, target("rtx"), "fp32", tmp_path / "b", cache=cache)
    assert [call[-1] for call in compiled] == ["fusion"]


def case(part, value, expected=1.0):
    return Case(part, "usual", {"x": np.full(3, value, np.float32)}, {"y": np.full(2, expected, np.float32)})


def test_what_was_measured_belongs_to_the_cases_of_the_part():
    known = measuring.cases_digest([case("vision", 1.0), case("fusion", 1.0)], "vision")
    assert known == measuring.cases_digest([case("vision", 1.0), case("fusion", 2.0)], "vision")
    assert known != measuring.cases_digest([case("vision", 2.0), case("fusion", 1.0)], "vision")
    assert known != measuring.cases_digest([case("vision", 1.0, 2.0), case("fusion", 1.0)], "vision")

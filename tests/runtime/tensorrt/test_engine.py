"""Engines against their manifest, and the shapes that they were built for."""

from __future__ import annotations

import os
from hashlib import sha256
from mmap import mmap

import numpy as np
import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.values import TensorSpec
from taemi_edge.errors import BackendError, BundleError, EngineError
from taemi_edge.runtime.tensorrt.engine import open_engine, seam_problem
from taemi_edge.runtime.tensorrt.executor import TrtExecutor
from taemi_edge.runtime.tensorrt.gpu import open_gpu
from taemi_edge.runtime.work import Layout
from tests.runtime.tensorrt import stand_in_gpu
from tests.runtime.tensorrt.stand_in_engines import ExecutionContext, Profile

PIXELS = TensorSpec(name="pixels", dtype="uint8", shape=("frames", 32, 32, 3))


@pytest.mark.parametrize(
    ("dtype", "shape", "is_input", "problem"),
    [
        (np.uint8, (-1, 32, 32, 3), True, None),
        (np.uint8, (4, 32, 32, 3), False, None),
        (np.uint8, (4, 32, 32, 3), True, "pixels: expected uint8 (frames, 32, 32, 3), got uint8 (4, 32, 32, 3)"),
        (np.float32, (-1, 32, 32, 3), True, "pixels: expected uint8 (frames, 32, 32, 3), got float32 (-1, 32, 32, 3)"),
        (np.uint8, (-1, 32, 32), True, "pixels: expected uint8 (frames, 32, 32, 3), got uint8 (-1, 32, 32)"),
    ],
)
def test_a_tensor_is_compared_with_the_manifest(dtype, shape, is_input: bool, problem: str | None):
    assert seam_problem(PIXELS, np.dtype(dtype), shape, is_input) == problem


def test_an_engine_is_mapped_and_hashed(engines: Bundle):
    engines.part_file("text").chmod(0o644)
    content = engines.map_part("text")
    assert isinstance(content, mmap)
    assert sha256(content).hexdigest() == engines.digests["text.engine"]
    other = engines.folder / "other"
    other.write_bytes(content[:] + b"\0")
    right = engines.read_part("text")
    os.replace(other, engines.part_file("text"))
    try:
        with pytest.raises(BundleError, match=r"text\.engine is not the file that the manifest was written for"):
            engines.map_part("text")
    finally:
        engines.part_file("text").write_bytes(right)


def test_an_engine_says_what_it_was_built_for(engines: Bundle):
    with open_gpu(engines) as gpu:
        vision = open_engine(gpu, engines, "vision")
        high = vision.largest_batch
        assert vision.longest_shapes() == {"pixels": (high, 32, 32, 3)}
        assert vision.outside({"pixels": (1, 32, 32, 3)}) == vision.outside({"pixels": (high, 32, 32, 3)}) == []
        assert "widen the target's profiles" in vision.outside({"pixels": (high + 1, 32, 32, 3)})[0]


def hop_and_window(most_of_a_hop: int = 16) -> list[Profile]:
    """Two profiles, of which the first takes no more frames than that."""
    shared = {
        "batch": (1, 1, 4),
        "samples": (8000, 16_000, 16_000),
        "tokens": (1, 32, 64),
        "vision_steps": (1, 22, 303),
        "audio_steps": (1, 240, 3000),
        "text_steps": (1, 64, 65),
    }
    return [{**shared, "frames": (1, 3, most_of_a_hop)}, {**shared, "frames": (1, 16, 16)}]


@pytest.mark.parametrize(
    ("most_of_a_hop", "frames", "profile"), [(16, 1, 0), (16, 3, 0), (16, 6, 0), (16, 8, 1), (16, 16, 1), (4, 5, 1)]
)
def test_a_context_uses_the_profile_that_takes_its_shapes_and_is_nearest(
    engines: Bundle, monkeypatch, most_of_a_hop: int, frames: int, profile: int
):
    stand_in_gpu.install(monkeypatch, hop_and_window(most_of_a_hop))
    with open_gpu(engines) as gpu:
        vision = open_engine(gpu, engines, "vision")
        shapes = {"pixels": (frames, 32, 32, 3)}
        assert vision.profile_of(shapes) == profile
        assert vision.bind(shapes)._context.active_optimization_profile == profile
        assert vision.largest_batch == 16
        with pytest.raises(BackendError, match=r"pixels: expected from \(1, 32, 32, 3\) to .*, got \(17, 32, 32, 3\)"):
            vision.bind({"pixels": (17, 32, 32, 3)})


def test_engines_with_two_profiles_give_what_those_with_one_give(engines: Bundle, monkeypatch):
    from tests.runtime.tensorrt.executor_checks import assert_same, repeated

    found = []
    for profiles in (hop_and_window(), hop_and_window()[:1]):
        stand_in_gpu.install(monkeypatch, profiles)
        executor = TrtExecutor(engines, Layout(1, 4.0, 0.5))
        found.append([repeated(engines, executor, kind=kind).output() for kind in ("hop", "window")])
        executor.close()
    for two, one in zip(*found, strict=True):
        assert_same(two, one)


def test_a_profile_that_another_context_holds_is_told(engines: Bundle, monkeypatch):
    """As TensorRT 8.6 has it, where an engine was built without sharing its profiles."""
    stand_in_gpu.install(monkeypatch, hop_and_window())
    monkeypatch.setattr(ExecutionContext, "set_optimization_profile_async", lambda *_: False)
    with open_gpu(engines) as gpu:
        vision = open_engine(gpu, engines, "vision")
        vision.bind({"pixels": (3, 32, 32, 3)})
        with pytest.raises(
            EngineError, match="vision: the engine lets one context alone use its profile: build it anew"
        ):
            vision.bind({"pixels": (16, 32, 32, 3)})

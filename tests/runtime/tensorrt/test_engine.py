"""Engines against their manifest, and the shapes that they were built for."""

from __future__ import annotations

import os
from hashlib import sha256
from mmap import mmap

import numpy as np
import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.values import TensorSpec
from taemi_edge.errors import BundleError
from taemi_edge.runtime.tensorrt.engine import open_engine, seam_problem
from taemi_edge.runtime.tensorrt.gpu import open_gpu

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

"""Example feeds: the shape and dtype that a description asks for, and values that are not constant."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="example feeds are PyTorch tensors")

from taemi_edge.bundle.values import TensorSpec
from taemi_edge.export.example_feeds import example_feeds


def test_every_input_has_its_shape_dtype_and_range():
    inputs = (
        TensorSpec(name="pixels", dtype="uint8", shape=("frames", 5, 5, 3)),
        TensorSpec(name="samples", dtype="float32", shape=("batch", "samples")),
        TensorSpec(name="ids", dtype="int32", shape=("batch", 3)),
    )
    feeds = example_feeds(inputs, {"frames": 2, "batch": 4, "samples": 100})
    assert {name: tuple(value.shape) for name, value in feeds.items()} == {
        "pixels": (2, 5, 5, 3),
        "samples": (4, 100),
        "ids": (4, 3),
    }
    assert [value.dtype for value in feeds.values()] == [torch.uint8, torch.float32, torch.int32]
    assert feeds["ids"].unique().tolist() == [1]
    assert (feeds["pixels"].min() >= 28, feeds["pixels"].max() <= 228) == (True, True)
    assert feeds["samples"].std() > 0.5

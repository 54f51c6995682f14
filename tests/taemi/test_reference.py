"""The PyTorch reference: parts on numpy arrays, and hashes that follow the weights."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the reference is PyTorch")

from taemi_edge.taemi.checkpoint import open_checkpoint
from taemi_edge.taemi.reference import Reference, encoder_sha256, stream_specs_of


def test_a_part_takes_and_gives_arrays():
    reference = Reference(open_checkpoint("taemi-tiny"))
    pixels = np.zeros((3, *reference.specs.vision.size_hw, 3), np.uint8)
    features = reference.run("vision", {"pixels": pixels})["features"]
    assert (features.shape, features.dtype) == ((3, reference.specs.vision.feature_dim), np.float32)
    assert {len(token) for token in reference.tokens.values()} == {16}


def test_the_specs_are_those_of_the_recipe():
    checkpoint = open_checkpoint("taemi-tiny")
    specs = stream_specs_of(checkpoint)
    assert specs.window_s == checkpoint.recipe.window.length_s
    assert specs.audio.chunk_s == checkpoint.recipe.audio.chunk_s
    assert specs.vision.feature_dim == checkpoint.model.feature_dims["vision"]


def test_a_hash_follows_the_weights_of_its_encoder_alone():
    model = open_checkpoint("taemi-tiny").model
    before = encoder_sha256(model)
    assert encoder_sha256(open_checkpoint("taemi-tiny").model) == before
    with torch.no_grad():
        next(model.audio.parameters()).add_(1.0)
    after = encoder_sha256(model)
    assert [m for m in before if before[m] != after[m]] == ["audio"]

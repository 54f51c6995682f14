"""Golden feeds from a clip: every corner of batch and length is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from taemi_edge.errors import InputError
from taemi_edge.parity.clip_cases import make_clip_cases
from taemi_edge.parity.golden import demo_clip, load_cases
from tests.parity.toy_model import SPECS, TOKENS, ToyModel


def test_every_batch_and_length_corner_is_compared(tiny_folder: Path):
    cases = load_cases(tiny_folder / "golden.npz")
    shapes = {(c.part, c.name): {n: v.shape for n, v in c.feeds.items()} for c in cases}
    assert shapes["vision", "one frame"]["pixels"][0] == 1
    assert shapes["vision", "largest batch"]["pixels"][0] == 16
    assert shapes["audio", "shortest"]["samples"] == (1, 8000)
    assert shapes["audio", "longest"]["samples"] == (1, 16_000)
    assert shapes["audio", "largest batch"]["samples"] == (8, 16_000)
    assert shapes["text", "longest"]["ids"] == (1, 64)
    assert shapes["text", "largest batch"]["ids"][0] == 4
    assert shapes["fusion", "shortest"]["vision"][:2] == (1, 1)
    assert shapes["fusion", "whole clip"]["vision"][1] > 80
    assert shapes["fusion", "padded batch"]["vision_mask"][0] == 4


def test_a_model_of_other_streams_is_asked_for_samples():
    with pytest.raises(InputError, match="expected samples of the model .* the model has front, mic, said, imu, pulse"):
        make_clip_cases(SPECS, {}, ToyModel().run, TOKENS, *demo_clip())

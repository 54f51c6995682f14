"""Golden feeds: every corner of batch and length is there, and the file keeps all of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from taemi_edge.parity.golden import load_cases, save_cases


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


def test_golden_cases_survive_their_file(tiny_folder: Path, tmp_path: Path):
    cases = load_cases(tiny_folder / "golden.npz")
    save_cases(cases, tmp_path / "golden.npz")
    again = load_cases(tmp_path / "golden.npz")
    assert [(c.part, c.title) for c in again] == [(c.part, c.title) for c in cases]
    for a, b in zip(cases, again, strict=True):
        assert a.expected is not None
        assert b.expected is not None
        for name in a.expected:
            np.testing.assert_array_equal(a.expected[name], b.expected[name])

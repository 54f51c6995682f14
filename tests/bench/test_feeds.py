"""The inputs that a bundle is timed on."""

from __future__ import annotations

import numpy as np
import pytest

from taemi_edge.bench.feeds import Feeds, lost_in
from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.spec import PRESENCE_PATTERNS
from taemi_edge.bundle.streams import pattern_name


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_a_part_has_feeds_at_any_batch(tiny: Bundle, batch: int):
    feeds, expected = Feeds(tiny).part("vision", batch)
    assert feeds["pixels"].shape == (batch, 32, 32, 3)
    assert feeds["pixels"].dtype == np.uint8
    assert len(expected) == batch


def test_the_window_has_an_expected_output_for_every_pattern(tiny: Bundle):
    window = Feeds(tiny).window()
    assert set(window.expected) == {pattern_name(pattern) for pattern in PRESENCE_PATTERNS}
    assert all(intensities.shape == (6,) for intensities in window.expected.values())
    assert window.ids.ndim == 1


def test_a_hop_finds_all_but_its_own_frames_and_chunks_encoded(tiny: Bundle):
    window = Feeds(tiny).window()
    frames, chunks = window.encoded_before("hop")
    assert (frames + window.new_frames, chunks + window.new_chunks) == (len(window.pixels), len(window.samples))
    assert window.encoded_before("window") == (0, 0)


def test_what_a_pattern_lacks():
    assert lost_in(frozenset({"audio"})) == ["vision", "text"]

"""The inputs that a bundle is timed on."""

from __future__ import annotations

import numpy as np
import pytest

from taemi_edge.bench.feeds import Feeds
from taemi_edge.bundle.folder import Bundle


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_a_part_has_feeds_at_any_batch(tiny: Bundle, batch: int):
    feeds, expected = Feeds(tiny).part("vision", batch)
    assert feeds["pixels"].shape == (batch, 32, 32, 3)
    assert feeds["pixels"].dtype == np.uint8
    assert len(expected) == batch


def test_the_window_has_an_expected_output_for_every_pattern(tiny: Bundle):
    window = Feeds(tiny).window()
    assert set(window.expected) == {tiny.manifest.pattern_name(pattern) for pattern in tiny.manifest.patterns}
    assert all(outputs.shape == (6,) for outputs in window.expected.values())
    assert window.rows["text"][0]["ids"].ndim == 1


@pytest.mark.parametrize(
    ("length_s", "hop_s", "rows", "new"),
    [(8.0, 0.0, {"vision": 40, "audio": 16, "text": 1}, {"vision": 3, "audio": 1, "text": 1})]
    + [(2.0, 1.0, {"vision": 10, "audio": 4, "text": 1}, {"vision": 5, "audio": 2, "text": 1})],
)
def test_another_window_or_hop_has_the_rows_that_it_lasts(tiny: Bundle, length_s, hop_s, rows, new):
    own, window = Feeds(tiny).window(), Feeds(tiny).window(length_s, hop_s)
    assert {name: len(of_one) for name, of_one in window.rows.items()} == rows
    assert window.new == new
    assert (window.length_s, window.hop_s) == (length_s, hop_s or 0.5)
    assert window.expected == {}
    for name, of_one in window.rows.items():
        for number in range(1, 1 + min(len(of_one), len(own.rows[name]))):  # the newest rows are the same
            assert all(np.array_equal(of_one[-number][key], own.rows[name][-number][key]) for key in of_one[-number])


def test_a_hop_finds_all_but_its_own_rows_encoded(tiny: Bundle):
    window = Feeds(tiny).window()
    assert window.new == {"vision": 3, "audio": 1, "text": 1}
    for stream, rows in window.rows.items():
        assert len(window.before("hop", stream)) == len(rows) - window.new[stream]
        assert len(window.due("window", stream)) == len(rows)

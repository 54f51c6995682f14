"""Scripted losses: the words of --drop, and what they take out of a hop."""

from __future__ import annotations

import numpy as np
import pytest

from taemi_edge.errors import UsageError
from taemi_edge.media.hops import Frame, Hop
from taemi_edge.media.rehearsed_losses import Drop, apply_drops, dropped_at, parse_drop, words_after_drops
from taemi_edge.media.transcripts import Word


def test_a_drop_is_read_and_written_alike():
    assert parse_drop("vision@2-4.5") == Drop("vision", 2.0, 4.5)
    assert str(parse_drop("vision@2-4.5")) == "vision@2-4.5"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("smell@1-2", "expected one of vision, audio, text, got 'smell'"),
        ("vision@4-2", "expected an end after the start, got 4 s to 2 s"),
        ("vision@2-2", "expected an end after the start"),
        ("vision", "expected MODALITY@START-END"),
        ("vision@-1-2", "expected MODALITY@START-END"),
        ("vision@a-b", "expected MODALITY@START-END"),
        ("@1-2", "got ''"),
    ],
)
def test_a_drop_that_cannot_be_is_refused(text: str, message: str):
    with pytest.raises(UsageError, match=message):
        parse_drop(text)


def test_a_drop_takes_frames_and_samples_of_its_time_and_nothing_else():
    values = np.arange(1000, dtype=np.float32)
    hop = Hop(1.0, [Frame(t, None) for t in (0.1, 0.3, 0.5, 0.7)], [Samples(0.0, values)])
    kept = apply_drops(hop, [Drop("vision", 0.3, 0.6), Drop("audio", 0.25, 0.5)], 1000)
    assert [frame.time_s for frame in kept.frames] == [0.1, 0.7]
    assert [(piece.time_s, len(piece.values)) for piece in kept.samples] == [(0.0, 250), (0.5, 500)]
    np.testing.assert_array_equal(kept.samples[1].values, values[500:])


def test_the_end_of_a_drop_is_outside_it():
    drops = [Drop("text", 1.0, 2.0)]
    assert [dropped_at(drops, "text", t) is not None for t in (0.9, 1.0, 1.9, 2.0)] == [False, True, True, False]
    assert dropped_at(drops, "audio", 1.5) is None


def test_words_that_end_in_a_drop_are_gone():
    words = [Word(0.5, 0.9, "stays"), Word(0.9, 1.1, "goes"), Word(1.9, 2.1, "stays")]
    assert [w.text for w in words_after_drops(words, [Drop("text", 1.0, 2.0)])] == ["stays", "stays"]

"""Scripted losses: the words of --drop, and what they take out of a hop."""

from __future__ import annotations

import numpy as np
import pytest

from taemi_edge.bundle.streams import AudioSpec, PresenceSpec
from taemi_edge.errors import UsageError
from taemi_edge.media.hops import Frame, Hop, SoundPiece, Values
from taemi_edge.media.rehearsed_losses import (
    Drop,
    apply_drops,
    dropped_at,
    parse_drop,
    require_known,
    words_after_drops,
)
from taemi_edge.media.transcripts import Word

PRESENCE = PresenceSpec(stale_after_s=1, missing_after_s=2, recover_after_s=0)
MIC = AudioSpec(feature_dim=1, sample_rate_hz=1000, chunk_s=0.5, presence=PRESENCE)


def test_a_drop_of_a_stream_that_the_model_lacks_is_refused():
    require_known([Drop("front", 1.0, 2.0)], ["front", "imu"])
    with pytest.raises(UsageError, match=r"loss smell@1-2: expected one of front, imu, got 'smell'"):
        require_known([parse_drop("smell@1-2")], ["front", "imu"])


def test_a_drop_is_read_and_written_alike():
    assert parse_drop("vision@2-4.5") == Drop("vision", 2.0, 4.5)
    assert str(parse_drop("vision@2-4.5")) == "vision@2-4.5"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vision@4-2", "expected an end after the start, got 4 s to 2 s"),
        ("vision@2-2", "expected an end after the start"),
        ("vision", "expected STREAM@START-END"),
        ("vision@-1-2", "expected STREAM@START-END"),
        ("vision@a-b", "expected STREAM@START-END"),
    ],
)
def test_a_drop_that_cannot_be_is_refused(text: str, message: str):
    with pytest.raises(UsageError, match=message):
        parse_drop(text)


def test_a_drop_takes_frames_and_samples_of_its_time_and_nothing_else():
    values = np.arange(1000, dtype=np.float32)
    frames = [Frame(t, None) for t in (0.1, 0.3, 0.5, 0.7)]
    rows = Values(np.array([0.2, 0.4, 0.6]), np.eye(3, dtype=np.float32))
    hop = Hop(1.0, {"front": frames, "back": frames, "mic": [SoundPiece(0.0, values)], "imu": [rows]})
    drops = [Drop("front", 0.3, 0.6), Drop("mic", 0.25, 0.5), Drop("imu", 0.3, 0.6)]
    kept = apply_drops(hop, drops, {"mic": MIC}).pieces
    assert [frame.time_s for frame in kept["front"]] == [0.1, 0.7]
    assert kept["back"] == frames
    assert [(piece.time_s, len(piece.values)) for piece in kept["mic"]] == [(0.0, 250), (0.5, 500)]
    np.testing.assert_array_equal(kept["mic"][1].values, values[500:])
    assert [piece.times_s.tolist() for piece in kept["imu"]] == [[0.2, 0.6]]
    assert hop.pieces["imu"] == [rows]


def test_the_end_of_a_drop_is_outside_it():
    drops = [Drop("text", 1.0, 2.0)]
    assert [dropped_at(drops, "text", t) is not None for t in (0.9, 1.0, 1.9, 2.0)] == [False, True, True, False]
    assert dropped_at(drops, "audio", 1.5) is None


def test_words_that_end_in_a_drop_are_gone():
    words = [Word(0.5, 0.9, "stays"), Word(0.9, 1.1, "goes"), Word(1.9, 2.1, "stays")]
    assert [w.text for w in words_after_drops(words, [Drop("text", 1.0, 2.0)], "text")] == ["stays", "stays"]

"""Frames and sound that callers bring as numpy arrays: what they become, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from taemi_edge.errors import UsageError
from taemi_edge.media.arrays import Frames, Sound
from tests.media import tone


def test_frames_come_one_by_one_with_their_times():
    pictures = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)
    frames = Frames(pictures, [1.0, 1.5]).as_frames()
    assert [frame.time_s for frame in frames] == [1.0, 1.5]
    np.testing.assert_array_equal(frames[1].image, pictures[1])


@pytest.mark.parametrize(
    ("array", "times_s", "message"),
    [
        (np.zeros((2, 4, 6, 3), np.float32), [0, 1], r"expected frames as RGB uint8 \(N, H, W, 3\), got float32"),
        (np.zeros((4, 6, 3), np.uint8), [0], r"got uint8 \(4, 6, 3\)"),
        (np.zeros((1, 4, 6, 4), np.uint8), [0], r"got uint8 \(1, 4, 6, 4\)"),
        (np.zeros((2, 4, 6, 3), np.uint8), [0.0], "expected a time for each of 2 frames"),
        (np.zeros((2, 4, 6, 3), np.uint8), [1.0, 0.5], "in seconds and in order"),
        (np.zeros((1, 4, 6, 3), np.uint8), [np.nan], "in seconds and in order"),
    ],
)
def test_frames_that_do_not_fit_are_one_sentence(array, times_s, message: str):
    with pytest.raises(UsageError, match=message):
        Frames(array, times_s)


def test_sound_without_a_time_ends_now():
    samples = Sound(tone(2.0, 48_000), 48_000).as_samples(16_000, now_s=10.0)
    assert samples.time_s == pytest.approx(8.0)
    assert samples.values.dtype == np.float32
    assert len(samples.values) == pytest.approx(32_000, abs=32)


def test_sound_with_a_time_keeps_it():
    assert Sound(tone(1.0), 16_000, time_s=3.0).as_samples(16_000, now_s=10.0).time_s == 3.0


def test_resampled_sound_is_the_same_tone():
    samples = Sound(tone(1.0, 48_000), 48_000).as_samples(16_000)
    middle = slice(4_000, 12_000)  # a resampler rings at both ends
    np.testing.assert_allclose(samples.values[middle], tone(1.0)[middle], atol=0.01)


def test_channels_are_averaged_and_int16_is_scaled():
    stereo = np.array([[16_384, 0], [-32_768, -32_768]], np.int16)
    np.testing.assert_allclose(Sound(stereo, 16_000).as_samples(16_000).values, [0.25, -1.0])


def test_no_samples_are_no_samples():
    assert len(Sound(np.zeros(0, np.float32), 48_000).as_samples(16_000).values) == 0


@pytest.mark.parametrize(
    ("array", "rate_hz", "message"),
    [
        (np.zeros(8, np.int32), 16_000, "expected sound as float32 or int16"),
        (np.zeros((2, 2, 2), np.float32), 16_000, "expected sound as float32 or int16"),
        (np.zeros((2, 16_000), np.float32), 16_000, "are its axes swapped"),
        (np.zeros(8, np.float32), 0, "expected a whole sample rate from 1000 to 768000 Hz, got 0"),
    ],
)
def test_sound_that_does_not_fit_is_one_sentence(array, rate_hz: int, message: str):
    with pytest.raises(UsageError, match=message):
        Sound(array, rate_hz)

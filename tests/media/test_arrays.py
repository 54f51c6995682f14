"""Frames and sound that callers bring as numpy arrays: what they become, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from taemi_edge.errors import UsageError
from taemi_edge.media.arrays import Frames, Samples, Sound, is_picture
from tests.media import tone


def test_frames_come_one_by_one_with_their_times():
    pictures = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)
    frames = Frames(pictures, [1.0, 1.5]).as_frames()
    assert [frame.time_s for frame in frames] == [1.0, 1.5]
    np.testing.assert_array_equal(frames[1].image, pictures[1])


@pytest.mark.parametrize(
    ("array", "times_s", "message"),
    [
        (np.zeros((2, 4, 6, 3), np.int32), [0, 1], r"expected frames as RGB uint8 \(N, H, W, 3\), .* got int32"),
        (np.zeros((2, 4, 6, 3), bool), [0, 1], "got bool"),
        (np.zeros((4, 6), np.uint8), [0], r"got uint8 \(4, 6\)"),
        (np.zeros((1, 5, 6, 2), np.uint8), [0], r"got uint8 \(1, 5, 6, 2\)$"),
        (np.zeros((1, 3, 24, 32), np.uint8), [0], "are its channels first"),
        (np.zeros((1, 0, 6, 3), np.uint8), [0], r"got uint8 \(1, 0, 6, 3\)"),
        (np.full((1, 4, 6, 3), 255.0), [0], r"floats in \[0, 1\], got 255 to 255"),
        (np.full((1, 4, 6, 3), np.nan, np.float32), [0], r"floats in \[0, 1\], got nan"),
        (np.zeros((2, 4, 6, 3), np.uint8), [0.0], "expected a time for each of 2 frames"),
        (np.zeros((2, 4, 6, 3), np.uint8), [1.0, 0.5], "in seconds and in order"),
        (np.zeros((1, 4, 6, 3), np.uint8), [np.nan], "in seconds and in order"),
    ],
)
def test_frames_that_do_not_fit_are_one_sentence(array, times_s, message: str):
    with pytest.raises(UsageError, match=message):
        Frames(array, times_s)


GREYS = np.array([0, 1, 127, 128, 254, 255], np.uint8)


@pytest.mark.parametrize(
    ("array", "highest"),
    [
        (GREYS[None, None], None),
        (GREYS[None, None, :, None], None),
        (np.stack([GREYS] * 3 + [GREYS[::-1]], axis=-1)[None, None], None),  # alpha is left out
        (GREYS[None, None].astype(np.uint16) * 257, None),
        ((GREYS[None, None].astype(np.uint16) * 257).astype(">u2"), None),
        (GREYS[None, None].astype(np.uint16) * 16, 255 * 16),
        (GREYS[None, None] / 255, None),
        ((GREYS[None, None] / 255).astype(np.float16), None),
    ],
    ids=["grey", "one channel", "RGBA", "uint16", "other byte order", "highest", "float64", "float16"],
)
def test_pictures_of_other_kinds_become_rgb(array, highest: int | None):
    (frame,) = Frames(array, [0.0], highest=highest).as_frames()
    assert frame.image.dtype == np.uint8
    np.testing.assert_array_equal(frame.image, np.stack([GREYS] * 3, axis=-1)[None])


def test_what_is_above_the_highest_is_white():
    assert Frames(np.full((1, 2, 2), 9_000, np.uint16), [0.0], highest=5_000).as_frames()[0].image.min() == 255


@pytest.mark.parametrize("highest", [0, -1, 70_000])
def test_a_highest_that_cannot_be_is_refused(highest: int):
    with pytest.raises(UsageError, match="expected highest from 1 to 65535"):
        Frames(np.zeros((1, 2, 2), np.uint16), [0.0], highest=highest)


@pytest.mark.parametrize(
    ("shape", "one"),
    [
        ((4, 6), True),
        ((4, 6, 1), True),
        ((4, 6, 3), True),
        ((4, 6, 4), True),
        ((4, 6, 5), False),
        ((1, 4, 6, 3), False),
    ],
)
def test_one_picture_is_told_from_several(shape: tuple[int, ...], one: bool):
    assert is_picture(np.zeros(shape, np.uint8)) == one


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


def test_times_of_samples_are_seconds():
    rows = np.zeros((3, 2))
    with pytest.raises(UsageError, match="divide milliseconds by 1000"):
        Samples(rows, times_s=1.76e12 + np.arange(3))
    with pytest.raises(UsageError, match="expected times in seconds as numbers, got datetime64"):
        Samples(rows, times_s=np.arange(3).astype("datetime64[ms]"))


def test_samples_beyond_float32_become_infinite_without_a_warning(recwarn: pytest.WarningsRecorder):
    assert np.isinf(Samples(np.full((1, 1), 1e39), rate_hz=10).timed()[1]).all()
    assert not recwarn.list

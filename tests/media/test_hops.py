"""The frame grid, and pictures however they are held."""

from __future__ import annotations

import av
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.media.hops import AudioPlacer, Frame, FrameGrid


def test_the_grid_takes_the_first_frame_of_each_slot():
    grid = FrameGrid(5.0)
    times = [0.0, 0.08, 0.16, 0.24, 0.32, 0.4, 0.48, 1.3, 1.35, 1.4]
    assert [t for t in times if grid.wants(t)] == [0.0, 0.24, 0.4, 1.3, 1.4]


@given(st.lists(st.floats(0, 20), max_size=60).map(sorted))
def test_the_grid_is_idempotent(times: list[float]):
    first, second = FrameGrid(5.0), FrameGrid(5.0)
    once = [t for t in times if first.wants(t)]
    assert [t for t in once if second.wants(t)] == once


def test_a_frame_of_pixels_is_its_own_image():
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    assert Frame(0.0, pixels).image is pixels
    blue_first = pixels[..., ::-1]
    assert Frame(0.0, blue_first).image.flags.c_contiguous
    np.testing.assert_array_equal(Frame(0.0, blue_first).image, blue_first)


def test_a_frame_of_pyav_is_converted_to_rgb():
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[..., 0] = 255
    picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    np.testing.assert_array_equal(Frame(0.0, picture).image, pixels)


def test_sound_that_jumps_is_placed_anew():
    placer, placed = AudioPlacer(16_000), []
    for time_s in (0.0, 0.1, 5.0):
        sound = av.AudioFrame.from_ndarray(np.ones((1, 1_600), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16_000
        placed += placer.place(sound, time_s)
    placed += placer.finish()
    assert sum(len(piece.values) for piece in placed) == 4_800
    assert placed[-1].time_s >= 5.0

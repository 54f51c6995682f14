"""Colours of decoded pictures: right by the formula, and the same on every processor."""

from __future__ import annotations

import hashlib

import av
import numpy as np
import pytest

from taemi_edge.media.colours import rgb_pixels

#: BT.601 in limited range, the textbook's formula (ITU-R BT.601-7, section 2.5.3).
_RGB = np.array([[1.164383, 0, 1.596027], [1.164383, -0.391762, -0.812968], [1.164383, 2.017232, 0]])
_BT709, _FULL_RANGE = 1, 2
#: Of the converted noise, on x86 and on an emulated Cortex-A76.
ON_X86_AND_ARM = "1d132c7fc36724a4ec570aaf6c7905c49e12b4bdc8bd6a0348e06371b47f074a"


def _noise(layout: str) -> tuple[np.ndarray, np.ndarray]:
    """A picture in a layout, and the RGB that the formula gives, with one colour for four pixels."""
    rng = np.random.default_rng(0)
    luma = rng.integers(16, 236, (48, 64), np.uint8)
    chroma = rng.integers(100, 156, (2, 24, 32), np.uint8)
    packed = chroma.reshape(2, 12, 64) if layout == "yuv420p" else chroma.transpose(1, 2, 0).reshape(24, 64)
    planes = np.concatenate([luma, packed.reshape(-1, 64)])
    wide = chroma.repeat(2, axis=1).repeat(2, axis=2)
    values = np.stack([luma - 16.0, wide[0] - 128.0, wide[1] - 128.0], axis=-1)
    return planes, np.clip(values @ _RGB.T, 0, 255)


@pytest.mark.parametrize("layout", ["yuv420p", "nv12"])
def test_the_commonest_conversion_follows_the_formula(layout):
    planes, expected = _noise(layout)
    found = rgb_pixels(av.VideoFrame.from_ndarray(planes, format=layout))
    assert np.abs(found - expected).max() < 1.5


def test_the_commonest_conversion_is_the_same_on_every_processor():
    planes, _ = _noise("yuv420p")
    found = rgb_pixels(av.VideoFrame.from_ndarray(planes, format="yuv420p"))
    assert hashlib.sha256(found.tobytes()).hexdigest() == ON_X86_AND_ARM


@pytest.mark.parametrize(
    ("name", "value"), [("colorspace", _BT709), ("color_range", _FULL_RANGE)], ids=["BT.709", "full range"]
)
def test_other_colours_are_converted_by_what_the_picture_says(name, value):
    planes, as_bt601 = _noise("yuv420p")
    picture = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    setattr(picture, name, value)
    found = rgb_pixels(picture)
    np.testing.assert_array_equal(found, picture.to_ndarray(format="rgb24"))
    assert np.abs(found - as_bt601).mean() > 2


@pytest.mark.parametrize("layout", ["yuv420p", "yuv422p", "gray", "rgb24", "bgra", "yuv420p10le"])
def test_pictures_of_other_layouts_and_odd_sizes_are_converted(layout):
    picture = av.VideoFrame(63, 47, layout)
    for plane in picture.planes:
        plane.update(bytes(plane.buffer_size))
    assert rgb_pixels(picture).shape == (47, 63, 3)

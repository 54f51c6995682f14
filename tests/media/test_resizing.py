"""Pictures without OpenCV are those that OpenCV makes, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest

from taemi_edge.media.colours import rgb_of_planes
from taemi_edge.media.resizing import enlarged, resized, shrunk

cv2 = pytest.importorskip("cv2", reason="OpenCV is in the extra `pictures`")


def _noise(height: int, width: int, channels: int = 3):
    return np.random.default_rng([height, width]).integers(0, 256, (height, width, channels), np.uint8)


SHRUNK = [
    ((480, 640), (224, 224)),
    ((720, 1280), (192, 108)),
    ((241, 321), (112, 112)),
    ((96, 128), (32, 32)),
    ((64, 64), (32, 32)),  # two by two: halves are rounded up
    ((60, 60), (10, 10)),  # whole areas: halves go to the even number
    ((30, 30), (30, 30)),
    ((7, 5), (1, 1)),
    ((120, 40), (60, 30)),  # wider, and lower
    ((40, 200), (100, 50)),
]


@pytest.mark.parametrize(("size_hw", "wanted_wh"), SHRUNK, ids=str)
def test_shrinks_as_opencv_does(size_hw, wanted_wh):
    image = _noise(*size_hw)
    np.testing.assert_array_equal(shrunk(image, wanted_wh), cv2.resize(image, wanted_wh, interpolation=cv2.INTER_AREA))


ENLARGED = [
    ((130, 130), (224, 224)),
    ((1, 1), (32, 32)),
    ((33, 77), (112, 224)),
    ((5, 300), (310, 6)),
    ((9, 9), (9, 9)),
]


@pytest.mark.parametrize(("size_hw", "wanted_wh"), ENLARGED, ids=str)
def test_enlarges_as_opencv_does(size_hw, wanted_wh):
    image = _noise(*size_hw)
    np.testing.assert_array_equal(
        enlarged(image, wanted_wh), cv2.resize(image, wanted_wh, interpolation=cv2.INTER_LINEAR)
    )


def test_any_two_sizes_agree():
    draw = np.random.default_rng(5)
    for _ in range(60):
        height, width, wanted_h, wanted_w = (int(side) for side in draw.integers(1, 130, 4))
        image = _noise(height, width)
        for own, interpolation in ((shrunk, cv2.INTER_AREA), (enlarged, cv2.INTER_LINEAR)):
            theirs = cv2.resize(image, (wanted_w, wanted_h), interpolation=interpolation)
            np.testing.assert_array_equal(own(image, (wanted_w, wanted_h)), theirs, f"{image.shape} {wanted_h} {own}")


@pytest.mark.parametrize("shrinks", [True, False])
def test_writes_into_given_memory_with_opencv_and_without(shrinks, without_opencv):
    image, into = _noise(50, 60), np.zeros((32, 32, 3), np.uint8)
    with_it = resized(image, (32, 32), shrinks=shrinks, into=into)
    assert with_it is into
    expected = into.copy()
    into[:] = 0
    with without_opencv():
        assert resized(image, (32, 32), shrinks=shrinks, into=into) is into
    np.testing.assert_array_equal(into, expected)


@pytest.mark.parametrize("size_hw", [(2, 2), (90, 160), (482, 642)], ids=str)
def test_colours_are_those_of_opencv(size_hw):
    planes = _noise(size_hw[0] * 3 // 2, size_hw[1], 1)[..., 0]
    np.testing.assert_array_equal(
        rgb_of_planes(planes, interleaved=False), cv2.cvtColor(planes, cv2.COLOR_YUV2RGB_I420)
    )
    np.testing.assert_array_equal(rgb_of_planes(planes, interleaved=True), cv2.cvtColor(planes, cv2.COLOR_YUV2RGB_NV12))

"""Crops: their size, and what lies in their middle."""

from __future__ import annotations

import numpy as np
import pytest

from taemi_edge.media.crops import crop_face
from taemi_edge.media.faces import Face


@pytest.mark.parametrize("box", [(2, 2, 8, 8), (-20, -20, 10, 10), (90, 50, 130, 120), (-50, -50, -10, -10)])
def test_a_crop_has_its_size_wherever_the_face_is(box: tuple[float, ...]):
    crop = crop_face(np.full((100, 120, 3), 200, np.uint8), Face(box, 1.0), (32, 48))
    assert (crop.shape, crop.dtype) == ((32, 48, 3), np.uint8)


def test_a_crop_is_centred_on_the_face():
    image = np.zeros((100, 100, 3), np.uint8)
    image[40:60, 40:60] = 255
    crop = crop_face(image, Face((40, 40, 60, 60), 1.0), (26, 26))
    np.testing.assert_array_equal(crop[..., 0] > 0, np.pad(np.ones((20, 20), bool), 3))

"""Faces: found, followed from frame to frame, and cut out."""

from __future__ import annotations

import numpy as np
import pytest

from taemi_edge.media.crops import Face, FaceDetector, FaceTracker, crop_face, overlap
from taemi_edge.media.files import MediaFile


@pytest.fixture(scope="module")
def demo_frame(demo_video):
    with MediaFile(demo_video, 16_000, 5.0) as media:
        return next(hop.frames[0].image for hop in media.hops(0.5) if hop.frames)


def test_the_drawn_face_is_found_where_it_is(demo_frame):
    (face,) = FaceDetector().detect(demo_frame)
    assert overlap(face.box_xyxy, (95, 72, 225, 203)) > 0.8
    assert face.score > 0.7


def test_a_far_face_in_a_wide_picture_is_found_and_an_empty_one_has_none(demo_frame):
    wide = np.full((720, 1280, 3), 128, np.uint8)
    wide[400:640, 900:1220] = demo_frame
    (face,) = FaceDetector().detect(wide)
    assert overlap(face.box_xyxy, (995, 472, 1125, 603)) > 0.6
    assert FaceDetector().detect(np.full((240, 320, 3), 128, np.uint8)) == []


class ScriptedDetector(FaceDetector):
    """Gives what it is told; the tracker's choice is what is tested."""

    def __init__(self, *answers: list[Face]) -> None:
        self.answers = list(answers)

    def detect(self, image: np.ndarray) -> list[Face]:
        return self.answers.pop(0)


LEFT, LEFT_MOVED, RIGHT = Face((10, 10, 50, 50), 0.8), Face((14, 10, 54, 50), 0.7), Face((100, 10, 140, 50), 0.9)


def test_the_tracker_keeps_to_its_face_and_lets_go_after_a_second():
    tracker = FaceTracker(ScriptedDetector([LEFT], [RIGHT, LEFT_MOVED], [RIGHT], [RIGHT]))
    image = np.zeros((1, 1, 3), np.uint8)
    assert tracker.find(image, 0.0) is LEFT
    assert tracker.find(image, 0.2) is LEFT_MOVED
    assert tracker.find(image, 0.4) is None
    assert tracker.find(image, 1.3) is RIGHT


@pytest.mark.parametrize("box", [(2, 2, 8, 8), (-20, -20, 10, 10), (90, 50, 130, 120), (-50, -50, -10, -10)])
def test_a_crop_has_its_size_wherever_the_face_is(box: tuple[float, ...]):
    crop = crop_face(np.full((100, 120, 3), 200, np.uint8), Face(box, 1.0), (32, 48))
    assert (crop.shape, crop.dtype) == ((32, 48, 3), np.uint8)


def test_a_crop_is_centred_on_the_face():
    image = np.zeros((100, 100, 3), np.uint8)
    image[40:60, 40:60] = 255
    crop = crop_face(image, Face((40, 40, 60, 60), 1.0), (26, 26))
    np.testing.assert_array_equal(crop[..., 0] > 0, np.pad(np.ones((20, 20), bool), 3))

"""One face, followed from frame to frame: by detection alone, and by its motion between detections."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from taemi_edge.bundle.values import Array
from taemi_edge.errors import UsageError
from taemi_edge.media.face_tracking import FOLLOW_FOR_S, FacePatch, FaceTracker
from taemi_edge.media.faces import Face, FaceDetector
from taemi_edge.media.files import MediaFile


class ScriptedDetector(FaceDetector):
    """Gives what it is told; the tracker's choice is what is tested."""

    def __init__(self, *answers: list[Face]) -> None:
        self.answers = list(answers)

    def detect(self, image: np.ndarray) -> list[Face]:
        return self.answers.pop(0)


class CountingDetector(FaceDetector):
    """Says in which frames it was asked, by how many frames there had been."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def detect(self, image: np.ndarray) -> list[Face]:
        self.count += 1
        return super().detect(image)


LEFT, LEFT_MOVED, RIGHT = Face((10, 10, 50, 50), 0.8), Face((14, 10, 54, 50), 0.7), Face((100, 10, 140, 50), 0.9)


def test_the_tracker_keeps_to_its_face_and_lets_go_after_a_second():
    tracker = FaceTracker(ScriptedDetector([LEFT], [RIGHT, LEFT_MOVED], [RIGHT], [RIGHT]), detect_every=1)
    image = np.zeros((1, 1, 3), np.uint8)
    assert tracker.find(image, 0.0) is LEFT
    assert tracker.find(image, 0.2) is LEFT_MOVED
    assert tracker.find(image, 0.4) is None
    assert tracker.find(image, 1.3) is RIGHT


@pytest.fixture(scope="module")
def person(demo_video) -> Array:
    """A picture of the drawn face, (240, 320, 3)."""
    with MediaFile(demo_video, 16_000, 5.0) as media:
        return next(hop.frames[0].image for hop in media.hops(0.5) if hop.frames)


@pytest.fixture(scope="module")
def nobody() -> Array:
    """A wall that grows lighter to one side."""
    row = np.linspace(60, 200, 320).astype(np.uint8)
    return np.repeat(np.tile(row, (240, 1))[..., None], 3, axis=2)


def changed(picture: Array, moved_xy: tuple[float, float] = (0, 0), scale: float = 1.0, turned: float = 0.0) -> Array:
    """Synthetic motion: the picture, moved, scaled and turned about its middle."""
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turned, scale)
    matrix[:, 2] += moved_xy
    return cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def detected_in(pictures: list[Array], times_s: list[float] | None = None, every: int = 3) -> list[bool]:
    """In which frames faces were detected, in place of following the last one."""
    detector, before, asked = CountingDetector(), 0, []
    tracker = FaceTracker(detector, 5.0, every)
    for at, picture in enumerate(pictures):
        tracker.find(picture, at * 0.2 if times_s is None else times_s[at])
        asked.append(detector.count > before)
        before = detector.count
    return asked


def test_faces_can_be_detected_in_every_frame(person):
    assert detected_in([person] * 4, every=1) == [True] * 4
    detector = CountingDetector()
    tracker = FaceTracker(detector, detect_every=1)
    assert [tracker.find(person, at * 0.2) for at in range(4)] == FaceDetector().detect(person) * 4
    assert detector.count == 4


def test_between_detections_a_face_is_followed(person):
    moving = [changed(person, (2 * at, -at), 1 + 0.004 * at, 0.5 * at) for at in range(10)]
    assert detected_in(moving) == [at % 3 == 0 for at in range(10)]


@pytest.mark.parametrize(
    ("moved_xy", "scale"), [((9, 0), 1), ((-6, 7), 1), ((0, 0), 1.06), ((0, 0), 0.94), ((5, 5), 1.03), ((0, 0), 1)]
)
@pytest.mark.parametrize("enlarged", [1, 3])
def test_a_followed_face_moves_as_the_picture_does(person, moved_xy, scale, enlarged):
    picture = cv2.resize(person, None, fx=enlarged, fy=enlarged, interpolation=cv2.INTER_LINEAR)
    moved_xy = tuple(enlarged * each for each in moved_xy)
    (face,) = FaceDetector().detect(picture)
    found = FacePatch(picture, face).find(changed(picture, moved_xy, scale))
    middle = np.array([picture.shape[1], picture.shape[0]] * 2) / 2
    expected = (np.array(face.box_xyxy) - middle) * scale + middle + np.tile(moved_xy, 2)
    side = face.box_xyxy[2] - face.box_xyxy[0]
    np.testing.assert_allclose(found.box_xyxy, expected, atol=0.012 * side)
    assert found.score == face.score


def test_a_face_that_left_is_not_followed(person, nobody):
    tracker = FaceTracker(FaceDetector(), 5.0, 3)
    assert tracker.find(person, 0.0) is not None
    assert tracker.find(nobody, 0.2) is None
    assert tracker.find(np.zeros_like(person), 0.4) is None
    assert tracker.find(person, 0.6) is not None


def test_where_the_picture_says_nothing_of_the_motion_the_face_is_detected(person, nobody):
    moving = [changed(person, (at, 0)) for at in range(3)]
    cut = [*moving[:2], changed(person, (60, 20), 0.7)]
    assert detected_in(cut) == [True, False, True]
    hidden = moving[1].copy()
    hidden[60:220, 80:200] = nobody[60:220, 80:200]
    assert detected_in([moving[0], hidden, moving[2]]) == [True, True, True]


def test_a_face_that_comes_is_found_at_once(person, nobody):
    assert detected_in([nobody, nobody, nobody, nobody, person, person]) == [True, True, True, True, True, False]


def test_another_resolution_a_pause_and_times_that_go_back_are_detected(person):
    larger = cv2.resize(person, (640, 480))
    assert detected_in([person, larger, larger, person]) == [True, True, False, True]
    assert detected_in([person] * 3, [0.0, 0.1, 0.1 + FOLLOW_FOR_S]) == [True, False, True]
    assert detected_in([person] * 4, [5.0, 4.8, 4.9, 4.9]) == [True, True, False, True]


def test_groups_of_frames_lie_on_the_clock(person):
    """Whoever begins later finds the same as whoever was there before, from the next group on."""
    moving = [changed(person, (2 * at, -at)) for at in range(9)]
    found = []
    for begin in (0, 1, 2):
        tracker = FaceTracker(FaceDetector(), 5.0, 3)
        found.append([tracker.find(moving[at], at * 0.2) for at in range(begin, 9)])
    assert found[0][3:] == found[1][2:] == found[2][1:]
    assert found[0][1:] != found[1]


def test_frames_at_any_rate_are_followed(person):
    assert detected_in([person] * 8, [at / 25 for at in range(8)]) == [at in (0, 15) for at in range(8)]
    assert detected_in([person] * 4, [float(at) for at in range(4)]) == [True] * 4


def test_two_people_are_not_mixed_up(person):
    pair = np.concatenate([person, person[:, ::-1]], axis=1)
    tracker = FaceTracker(FaceDetector(), 5.0, 3)
    found = [tracker.find(changed(pair, (3 * at, 0)), at * 0.2) for at in range(7)]
    middles = [(face.box_xyxy[0] + face.box_xyxy[2]) / 2 for face in found if face]
    assert len(middles) == 7
    assert np.abs(np.diff(middles) - 3).max() < 5


@pytest.mark.parametrize("size_hw", [(1, 1), (2, 3), (1, 500), (500, 1), (24, 24)])
@pytest.mark.parametrize("box", [(0, 0, 1, 1), (-50, -50, 80, 80), (5, 5, 5, 5), (1e5, 0, 2e5, 9e4)])
def test_a_patch_of_any_size_gives_a_face_or_none(size_hw, box):
    patch = FacePatch(np.zeros((*size_hw, 3), np.uint8), Face(box, 0.9))
    assert patch.find(np.full((*size_hw, 3), 200, np.uint8)) is None


@pytest.mark.parametrize(
    "box", [(-60, 40, 0.4, 100), (40, -60, 100, 0.4), (47.7, 10, 99, 60), (-60, 20, -1, 80), (63.1, 3.8, 148.5, 137.3)]
)
def test_a_face_that_is_hardly_in_view_is_not_followed(box):
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    assert FacePatch(picture, Face(box, 0.9)).find(picture) is None


@pytest.mark.parametrize("every", [0, -4])
def test_no_frames_are_no_group(every):
    with pytest.raises(UsageError, match=f"expected detect_every of at least 1 frame, got {every}"):
        FaceTracker(ScriptedDetector(), 5.0, every)


def test_the_same_pictures_give_the_same_boxes(person):
    moving = [changed(person, (2 * at, -at), 1 + 0.004 * at) for at in range(7)]
    runs = []
    for _ in range(2):
        tracker = FaceTracker(FaceDetector(), 5.0, 3)
        runs.append([tracker.find(picture, at * 0.2) for at, picture in enumerate(moving)])
    assert runs[0] == runs[1]

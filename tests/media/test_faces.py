"""The face detector: what it finds, and that its ONNX graph gives what the original gives on LiteRT."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from taemi_edge.bundle.values import Array
from taemi_edge.media.faces import FaceDetector, overlap
from taemi_edge.media.files import MediaFile

ORIGINAL = Path(__file__).parent / "blazeface_full_range_sparse.tflite"


def frames(path: Path, every_s: float = 0.5) -> list[Array]:
    """A frame of each half second of a clip."""
    with MediaFile(path, 16_000, 1 / every_s) as media:
        return [frame.image for hop in media.hops(every_s) for frame in hop.frames]


@pytest.fixture(scope="module")
def demo_frames(demo_video) -> list[Array]:
    return frames(demo_video)


def test_the_drawn_face_is_found_where_it_is(demo_frames):
    (face,) = FaceDetector().detect(demo_frames[0])
    assert overlap(face.box_xyxy, (95, 72, 225, 203)) > 0.8
    assert face.score > 0.7


def test_a_far_face_in_a_wide_picture_is_found_and_an_empty_one_has_none(demo_frames):
    wide = np.full((720, 1280, 3), 128, np.uint8)
    wide[400:640, 900:1220] = demo_frames[0]
    (face,) = FaceDetector().detect(wide)
    assert overlap(face.box_xyxy, (995, 472, 1125, 603)) > 0.6
    assert FaceDetector().detect(np.full((240, 320, 3), 128, np.uint8)) == []


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 400), (300, 1), (2, 3), (4320, 7680)])
def test_a_picture_may_have_any_size(size_hw):
    assert FaceDetector().detect(np.zeros((*size_hw, 3), np.uint8)) == []


def test_what_one_picture_left_behind_is_not_seen_in_the_next(demo_frames):
    detector, tall = FaceDetector(), np.zeros((320, 60, 3), np.uint8)
    assert detector.detect(demo_frames[0])
    assert detector.detect(tall) == []
    assert detector.detect(demo_frames[0]) == FaceDetector().detect(demo_frames[0])


class LiteRtDetector(FaceDetector):
    """The same detector on LiteRT: the original graph, and the pixels as floats."""

    def __init__(self) -> None:
        interpreter_of = pytest.importorskip(
            "ai_edge_litert.interpreter", reason="LiteRT is for comparison"
        ).Interpreter
        super().__init__()
        self._interpreter = interpreter_of(model_content=ORIGINAL.read_bytes(), num_threads=1)
        self._interpreter.allocate_tensors()
        self._session = self

    def run(self, _: list[str], feeds: dict[str, Array]) -> list[Array]:
        """What ONNX Runtime's session would give: scores (2304, 1) and boxes (2304, 4)."""
        pixels = feeds["pixels"].astype(np.float32) / 127.5 - 1.0
        self._interpreter.set_tensor(self._interpreter.get_input_details()[0]["index"], pixels)
        self._interpreter.invoke()
        values = [self._interpreter.get_tensor(each["index"])[0] for each in self._interpreter.get_output_details()]
        return sorted((value[:, :4] for value in values), key=lambda value: value.shape[1])


def agree(pictures: list[Array]) -> int:
    """Hold both detectors together, number by number and face by face; gives how many faces there were."""
    ours, original, count = FaceDetector(), LiteRtDetector(), 0
    for picture in pictures:
        expected, found = original.detect(picture), ours.detect(picture)
        given = [each._session.run(["scores", "boxes"], {"pixels": ours._pixels}) for each in (ours, original)]
        for value, wanted in zip(*given, strict=True):
            np.testing.assert_allclose(value, wanted, atol=5e-4, rtol=1e-5)  # logits reach 100, boxes 200 pixels
        assert len(found) == len(expected)
        for face, wanted_face in zip(found, expected, strict=True):
            np.testing.assert_allclose(
                face.box_xyxy, wanted_face.box_xyxy, atol=1e-4 * max(1, max(picture.shape) / 192)
            )
            assert abs(face.score - wanted_face.score) < 1e-4
        count += len(found)
    return count


def test_the_graph_gives_what_the_original_gives_on_litert(demo_frames):
    bigger = cv2.resize(demo_frames[0], (1280, 720))
    assert agree([*demo_frames[::4], bigger, bigger[:, ::-1], bigger[::-1], np.rot90(bigger)]) >= 6


def test_it_does_so_on_noise(demo_frames):
    noise = np.random.default_rng(0).integers(0, 256, (4, 192, 192, 3), dtype=np.uint8)
    agree(list(noise))


@pytest.mark.network
def test_it_does_so_on_a_real_face(real_clip):
    assert agree(frames(real_clip)) >= 17

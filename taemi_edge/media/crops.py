"""Finds faces in frames, follows one face from frame to frame, and crops it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

import cv2
import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.media.native_output import quiet_native_code
from taemi_edge.media.slots import NO_SLOT


@dataclass(frozen=True)
class Face:
    """A detected face.

    Attributes:
        box_xyxy: its box as x1, y1, x2, y2, in pixels of the frame.
        score: the detector's confidence, from 0 to 1.
    """

    box_xyxy: tuple[float, float, float, float]
    score: float


class FaceDetector:
    """BlazeFace, full range, sparse (MediaPipe; Bazarevsky et al. 2019, arXiv 1907.05047), on LiteRT.

    One output layer: 48 x 48 anchors, each a box and six key points relative to the anchor's centre, in pixels of the
    192 x 192 input.

    Args:
        threads: for LiteRT.
    """

    size = 192
    min_score = 0.5
    max_overlap = 0.3

    def __init__(self, threads: int = 1) -> None:
        from ai_edge_litert.interpreter import Interpreter

        weights = (files("taemi_edge") / "assets" / "blazeface_full_range_sparse.tflite").read_bytes()
        with quiet_native_code():  # LiteRT greets from C++ and offers no switch for it (2.3.0)
            self._interpreter = Interpreter(model_content=weights, num_threads=threads)
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        outputs = sorted(self._interpreter.get_output_details(), key=lambda output: -int(output["shape"][-1]))
        self._boxes, self._scores = (output["index"] for output in outputs)
        steps = (np.arange(48) + 0.5) / 48
        self._anchors_xy = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)

    def detect(self, image: Array) -> list[Face]:
        """All faces of an RGB image, uint8 (H, W, 3), the most confident first."""
        height, width = image.shape[:2]
        side = max(height, width)
        left, top = (side - width) // 2, (side - height) // 2
        scale = self.size / side
        small = cv2.resize(
            image, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
        )
        canvas = np.zeros((self.size, self.size, 3), np.float32)
        y, x = round(top * scale), round(left * scale)
        canvas[y : y + small.shape[0], x : x + small.shape[1]] = small[: self.size - y, : self.size - x]
        self._interpreter.set_tensor(self._input, (canvas / 127.5 - 1.0)[None])
        self._interpreter.invoke()
        logits = np.clip(self._interpreter.get_tensor(self._scores)[0, :, 0], -80, 80)
        scores = 1 / (1 + np.exp(-logits))
        chosen = np.flatnonzero(scores > self.min_score)
        raw = self._interpreter.get_tensor(self._boxes)[0, chosen] / self.size
        centre, half = raw[:, 0:2] + self._anchors_xy[chosen], raw[:, 2:4] / 2
        boxes = np.concatenate([centre - half, centre + half], axis=1) * side - [left, top, left, top]
        return _merge_overlapping(boxes, scores[chosen], self.max_overlap)


def _merge_overlapping(boxes_xyxy: Array, scores: Array, max_overlap: float) -> list[Face]:
    """Non-maximum suppression that averages what it suppresses by score, which steadies the box between frames."""
    faces: list[Face] = []
    left = list(np.argsort(-scores))
    while left:
        best = boxes_xyxy[left[0]]
        same = [i for i in left if overlap(best, boxes_xyxy[i]) > max_overlap]
        box = np.average(boxes_xyxy[same], axis=0, weights=scores[same])
        faces.append(Face((float(box[0]), float(box[1]), float(box[2]), float(box[3])), float(scores[left[0]])))
        left = [i for i in left if i not in same and i != left[0]]
    return faces


def overlap(a: Array | tuple[float, ...], b: Array | tuple[float, ...]) -> float:
    """Intersection over union of two boxes x1, y1, x2, y2.

    >>> overlap((0, 0, 2, 2), (1, 0, 3, 2))
    0.3333333333333333
    """
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return float(shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared))


class FaceTracker:
    """Follows one face, so that the crops do not alternate between two people in view.

    It takes the face that overlaps the last one most. After `forget_after_s` without it, it takes the face with the
    highest score.
    """

    forget_after_s = 1.0
    min_overlap = 0.2

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector
        self._last: Face | None = None
        self._last_s = 0.0
        self._size_hw: tuple[int, ...] = ()

    def find(self, image: Array, time_s: float) -> Face | None:
        """Find the tracked face in a frame.

        Args:
            image: RGB, uint8 (H, W, 3).
            time_s: of the frame, in seconds.

        Returns:
            The face; None where it is out of view or, after a while, where no face is in view.
        """
        faces = self._detector.detect(image)
        if image.shape[:2] != self._size_hw:  # a camera that changed its resolution: old boxes mean nothing
            self._last, self._size_hw = None, image.shape[:2]
        if self._last is not None and time_s - self._last_s <= self.forget_after_s:
            last = self._last
            faces = [face for face in faces if overlap(last.box_xyxy, face.box_xyxy) >= self.min_overlap]
            faces.sort(key=lambda face: -overlap(last.box_xyxy, face.box_xyxy))
        if not faces:
            return None
        self._last, self._last_s = faces[0], time_s
        return faces[0]


def crop_face(
    image: Array, face: Face, size_hw: tuple[int, int], margin: float = 1.3, into: Array | None = None
) -> Array:
    """Cut out the square around a face; it is black where it reaches beyond the picture.

    Args:
        image: RGB, uint8 (H, W, 3).
        face: in pixels of the image.
        size_hw: the height and width of the crop.
        margin: the side of the square, in multiples of the face's longer side.
        into: memory for the crop, uint8 (*size_hw, 3); a new array by default.

    Returns:
        RGB, uint8 (*size_hw, 3).

    Example:
        >>> crop_face(np.zeros((240, 320, 3), np.uint8), Face((100, 60, 180, 160), 0.9), (32, 32)).shape
        (32, 32, 3)
    """
    x1, y1, x2, y2 = face.box_xyxy
    half = max(x2 - x1, y2 - y1) * margin / 2
    centre_x, centre_y = (x1 + x2) / 2, (y1 + y2) / 2
    left, top = round(centre_x - half), round(centre_y - half)
    side = max(1, round(2 * half))
    inside = image[max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)]
    above, before = max(0, -top), max(0, -left)
    square = np.zeros((side, side, 3), np.uint8)
    square[above : above + inside.shape[0], before : before + inside.shape[1]] = inside
    shrinks = side > max(size_hw)
    return _resized(square, size_hw, shrinks, into)


def resize_whole(image: Array, size_hw: tuple[int, int], into: Array | None = None) -> Array:
    """The whole picture at another size, whatever its shape was.

    Args:
        image: RGB, uint8 (H, W, 3).
        size_hw: the wanted height and width.
        into: memory for the result; a new array by default.

    Returns:
        RGB, uint8 (*size_hw, 3).
    """
    shrinks = image.shape[0] > size_hw[0] or image.shape[1] > size_hw[1]
    return _resized(np.ascontiguousarray(image), size_hw, shrinks, into)


def crop_centre(image: Array, size_hw: tuple[int, int], into: Array | None = None) -> Array:
    """The largest centred rectangle that has the wanted shape, at the wanted size.

    Args:
        image: RGB, uint8 (H, W, 3).
        size_hw: the wanted height and width.
        into: memory for the result; a new array by default.

    Returns:
        RGB, uint8 (*size_hw, 3).

    Example:
        >>> picture = np.zeros((100, 200, 3), np.uint8)
        >>> picture[:, 50:150] = 255                       # the square in the middle is white
        >>> int(crop_centre(picture, (32, 32)).min())
        255
    """
    height, width = image.shape[:2]
    scale = min(height / size_hw[0], width / size_hw[1])
    inside_hw = (max(1, round(size_hw[0] * scale)), max(1, round(size_hw[1] * scale)))
    top, left = (height - inside_hw[0]) // 2, (width - inside_hw[1]) // 2
    return resize_whole(image[top : top + inside_hw[0], left : left + inside_hw[1]], size_hw, into)


def _resized(image: Array, size_hw: tuple[int, int], shrinks: bool, into: Array | None) -> Array:
    """Another size of a picture, written into the given memory where there is any."""
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized: Array = cv2.resize(image, size_hw[::-1], dst=into, interpolation=interpolation)
    return resized


@dataclass(frozen=True, eq=False)
class FaceCrop:
    """What a video's encoder reads of a frame.

    Attributes:
        time_s: of the frame, in seconds.
        pixels: RGB uint8 (H, W, 3), or the clip of several frames (frames, H, W, 3) that ends with this one; None where
            a face was wanted and none was in view.
        slot: the number of the slot that the pixels lie in.
    """

    time_s: float
    pixels: Array | None
    slot: int = NO_SLOT

"""Finds the faces in a picture, on ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.media.resizing import resized

#: ONNX Runtime 1.32 dies (SIGSEGV) in this optimiser where it opens some graphs with FP16 weights on a CPU.
_FATAL_OPTIMISERS = ["FuseFp16InitializerToFp32NodeTransformer"]


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
    """BlazeFace, full range (MediaPipe; Bazarevsky et al. 2019, arXiv 1907.05047), on ONNX Runtime.

    One output layer: 48 x 48 anchors, each a score and a box relative to the centre of the anchor, in pixels of the
    192 x 192 input. `tools/convert_face_detector.py` made the graph. All detectors of a process share it.

    Args:
        threads: for ONNX Runtime.
    """

    size = 192
    min_score = 0.5
    max_overlap = 0.3

    def __init__(self, threads: int = 1) -> None:
        self._session = _session(threads)
        steps = (np.arange(48) + 0.5) / 48
        self._anchors_xy = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
        self._pixels = np.zeros((1, self.size, self.size, 3), np.uint8)
        self._seen = np.zeros(0, np.uint8)
        self._found: tuple[Array, Array] = np.zeros((0, 1)), np.zeros((0, 4))

    def detect(self, image: Array) -> list[Face]:
        """All faces of an RGB image, uint8 (H, W, 3), the most confident first."""
        height, width = image.shape[:2]
        side = max(height, width)
        left, top = (side - width) // 2, (side - height) // 2
        self._shrink(image, left, top, self.size / side)
        scores, raw = self._outputs()
        scores = 1 / (1 + np.exp(-np.clip(scores[:, 0], -80, 80)))
        chosen = np.flatnonzero(scores > self.min_score)
        raw = raw[chosen] / self.size
        centre, half = raw[:, 0:2] + self._anchors_xy[chosen], raw[:, 2:4] / 2
        boxes = np.concatenate([centre - half, centre + half], axis=1) * side - [left, top, left, top]
        return _merge_overlapping(boxes, scores[chosen], self.max_overlap)

    def _outputs(self) -> tuple[Array, Array]:
        """The scores and boxes of all anchors. A covered camera and a still picture are looked at once."""
        if not np.array_equal(self._pixels, self._seen):
            scores, boxes = self._session.run(["scores", "boxes"], {"pixels": self._pixels})
            self._found, self._seen = (scores, boxes), self._pixels.copy()
        return self._found

    def _shrink(self, image: Array, left: int, top: int, scale: float) -> None:
        """Write the picture into the middle of the network's input; what lies beside it is black."""
        height, width = image.shape[:2]
        size_wh = max(1, round(width * scale)), max(1, round(height * scale))
        small = resized(image, size_wh, shrinks=True)
        canvas, y, x = self._pixels[0], round(top * scale), round(left * scale)
        canvas[:] = 0
        canvas[y : y + small.shape[0], x : x + small.shape[1]] = small[: self.size - y, : self.size - x]


@lru_cache(maxsize=4)
def _session(threads: int) -> Any:
    """The network, opened once: several threads may run it at the same time."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    graph = (files("taemi_edge") / "assets" / "blazeface_full_range.onnx").read_bytes()
    return onnxruntime.InferenceSession(
        graph, options, providers=["CPUExecutionProvider"], disabled_optimizers=_FATAL_OPTIMISERS
    )


def _merge_overlapping(boxes_xyxy: Array, scores: Array, max_overlap: float) -> list[Face]:
    """Non-maximum suppression that averages what it suppresses by score, which steadies the box between frames."""
    faces: list[Face] = []
    left = np.argsort(-scores, kind="stable")
    while len(left):
        same = _overlaps(boxes_xyxy[left[0]], boxes_xyxy[left]) > max_overlap
        same[0] = True
        merged = left[same]
        box = np.average(boxes_xyxy[merged], axis=0, weights=scores[merged])
        faces.append(Face((float(box[0]), float(box[1]), float(box[2]), float(box[3])), float(scores[left[0]])))
        left = left[~same]
    return faces


def _overlaps(box_xyxy: Array, others_xyxy: Array) -> Array:
    """Intersection over union of one box with each of several, (n, 4)."""
    sides = np.minimum(box_xyxy[2:], others_xyxy[:, 2:]) - np.maximum(box_xyxy[:2], others_xyxy[:, :2])
    shared = np.prod(np.maximum(sides, 0), axis=1)
    areas = np.prod(others_xyxy[:, 2:] - others_xyxy[:, :2], axis=1)
    union = np.prod(box_xyxy[2:] - box_xyxy[:2]) + areas - shared
    shares: Array = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return shares


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

"""Follows one face from frame to frame: by detection alone, or by its motion between detections."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.errors import UsageError
from taemi_edge.media.faces import Face, FaceDetector, overlap
from taemi_edge.media.opencv import OpenCV, opencv_if_installed

cv2: Any = OpenCV("following a face")
#: In one of how many frames faces are detected by default; docs/concepts/runtime.md says what that changes.
DETECT_EVERY = 4
#: How optical flow searches: the window in pixels of the small picture, the levels of the pyramid, and when it stops.
_SEARCH: dict[str, Any] = {"winSize": (9, 9), "maxLevel": 2, "criteria": (3, 10, 0.03)}
#: Where on a face points are followed, in shares of its box, (25, 1, 2): all over it, without touching its border.
_GRID = np.stack(np.meshgrid(*[np.linspace(0.15, 0.85, 5)] * 2), axis=-1).reshape(-1, 1, 2)
#: Motion is followed from a detection for no longer than this: heads turn, and what was beside a face is on it.
FOLLOW_FOR_S = 0.8
_EPSILON_S = 1e-6


class FaceTracker:
    """Follows one face, so that the crops do not alternate between two people in view.

    It takes the face that overlaps the last one most. After `forget_after_s` without it, it takes the face with the
    highest score.

    Faces are detected in the first frame of each group of `detect_every` periods of the frame rate, and the face is
    followed by its motion in the others. The groups lie on the source's clock, so that what is found soon no longer
    depends on where a run began. Where the motion is not certain, the face is detected too: after a cut or a pause,
    where the face was hidden, and as long as there is none. OpenCV finds the motion: where it is not installed, the
    face is detected in every frame.

    Args:
        detector: finds faces.
        frames_per_second: at which frames are given.
        detect_every: the length of a group in frames; 1 to detect faces in every frame.

    Raises:
        UsageError: `detect_every` is no number of frames.
    """

    forget_after_s = 1.0
    min_overlap = 0.2

    def __init__(
        self, detector: FaceDetector, frames_per_second: float = 5.0, detect_every: int = DETECT_EVERY
    ) -> None:
        if detect_every < 1:
            raise UsageError(f"expected detect_every of at least 1 frame, got {detect_every}: 1 detects in every frame")
        self._detector = detector
        self._groups_per_s = frames_per_second / detect_every
        self._last: Face | None = None
        self._last_s = 0.0
        self._size_hw: tuple[int, ...] = ()
        #: The face as it was detected, and when that was; None after a frame without it, and where none is followed.
        self._patch: FacePatch | None = None
        self._detected_s = 0.0
        self._follows = detect_every > 1 and opencv_if_installed() is not None

    def find(self, image: Array, time_s: float) -> Face | None:
        """Find the tracked face in a frame.

        Args:
            image: RGB, uint8 (H, W, 3).
            time_s: of the frame, in seconds.

        Returns:
            The face; None where it is out of view or, after a while, where no face is in view.
        """
        if image.shape[:2] != self._size_hw:  # a camera that changed its resolution: old boxes mean nothing
            self._last = self._patch = None
            self._size_hw = image.shape[:2]
        face = self._patch.find(image) if self._patch is not None and self._may_follow(time_s) else None
        if face is None:
            face = self._detect(image, time_s)
        if face is not None:
            self._last, self._last_s = face, time_s
        return face

    def _may_follow(self, time_s: float) -> bool:
        soon = self._last_s < time_s <= self._detected_s + FOLLOW_FOR_S
        return soon and self._group(time_s) == self._group(self._detected_s)

    def _group(self, time_s: float) -> int:
        return math.floor((time_s + _EPSILON_S) * self._groups_per_s)

    def _detect(self, image: Array, time_s: float) -> Face | None:
        faces = self._detector.detect(image)
        if self._last is not None and time_s - self._last_s <= self.forget_after_s:
            last = self._last
            faces = [face for face in faces if overlap(last.box_xyxy, face.box_xyxy) >= self.min_overlap]
            faces.sort(key=lambda face: -overlap(last.box_xyxy, face.box_xyxy))
        self._detected_s = time_s
        self._patch = FacePatch(image, faces[0]) if faces and self._follows else None
        return faces[0] if faces else None


class FacePatch:
    """A face and what is around it, small and grey, which is found again in the next frames by optical flow.

    Points on the face are followed (Lucas and Kanade's method on image pyramids). They must move as one, and the face
    must look as it did.

    Args:
        image: RGB, uint8 (H, W, 3).
        face: in pixels of the image.
    """

    #: Of the face's longer side in the small picture, and how far the picture reaches beyond the face, in such sides.
    side, reach = 32, 0.35
    #: A region that is smaller than this in the small picture is not followed, nor a face of which less is in view.
    least_side, least_in_view = 12, 4
    #: How many of the points must move as the face does, and how far each may be from that, in pixels of this picture.
    least_agreeing, most_apart = 0.5, 1.5
    #: How much larger or smaller a face may become, how far it may move in sides, and how alike it must look (-1 to 1).
    most_scaled, most_moved, least_alike = 1.2, 0.4, 0.6

    def __init__(self, image: Array, face: Face) -> None:
        self._face = face
        box = np.array(face.box_xyxy)
        self._face_side = float(max(box[2:] - box[:2]))
        margin = self.reach * self._face_side
        height, width = image.shape[:2]
        self._corners = [
            int(min(max(value, 0), most))
            for value, most in zip((*(box[:2] - margin), *(box[2:] + margin)), (width, height) * 2, strict=True)
        ]
        region_wh = np.subtract(self._corners[2:], self._corners[:2])
        self._step = max(1, int(self._face_side / self.side / 2))
        size_wh = np.rint(region_wh * min(1.0, self.side / max(1.0, self._face_side)))
        self._size_wh = int(size_wh[0]), int(size_wh[1])
        self._usable = min(self._size_wh) >= self.least_side
        if self._usable:
            self._scale_xy = size_wh / region_wh
            self._grey = self._small(image)
            self._box = (box.reshape(2, 2) - self._corners[:2]) * self._scale_xy
            self._points = (self._box[0] + _GRID * (self._box[1] - self._box[0])).astype(np.float32)
            left, top, right, bottom = (max(0, round(value)) for value in self._box.ravel())
            self._left_top = np.array([left, top])
            in_view = self._grey[top:bottom, left:right]
            self._usable = min(in_view.shape) >= self.least_in_view
            self._look = _standardised(in_view) if self._usable else in_view

    def find(self, image: Array) -> Face | None:
        """The face in another frame of the same size; None where it is not certain to be there."""
        if not self._usable:
            return None
        grey = self._small(image)
        there, found, _ = cv2.calcOpticalFlowPyrLK(self._grey, grey, self._points, None, **_SEARCH)
        kept = found[:, 0] == 1
        least = self.least_agreeing * len(kept)
        if np.count_nonzero(kept) < least:
            return None
        before_xy, after_xy = self._points[kept, 0], there[kept, 0]
        scale, moved_xy = _motion(before_xy, after_xy)
        apart = np.abs(after_xy - scale * before_xy - moved_xy).max(axis=1)
        if np.count_nonzero(apart <= self.most_apart) < least:
            return None
        if not 1 / self.most_scaled <= scale <= self.most_scaled or not self._looks_alike(grey, scale, moved_xy):
            return None
        return self._moved(scale, moved_xy)

    def _small(self, image: Array) -> Array:
        """The green of the region, which is nearly its brightness, shrunk."""
        left, top, right, bottom = self._corners
        thinned = np.ascontiguousarray(image[top : bottom : self._step, left : right : self._step, 1])
        grey: Array = cv2.resize(thinned, self._size_wh, interpolation=cv2.INTER_AREA)
        return grey

    def _looks_alike(self, grey: Array, scale: float, moved_xy: Array) -> bool:
        """Whether the face, moved back, is that of the patch, by their correlation."""
        x, y = scale * self._left_top + moved_xy
        back = np.array([[scale, 0, x], [0, scale, y]])
        where = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
        now = cv2.warpAffine(grey, back, self._look.shape[::-1], flags=where, borderMode=cv2.BORDER_REPLICATE)
        return float(np.vdot(self._look, _standardised(now))) >= self.least_alike

    def _moved(self, scale: float, moved_xy: Array) -> Face | None:
        """The face at its new place; None where that is too far away."""
        box = (self._box * scale + moved_xy) / self._scale_xy + self._corners[:2]
        (x1, y1), (x2, y2) = box.tolist()
        before = self._face.box_xyxy
        way = max(abs(x1 + x2 - before[0] - before[2]), abs(y1 + y2 - before[1] - before[3])) / 2
        return Face((x1, y1, x2, y2), self._face.score) if way <= self.most_moved * self._face_side else None


def _standardised(picture: Array) -> Array:
    """Brightness without its mean, and of length 1, so that the product of two such pictures is their correlation."""
    values = picture.astype(np.float32)
    values -= values.mean()
    values /= max(1e-6, float(np.linalg.norm(values)))
    return values


def _motion(before_xy: Array, after_xy: Array) -> tuple[float, Array]:
    """By how much points were scaled, and then moved: the best for those that moved as most did."""
    moves, half = after_xy - before_xy, len(before_xy) // 2
    wrong_by = np.abs(moves - np.sort(moves, axis=0)[half]).max(axis=1)
    near = wrong_by <= 2 * np.sort(wrong_by)[half]
    before_xy, after_xy = before_xy[near], after_xy[near]
    centre_before, centre_after = before_xy.mean(axis=0), after_xy.mean(axis=0)
    before_xy, after_xy = before_xy - centre_before, after_xy - centre_after
    scale = float(np.vdot(before_xy, after_xy) / max(1e-9, float(np.vdot(before_xy, before_xy))))
    return scale, centre_after - scale * centre_before

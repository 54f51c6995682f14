"""Follows one face from frame to frame: by detection alone, or by its motion between detections."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.media.faces import Face, FaceDetector, overlap

#: In one of how many frames faces are detected, if nothing else is said.
DETECT_EVERY = 1
#: How optical flow searches: the window in pixels of the small picture, the levels of the pyramid, and when it stops.
_SEARCH: dict[str, Any] = {"winSize": (9, 9), "maxLevel": 2, "criteria": (3, 10, 0.03)}
#: Motion is followed from a detection for no longer than this: heads turn, and what was beside a face is on it.
FOLLOW_FOR_S = 0.5


class FaceTracker:
    """Follows one face, so that the crops do not alternate between two people in view.

    It takes the face that overlaps the last one most. After `forget_after_s` without it, it takes the face with the
    highest score.

    Args:
        detector: finds faces.
        detect_every: detect faces in one of so many frames, and follow the face by its motion in those between; 1 for
            every frame, and by default `DETECT_EVERY`. Where the motion is not certain, the face is detected too: in
            the first frame, after a cut or a pause, where the face was hidden, and as long as there is none.
    """

    forget_after_s = 1.0
    min_overlap = 0.2

    def __init__(self, detector: FaceDetector, detect_every: int | None = None) -> None:
        self._detector = detector
        self._detect_every = DETECT_EVERY if detect_every is None else detect_every
        self._last: Face | None = None
        self._last_s = 0.0
        self._size_hw: tuple[int, ...] = ()
        #: The face as it was detected, when that was, and how many frames ago; None after a frame without it.
        self._patch: FacePatch | None = None
        self._detected_s = 0.0
        self._followed = 0

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
        face = self._follow(image, time_s)
        if face is None:
            face = self._detect(image, time_s)
        if face is not None:
            self._last, self._last_s = face, time_s
        return face

    def _detect(self, image: Array, time_s: float) -> Face | None:
        faces = self._detector.detect(image)
        if self._last is not None and time_s - self._last_s <= self.forget_after_s:
            last = self._last
            faces = [face for face in faces if overlap(last.box_xyxy, face.box_xyxy) >= self.min_overlap]
            faces.sort(key=lambda face: -overlap(last.box_xyxy, face.box_xyxy))
        self._followed, self._detected_s = 0, time_s
        self._patch = FacePatch(image, faces[0]) if faces and self._detect_every > 1 else None
        return faces[0] if faces else None

    def _follow(self, image: Array, time_s: float) -> Face | None:
        """The face by its motion since it was detected; None where it is time to detect it, or better to."""
        self._followed += 1
        soon = self._last_s < time_s <= self._detected_s + FOLLOW_FOR_S
        if self._patch is None or self._followed >= self._detect_every or not soon:
            return None
        return self._patch.find(image)


class FacePatch:
    """A face and what is around it, small and grey, which is found again in the next frames by optical flow.

    Points on the face are followed there and back (Lucas and Kanade's method on image pyramids). They must come back to
    where they were, and the face must look as it did.

    Args:
        image: RGB, uint8 (H, W, 3).
        face: in pixels of the image.
    """

    #: Of the face's longer side in the small picture, and how far the picture reaches beyond the face, in such sides.
    side, reach = 48, 0.35
    points_a_side = 5
    #: How far a point may be from its place after the way back, in pixels of the small picture, and how many may not.
    most_astray, least_kept = 0.7, 0.5
    #: How much larger or smaller a face may become, how far it may move in sides, and how alike it must look (-1 to 1).
    most_scaled, most_moved, least_alike = 1.2, 0.4, 0.75

    def __init__(self, image: Array, face: Face) -> None:
        self._face = face
        box = np.asarray(face.box_xyxy)
        self._face_side = float(max(box[2:] - box[:2]))
        margin = self.reach * self._face_side
        height, width = image.shape[:2]
        self._corners = np.clip(np.concatenate([box[:2] - margin, box[2:] + margin]), 0, [width, height] * 2).astype(
            int
        )
        region_wh = self._corners[2:] - self._corners[:2]
        self._step = max(1, int(self._face_side / self.side / 2))
        self._size_wh = np.maximum(1, np.rint(region_wh * min(1.0, self.side / max(1.0, self._face_side)))).astype(int)
        self._usable = bool((region_wh > 0).all() and (self._size_wh >= 16).all())
        if self._usable:
            self._scale_xy = self._size_wh / region_wh
            self._grey = self._small(image)
            self._box = (box - np.tile(self._corners[:2], 2)) * np.tile(self._scale_xy, 2)
            self._points = self._grid()

    def find(self, image: Array) -> Face | None:
        """The face in another frame of the same size; None where it is not certain to be there."""
        if not self._usable:
            return None
        grey = self._small(image)
        there, found, _ = cv2.calcOpticalFlowPyrLK(self._grey, grey, self._points, None, **_SEARCH)
        back, _, _ = cv2.calcOpticalFlowPyrLK(grey, self._grey, there, None, **_SEARCH)
        astray = np.abs(back - self._points).max(axis=(1, 2))
        kept = (found[:, 0] == 1) & (astray <= self.most_astray)
        if kept.sum() < self.least_kept * len(kept):
            return None
        scale, moved_xy = _motion(self._points[kept, 0], there[kept, 0])
        if not 1 / self.most_scaled <= scale <= self.most_scaled or not self._looks_alike(grey, scale, moved_xy):
            return None
        return self._moved(scale, moved_xy)

    def _small(self, image: Array) -> Array:
        """The green of the region, which is nearly its brightness, shrunk."""
        left, top, right, bottom = self._corners
        thinned = np.ascontiguousarray(image[top : bottom : self._step, left : right : self._step, 1])
        grey: Array = cv2.resize(thinned, self._size_wh.tolist(), interpolation=cv2.INTER_AREA)
        return grey

    def _grid(self) -> Array:
        """Points all over the face, float32 (n, 1, 2), which do not touch its border."""
        shares = np.linspace(0.15, 0.85, self.points_a_side)
        x, y = (self._box[axis] + shares * (self._box[axis + 2] - self._box[axis]) for axis in (0, 1))
        return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 1, 2).astype(np.float32)

    def _looks_alike(self, grey: Array, scale: float, moved_xy: Array) -> bool:
        """Whether the face, moved back, is that of the patch, by their correlation."""
        matrix = np.array([[scale, 0, moved_xy[0]], [0, scale, moved_xy[1]]])
        where = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
        moved_back = cv2.warpAffine(grey, matrix, self._size_wh.tolist(), flags=where, borderMode=cv2.BORDER_REPLICATE)
        left, top, right, bottom = np.clip(np.rint(self._box), 0, np.tile(self._size_wh, 2)).astype(int)
        before, now = self._grey[top:bottom, left:right], moved_back[top:bottom, left:right]
        alike = float(cv2.matchTemplate(now, before, cv2.TM_CCOEFF_NORMED)[0, 0])
        return alike >= self.least_alike

    def _moved(self, scale: float, moved_xy: Array) -> Face | None:
        """The face at its new place; None where that is too far away."""
        box = self._box * scale + np.tile(moved_xy, 2)
        box = box / np.tile(self._scale_xy, 2) + np.tile(self._corners[:2], 2)
        way = np.abs((box[:2] + box[2:] - self._face.box_xyxy[:2] - self._face.box_xyxy[2:]) / 2).max()
        if way > self.most_moved * self._face_side:
            return None
        return Face((float(box[0]), float(box[1]), float(box[2]), float(box[3])), self._face.score)


def _motion(before_xy: Array, after_xy: Array) -> tuple[float, Array]:
    """By how much points were scaled, and then moved: the best for those that moved as most did."""
    moves = after_xy - before_xy
    wrong_by = np.abs(moves - np.median(moves, axis=0)).max(axis=1)
    near = wrong_by <= 2 * np.median(wrong_by)
    before_xy, after_xy = before_xy[near], after_xy[near]
    centre_before, centre_after = before_xy.mean(axis=0), after_xy.mean(axis=0)
    before_xy, after_xy = before_xy - centre_before, after_xy - centre_after
    scale = float(np.vdot(before_xy, after_xy) / max(1e-9, np.vdot(before_xy, before_xy)))
    return scale, centre_after - scale * centre_before

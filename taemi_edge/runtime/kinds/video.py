"""The video of one source: frames become face crops, and each crop gets a row of the feature ring."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from taemi_edge.bundle.spec import VisionSpec
from taemi_edge.bundle.values import Array
from taemi_edge.media.chunks import MAX_BATCH
from taemi_edge.media.crops import Face, FaceCrop, FaceDetector
from taemi_edge.media.hops import Frame
from taemi_edge.media.inputs import CropReader
from taemi_edge.runtime.prepared_hop import PreparedHop
from taemi_edge.runtime.presence import StreamPresence
from taemi_edge.runtime.rings import RingIndex
from taemi_edge.runtime.work import Stopwatch, Work


class VideoStream:
    """Prepares the frames of one source for the vision encoder.

    Args:
        spec: the size of the crops and the frame rate.
        presence: notes when usable frames arrive.
        capacity: how many rows the source has in the ring.
        detector: finds the faces.
    """

    def __init__(self, spec: VisionSpec, presence: StreamPresence, capacity: int, detector: FaceDetector) -> None:
        self.presence = presence
        self._reader = CropReader(spec, detector)
        self._ring = RingIndex(capacity)

    @property
    def face(self) -> Face | None:
        """The face that was last seen; None while the picture is missing."""
        return self._reader.face

    def forget_face(self) -> None:
        """Show no face until the next one is found."""
        self._reader.face = None

    def prepare(self, frames: Iterable[Frame], watch: Stopwatch, lazily: bool) -> Iterator[FaceCrop]:
        """Find the faces of a hop's frames; this is costly and may run in a thread of the source's own.

        Args:
            watch: counts the time under "face".
            lazily: find each face only when its crop is taken.
        """
        crops = _timed(self._reader.crops(frames), watch)
        return crops if lazily else iter(list(crops))

    def batches(self, hop: PreparedHop) -> Iterator[list[tuple[float, Array]]]:
        """The times and crops of a hop's faces, at most MAX_BATCH at a time; notes their arrival.

        Nothing where the picture is known to be gone at the hop's end: its encoder need not run.
        """
        if "vision" in hop.losses:
            return
        while found := self._next_faces(hop.crops):
            yield found
            if len(found) < MAX_BATCH:
                return

    def place(self, faces: Sequence[tuple[float, Array]]) -> dict[str, Any]:
        """Give faces their rows of the ring; returns the fields of `Work` for them."""
        rows = self._ring.push(np.array([time_s for time_s, _ in faces]))
        return {"pixels": [pixels for _, pixels in faces], "pixel_rows": rows}

    def rows(self, after_s: float, until_s: float) -> Array:
        """The rows of the frames in (after_s, until_s], (T,), T possibly 0."""
        return self._ring.window(after_s, until_s)

    def keep_only(self, work: Work) -> None:
        """Forget all features but those that a piece of work brings anew."""
        self._ring.keep_only(work.pixel_rows)

    def forget(self) -> None:
        """Forget all features."""
        self._ring.keep_only(np.zeros(0, np.int32))

    def _next_faces(self, crops: Iterator[FaceCrop]) -> list[tuple[float, Array]]:
        found: list[tuple[float, Array]] = []
        for crop in crops:
            if crop.pixels is None:
                self.presence.suspect("no face in view")
                continue
            self.presence.arrive(crop.time_s)
            found.append((crop.time_s, crop.pixels))
            if len(found) == MAX_BATCH:
                break
        return found


def _timed(crops: Iterator[FaceCrop], watch: Stopwatch) -> Iterator[FaceCrop]:
    """The same crops, with the time that each one takes counted under "face"."""
    while True:
        with watch.timed("face"):
            crop = next(crops, None)
        if crop is None:
            return
        yield crop

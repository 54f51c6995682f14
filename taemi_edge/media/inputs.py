"""Hops in, what the encoders take out: face crops on the frame grid and chunks of sound with their context.

The pipeline, `extract` and end-to-end training all read media through this one class, so that a clip gives the same
inputs whether it is streamed hop by hop or read at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from taemi_edge.bundle.spec import Array, AudioSpec, VisionSpec
from taemi_edge.media.chunks import (
    MAX_BATCH,
    AudioChunker,
    Segment,
    of_equal_length,
    trim_context,
)
from taemi_edge.media.crops import Face, FaceCrop, FaceDetector, FaceTracker, crop_face
from taemi_edge.media.hops import Frame, FrameGrid, Samples

#: Runs one part: feeds by name in, outputs by name out.
Run = Callable[[Mapping[str, Array]], dict[str, Array]]


class InputReader:
    """Finds faces and cuts sound for one stream; `face` is the last one found, for those who draw it."""

    def __init__(self, vision: VisionSpec, audio: AudioSpec, patience_s: float = 0.0) -> None:
        self.face: Face | None = None
        self._size_hw = vision.size_hw
        self._grid = FrameGrid(vision.frames_per_second)
        self._tracker = FaceTracker(FaceDetector())
        self._chunker = AudioChunker(audio, patience_s)

    def crops(self, frames: Iterable[Frame]) -> Iterator[FaceCrop]:
        """The frames that lie on the grid, each with its face."""
        for frame in frames:
            if not self._grid.wants(frame.time_s):
                continue
            self.face = self._tracker.find(frame.image, frame.time_s)
            pixels = None if self.face is None else crop_face(frame.image, self.face, self._size_hw)
            yield FaceCrop(frame.time_s, pixels)

    def segments(self, samples: Iterable[Samples], end_s: float) -> list[Segment]:
        """The whole chunks of sound up to `end_s` that were not given before."""
        for piece in samples:
            self._chunker.push(piece.time_s, piece.values)
        return self._chunker.take(end_s)


def encode_crops(run: Run, crops: Iterable[FaceCrop]) -> tuple[Array, Array]:
    """The times (T,) and features (T, D) of the crops that hold a face; both empty where none does."""
    seen = [(crop.time_s, crop.pixels) for crop in crops if crop.pixels is not None]
    features = [
        run({"pixels": np.stack([pixels for _, pixels in seen[at : at + MAX_BATCH]])})["features"]
        for at in range(0, len(seen), MAX_BATCH)
    ]
    return np.array([time_s for time_s, _ in seen]), _joined(features)


def encode_segments(run: Run, segments: Iterable[Segment]) -> tuple[Array, Array]:
    """The times (T,) and features (T, D) of chunks of sound, their context cut away; both empty without any."""
    times_s: list[Array] = []
    features: list[Array] = []
    for batch in of_equal_length(segments):
        encoded = run({"samples": np.stack([segment.samples for segment in batch])})["features"]
        for segment, steps in zip(batch, encoded, strict=True):
            times, kept = trim_context(segment, steps)
            times_s.append(times)
            features.append(kept)
    return np.concatenate(times_s) if times_s else np.zeros(0), _joined(features)


def _joined(features: list[Array]) -> Array:
    return np.concatenate(features) if features else np.zeros((0, 0), np.float32)

"""Hops in, what the encoders take out: face crops on the frame grid and chunks of sound with their context.

The pipeline, `extract` and end-to-end training all read media through this one class, so that a clip gives the same
inputs whether it is streamed hop by hop or read at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from taemi_edge.runtime.hops import Frame, Samples
from taemi_edge.runtime.preprocess import (
    AudioChunker,
    Face,
    FaceDetector,
    FaceTracker,
    FrameGrid,
    Segment,
    crop_face,
)
from taemi_edge.spec import Array, AudioSpec, VisionSpec

#: Runs one part: feeds by name in, outputs by name out.
Run = Callable[[Mapping[str, Array]], dict[str, Array]]
#: Frames and chunks are encoded in batches of at most this many, which bounds memory when a whole file is encoded.
MAX_BATCH = 16


@dataclass(frozen=True, eq=False)
class FaceCrop:
    """A frame that was looked at: its face as uint8 RGB (H, W, 3), or None where none was in view."""

    time_s: float
    pixels: Array | None


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


def trim_context(segment: Segment, encoded: Array) -> tuple[Array, Array]:
    """The times (T,) and features (T, D) of the chunk itself, without those of the context before it."""
    steps = kept_steps(segment.chunk_samples, len(segment.samples), len(encoded))
    return step_times(segment, steps), encoded[-steps:]


def step_times(segment: Segment, steps: int) -> Array:
    """The times (T,) of a chunk's own steps, evenly over it."""
    times_s: Array = segment.start_s + (segment.end_s - segment.start_s) * (np.arange(steps) + 1) / steps
    return times_s


def kept_steps(chunk_samples: int, samples: int, encoded_steps: int) -> int:
    """How many of the last steps of `samples` that were encoded are the chunk's own."""
    return max(1, round(encoded_steps * chunk_samples / samples))


def of_equal_length(segments: Iterable[Segment]) -> list[list[Segment]]:
    """Neighbours of one length, in batches: a batch has one shape, and times stay in order."""
    batches: list[list[Segment]] = []
    for segment in segments:
        fits = batches and len(batches[-1]) < MAX_BATCH and len(batches[-1][0].samples) == len(segment.samples)
        if fits:
            batches[-1].append(segment)
        else:
            batches.append([segment])
    return batches


def _joined(features: list[Array]) -> Array:
    return np.concatenate(features) if features else np.zeros((0, 0), np.float32)

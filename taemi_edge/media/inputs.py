"""Makes the encoders' inputs from decoded media: crops on a frame grid, and chunks of sound with their context.

The pipeline, feature extraction and end-to-end training read media through these classes, so that a clip gives the same
inputs whether it is streamed hop by hop or read at once. `encode_crops` and `encode_segments` run an encoder on them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from taemi_edge.bundle.streams import AudioSpec, VideoSpec
from taemi_edge.bundle.values import Array
from taemi_edge.media.chunks import MAX_BATCH, Chunker, Segment, of_equal_length, trim_context
from taemi_edge.media.crops import FaceCrop, crop_centre, crop_face, resize_whole
from taemi_edge.media.face_tracking import DETECT_EVERY, FaceTracker
from taemi_edge.media.faces import Face, FaceDetector
from taemi_edge.media.hops import Frame, FrameGrid, SoundPiece, share_kept
from taemi_edge.media.slots import SlotPool, new_input

#: Runs one part of a bundle: takes arrays by the names of its inputs, and gives arrays by the names of its outputs.
Run = Callable[[Mapping[str, Array]], dict[str, Array]]

#: A pause between two frames that is longer than so many periods of the frame rate begins a new clip.
LONGEST_PAUSE_FRAMES = 2.5


class CropReader:
    """Makes what a video's encoder reads of its frames: crops, or clips of several of them.

    Args:
        spec: the size and kind of the crops, how many frames a second are looked at, and how many make up a clip.
        detector: finds the faces, where faces are wanted; a new one by default.
        slots: where crops and clips are written so that nobody copies them; by default each is an array of its own.
        detect_every: in one of how many frames faces are detected, 1 for all of them; see `FaceTracker`.

    Attributes:
        face: the face that was found last, for callers that draw it; None where the last frame had none.
        broken_clips: how many clips were given up because a pause came before their last frame.
    """

    def __init__(
        self,
        spec: VideoSpec,
        detector: FaceDetector | None = None,
        slots: SlotPool | None = None,
        detect_every: int = DETECT_EVERY,
    ) -> None:
        self._slots = slots
        self.face: Face | None = None
        self.broken_clips = 0
        self._spec = spec
        self._grid = FrameGrid(spec.frames_per_second)
        self._tracker: FaceTracker | None = None
        if spec.crop == "face":
            self._tracker = FaceTracker(detector or FaceDetector(), spec.frames_per_second, detect_every)
        #: The last frames of the clip that is being filled, none of them after a pause.
        self._clip: deque[FaceCrop] = deque(maxlen=spec.clip_frames)

    def crops(self, frames: Iterable[Frame], share: float = 1.0) -> Iterator[FaceCrop]:
        """The crops of the frames that lie on the grid; a face is searched when its crop is taken.

        Of clips, the first is given with the last of its frames, and then one with every frame.

        Args:
            frames: in the order of time, after those of earlier calls.
            share: how many of the crops are made, at least the newest. The frames inside a clip always are all.
        """
        if share >= 1:
            yield from self._all_crops(frames)
        elif self._spec.clip_frames == 1:
            wanted = [frame for frame in frames if self._grid.wants(frame.time_s)]
            yield from self._crops_on_grid(wanted[index] for index in share_kept(len(wanted), share))
        else:
            clips = list(self._all_crops(frames))
            yield from (clips[index] for index in share_kept(len(clips), share))

    def _all_crops(self, frames: Iterable[Frame]) -> Iterator[FaceCrop]:
        return self._crops_on_grid(frame for frame in frames if self._grid.wants(frame.time_s))

    def _crops_on_grid(self, frames: Iterable[Frame]) -> Iterator[FaceCrop]:
        for frame in frames:
            crop = self._crop(frame)
            if self._spec.clip_frames == 1 or crop.pixels is None:
                self._clip.clear()
                yield crop
            elif clip := self._clip_with(crop):
                yield clip

    def _crop(self, frame: Frame) -> FaceCrop:
        size_hw, face = self._spec.size_hw, None
        if self._tracker is not None and not frame.is_crop:
            face = self.face = self._tracker.find(frame.image, frame.time_s)
            if face is None:
                return FaceCrop(frame.time_s, None)
        # a frame of clips lies in no slot: it is copied into each clip that it belongs to
        slot, into = new_input(self._slots if self._spec.clip_frames == 1 else None, (*size_hw, 3), np.uint8)
        if frame.is_crop:
            pixels = into
            pixels[...] = frame.image
        elif face is not None:
            pixels = crop_face(frame.image, face, size_hw, into=into)
        else:
            pixels = (crop_centre if self._spec.crop == "centre" else resize_whole)(frame.image, size_hw, into)
        return FaceCrop(frame.time_s, pixels, slot)

    def _clip_with(self, crop: FaceCrop) -> FaceCrop | None:
        """The clip that ends with a crop; None until there are frames enough since the last pause."""
        longest_s = LONGEST_PAUSE_FRAMES / self._spec.frames_per_second
        if self._clip and crop.time_s - self._clip[-1].time_s > longest_s:
            self.broken_clips += len(self._clip) < self._spec.clip_frames
            self._clip.clear()
        self._clip.append(crop)
        if len(self._clip) < self._spec.clip_frames:
            return None
        slot, into = new_input(self._slots, (self._spec.clip_frames, *self._spec.size_hw, 3), np.uint8)
        np.stack([each.pixels for each in self._clip if each.pixels is not None], out=into)
        return FaceCrop(crop.time_s, into, slot)


class InputReader:
    """Makes face crops and chunks of sound from one clip.

    Args:
        video: what the encoder of pictures takes.
        audio: what the encoder of sound takes.
    """

    def __init__(self, video: VideoSpec, audio: AudioSpec) -> None:
        self._reader = CropReader(video)
        self._chunker = Chunker(audio)

    def crops(self, frames: Iterable[Frame]) -> Iterator[FaceCrop]:
        """The frames that lie on the grid, each with its face; see `CropReader.crops`."""
        return self._reader.crops(frames)

    def segments(self, samples: Iterable[SoundPiece], end_s: float) -> list[Segment]:
        """The whole chunks of sound up to `end_s` that were not given before."""
        return self._chunker.cut(samples, end_s)


def encode_crops(run: Run, crops: Iterable[FaceCrop]) -> tuple[Array, Array]:
    """Encode the crops that hold a face.

    Args:
        run: runs the encoder of pictures.
        crops: in the order of time.

    Returns:
        The times (T,) in seconds and the features, float32 (T, D); both are empty where no crop holds a face.
    """
    seen = [(crop.time_s, crop.pixels) for crop in crops if crop.pixels is not None]
    features = [
        run({"pixels": np.stack([pixels for _, pixels in seen[at : at + MAX_BATCH]])})["features"]
        for at in range(0, len(seen), MAX_BATCH)
    ]
    return np.array([time_s for time_s, _ in seen]), _joined(features)


def encode_segments(run: Run, segments: Iterable[Segment]) -> tuple[Array, Array]:
    """Encode chunks of sound, and cut away the features of their context.

    Args:
        run: runs the audio encoder.
        segments: in the order of time.

    Returns:
        The times (T,) in seconds and the features, float32 (T, D); both are empty where there is no chunk.
    """
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

"""Video: frames become crops or clips, and each of them gets its rows of the feature ring."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from taemi_edge.bundle.streams import VideoSpec
from taemi_edge.bundle.values import Array
from taemi_edge.errors import UsageError
from taemi_edge.media.arrays import Frames, is_picture
from taemi_edge.media.chunks import MAX_BATCH
from taemi_edge.media.crops import FaceCrop
from taemi_edge.media.faces import Face
from taemi_edge.media.hops import Frame
from taemi_edge.media.inputs import CropReader
from taemi_edge.runtime.kinds.kind import Opening, RingState, described, earliest, shapes_of, stacked
from taemi_edge.runtime.rings import RingIndex
from taemi_edge.runtime.work import Item, Items, Stopwatch

_EPSILON_S = 1e-6

#: An input of the encoder: its time, its pixels, and the number of the slot that they lie in.
_Input: TypeAlias = tuple[float, Array, int]


class VideoState(RingState):
    """The frames of one source, prepared for the encoder of one stream.

    Args:
        opening: with the size and kind of the crops, and the detector that finds faces.
    """

    def __init__(self, opening: Opening) -> None:
        self._reader = CropReader(opening.spec, opening.detector, opening.slots)
        self._finds_faces = opening.spec.crop == "face"
        self._spec: VideoSpec = opening.spec
        self._broken_clips = 0
        self._steps = 1 if opening.steps is None else opening.steps.per_chunk
        super().__init__(opening.presence, RingIndex(opening.capacity), opening.source)

    @property
    def face(self) -> Face | None:
        """The face that was last seen; None while the picture is missing."""
        return self._reader.face

    @face.setter
    def face(self, face: Face | None) -> None:
        self._reader.face = face

    def prepare(self, pieces: Sequence[Frame], end_s: float, watch: Stopwatch, lazily: bool) -> Iterator[FaceCrop]:
        """Crop a hop's frames, which is costly where it finds faces."""
        crops = self._reader.crops(pieces, self.frames_share)
        crops = _timed(crops, watch) if self._finds_faces else crops
        return crops if lazily else iter(list(crops))

    def batches(self, prepared: Iterator[FaceCrop], lost: bool) -> Iterator[list[_Input]]:
        if lost:
            return
        while found := self._next_crops(prepared):
            yield found
            if len(found) < MAX_BATCH:
                return

    def place(self, batch: Sequence[_Input]) -> Items:
        steps = self._steps
        return self._placed("pixels", [(pixels, slot, steps, (time_s,) * steps) for time_s, pixels, slot in batch])

    def _next_crops(self, crops: Iterator[FaceCrop]) -> list[_Input]:
        found: list[_Input] = []
        for crop in crops:
            if crop.pixels is None:
                self.presence.suspect("no face in view")
                continue
            self.presence.arrive(crop.time_s)
            found.append((crop.time_s, crop.pixels, crop.slot))
            if len(found) == MAX_BATCH:
                break
        if not found and self._reader.broken_clips > self._broken_clips:
            frames, rate = self._spec.clip_frames, self._spec.frames_per_second
            self.presence.suspect(f"its pictures lie too far apart for a clip of {frames} at {rate:g} a second")
        self._broken_clips = self._reader.broken_clips
        return found


def _timed(crops: Iterator[FaceCrop], watch: Stopwatch) -> Iterator[FaceCrop]:
    """The same crops, with the time that each one takes counted under "face"."""
    while True:
        with watch.timed("face"):
            crop = next(crops, None)
        if crop is None:
            return
        yield crop


class FrameIntake:
    """Collects pictures of a program's own.

    Args:
        name: of the stream, for messages.
        spec: has the rate at which the pictures of a bare array lie.
    """

    def __init__(self, name: str, spec: VideoSpec) -> None:
        self._name, self._spec = name, spec
        self._waiting: list[Frame] = []

    def add(self, data: Any, end_s: float) -> None:
        self._waiting += self._frames(data, end_s)
        self._waiting.sort(key=lambda frame: frame.time_s)

    def first_s(self) -> float | None:
        return earliest(frame.time_s for frame in self._waiting)

    def take(self, end_s: float, inside: Callable[[float], float]) -> list[Frame]:
        due = [frame for frame in self._waiting if frame.time_s <= end_s + _EPSILON_S]
        self._waiting = self._waiting[len(due) :]
        return [Frame(inside(frame.time_s), frame.picture, frame.is_crop) for frame in due]

    def _frames(self, data: Any, end_s: float) -> list[Frame]:
        """Pictures as frames; those of a bare array end at `end_s`, one each 1 / `frames_per_second`."""
        if _are_frames(data):
            return [self._checked(frame) for frame in data]
        if isinstance(data, Frames):  # copied: cameras write into the same buffer
            return [Frame(frame.time_s, np.array(frame.picture)) for frame in data.as_frames()]
        if not isinstance(data, np.ndarray):
            raise UsageError(f"{self._name}: expected Frames or an array of pictures, got {described(data)}")
        pictures = np.array(data[None] if is_picture(data) else data)  # copied here as well
        times_s = end_s - np.arange(len(pictures))[::-1] / self._spec.frames_per_second
        return Frames(pictures, times_s).as_frames()

    def _checked(self, frame: Frame) -> Frame:
        wanted = (*self._spec.size_hw, 3)
        if frame.is_crop and frame.image.shape != wanted:
            raise UsageError(f"{self._name}: expected crops of the shape {wanted}, got {frame.image.shape}")
        return frame


def _are_frames(data: Any) -> bool:
    """Whether data are single frames, which nobody writes into any more: they are not copied."""
    return isinstance(data, (list, tuple)) and all(isinstance(frame, Frame) for frame in data)


def open_stream(opening: Opening) -> VideoState:
    """Open the state of a video."""
    return VideoState(opening)


def open_intake(name: str, spec: VideoSpec, window_s: float) -> FrameIntake:
    """Open the intake of a video."""
    return FrameIntake(name, spec)


def newest_s(data: Any) -> float | None:
    """The time of the newest picture of `Frames`; None of a bare array."""
    frames = data.as_frames() if isinstance(data, Frames) else data if _are_frames(data) else ()
    return max((frame.time_s for frame in frames), default=None)


def input_lengths(spec: VideoSpec) -> tuple[int, int]:
    """The frames of a clip; there is no context."""
    return spec.clip_frames, 0


def example(spec: VideoSpec, length: int) -> dict[str, Array]:
    """A black picture, or a clip of them."""
    frames = (length,) if spec.clip_frames > 1 else ()
    return {"pixels": np.zeros((*frames, *spec.size_hw, 3), np.uint8)}


def capacity(spec: VideoSpec, window_s: float, steps: int) -> int:
    """Room for the frames of a window, and for a whole batch."""
    return max(int(window_s * spec.frames_per_second) + 2, MAX_BATCH) * steps


def share_key(item: Item) -> Hashable:
    """Pictures of one size share a call."""
    return shapes_of(item)


def batch_feeds(items: Sequence[Item]) -> dict[str, Array]:
    """The pictures (B, H, W, 3), or clips (B, F, H, W, 3)."""
    return stacked(items)

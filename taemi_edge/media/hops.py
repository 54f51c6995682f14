"""The pieces that a source is read in: frames, sound, rows of a series, and the hop that holds those of a short time.

`AudioPlacer` puts decoded sound where its timestamps say. `FrameGrid` chooses which frames are looked at.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import av
import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.errors import MediaError
from taemi_edge.media.colours import rgb_pixels
from taemi_edge.media.transcripts import Word

#: Sound whose timestamp is further than this from where it should follow is placed anew.
_AUDIO_JUMP_S = 0.05
_EPSILON_S = 1e-6


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture of a video.

    Attributes:
        time_s: when it was taken, in seconds on the source's clock.
        picture: RGB pixels, uint8 (H, W, 3), or PyAV's decoded frame.
        is_crop: whether the picture is what the encoder reads: it has the stream's size, and no face is looked for.

    Example:
        >>> Frame(0.04, np.zeros((240, 320, 3), np.uint8)).image.shape
        (240, 320, 3)
    """

    time_s: float
    picture: Any
    is_crop: bool = False
    #: PyAV's frames cannot be converted in two threads at once, and CPython 3.12 keeps no lock for us any more.
    _converting: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @cached_property
    def image(self) -> Array:
        """The picture as upright RGB, uint8 (H, W, 3); converted when it is first read."""
        if isinstance(self.picture, np.ndarray):
            return np.ascontiguousarray(self.picture)
        with self._converting:
            return self._converted()

    def _converted(self) -> Array:
        if "image" in self.__dict__:  # another thread was first
            return self.image
        try:
            pixels = rgb_pixels(self.picture)
        except (av.FFmpegError, ValueError) as error:
            raise MediaError(
                f"expected a picture that becomes RGB, got {self.picture.format.name} of {self.picture.width} x "
                f"{self.picture.height} at {self.time_s:g} s: convert the file first"
            ) from error
        turns = round(getattr(self.picture, "rotation", 0) / 90) % 4
        return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


@dataclass(frozen=True, eq=False)
class SoundPiece:
    """A piece of mono sound.

    Attributes:
        time_s: the time of the first sample, in seconds on the source's clock.
        values: float32 (n,) in [-1, 1].
    """

    time_s: float
    values: Array


@dataclass(frozen=True, eq=False)
class Values:
    """Rows of a series.

    Attributes:
        times_s: when each row was measured, float64 (n,), in seconds on the source's clock, in order.
        rows: float32 (n, channels).
    """

    times_s: Array
    rows: Array


#: What a stream gives: pictures of a video, pieces of sound, words of a text, or rows of a series.
Piece: TypeAlias = Frame | SoundPiece | Word | Values


@dataclass
class Hop:
    """The data of a source since its last hop.

    Attributes:
        end_s: where the hop ends, in seconds on the source's clock.
        pieces: what came of each stream, by its name, in the order of time.
        faults: why some of a stream's data could not be used, such as NaN, by stream.
        losses: streams that are known to be gone at its end, each with the reason: they are missing without waiting.
        frames_share: the share of its frames that encoders run on; less than 1 where a machine cannot carry all.

    Example:
        >>> hop = Hop(0.5, {"camera": [Frame(0.1, np.zeros((240, 320, 3), np.uint8))]})
        >>> [frame.time_s for frame in hop.frames], hop.words
        ([0.1], [])
    """

    end_s: float
    pieces: dict[str, list[Any]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    losses: dict[str, str] = field(default_factory=dict)
    frames_share: float = 1.0

    @property
    def shown(self) -> str | None:
        """The stream that `frames` are of; None where no picture came."""
        return next((name for name, pieces in self.pieces.items() if pieces and isinstance(pieces[0], Frame)), None)

    @property
    def frames(self) -> list[Frame]:
        """The pictures of the first stream that has any, for whoever shows the hop."""
        return self._first(Frame)

    @property
    def sound(self) -> list[SoundPiece]:
        """The sound of the first stream that has any, for whoever plays the hop."""
        return self._first(SoundPiece)

    @property
    def words(self) -> list[Word]:
        """The words of the first stream that has any, for whoever shows the hop."""
        return self._first(Word)

    def _first(self, kind: type[Any]) -> list[Any]:
        return next((pieces for pieces in self.pieces.values() if pieces and isinstance(pieces[0], kind)), [])


def is_finite(sound: Any) -> bool:
    """Whether PyAV's audio frame holds neither NaN nor infinity; only floating-point formats can hold them."""
    return not sound.format.name.startswith(("flt", "dbl")) or bool(np.isfinite(sound.to_ndarray()).all())


def take_frames(waiting: deque[Frame], end_s: float) -> list[Frame]:
    """Take the frames at or before `end_s` out of those that wait, which are in the order of time."""
    taken = []
    while waiting and waiting[0].time_s <= end_s + _EPSILON_S:
        taken.append(waiting.popleft())
    return taken


def take_sound(waiting: deque[SoundPiece], end_s: float, sample_rate_hz: int) -> list[SoundPiece]:
    """Take the sound up to `end_s` out of the pieces that wait; one that goes beyond is cut, and its rest stays."""
    taken = []
    while waiting:
        first = waiting[0]
        inside = round((end_s - first.time_s) * sample_rate_hz)
        if inside <= 0:
            break
        waiting.popleft()
        taken.append(SoundPiece(first.time_s, first.values[:inside]))
        if inside < len(first.values):
            waiting.appendleft(SoundPiece(first.time_s + inside / sample_rate_hz, first.values[inside:]))
    return taken


class AudioPlacer:
    """Resamples decoded sound to mono at one rate, and places it where its timestamps say.

    Args:
        rate_hz: the rate of the samples that it gives.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._resampler: Any = None
        self._setup: tuple[str, str, int] | None = None
        self._run_start_s = 0.0
        self._given = 0
        self._taken_s = 0.0

    @property
    def until_s(self) -> float:
        """The time at which the samples given so far end, in seconds."""
        return self._run_start_s + self._given / self._rate_hz

    def place(self, sound: Any, time_s: float | None) -> list[SoundPiece]:
        """Resample a piece of sound; the resampler may hold some of it back until the next call.

        Args:
            sound: PyAV's audio frame.
            time_s: the time of its first sample; None where it has none, and then it follows what came before.
        """
        expected_s = self._run_start_s + self._taken_s
        setup = (sound.format.name, sound.layout.name, sound.sample_rate)
        before: list[SoundPiece] = []
        jumped = time_s is not None and abs(time_s - expected_s) > _AUDIO_JUMP_S
        if self._resampler is None or setup != self._setup or jumped:
            before = self.finish()
            self._run_start_s = expected_s if time_s is None else time_s
            self._resampler = av.AudioResampler(format="fltp", layout=sound.layout, rate=self._rate_hz)
            self._setup = setup
        self._taken_s += sound.samples / sound.sample_rate
        sound.pts = None  # the resampler would follow it; the place is ours to decide
        return before + self._give(self._resampler.resample(sound))

    def finish(self) -> list[SoundPiece]:
        """Give what the resampler still holds back; the next sound is placed anew."""
        rest = self._give(self._resampler.resample(None)) if self._resampler is not None else []
        self._run_start_s, self._given, self._taken_s = self.until_s, 0, 0.0
        self._resampler = None
        return rest

    def skip_to(self, time_s: float) -> None:
        """Leave a gap: the next sound without a time starts at `time_s`."""
        self._run_start_s, self._given, self._taken_s = time_s, 0, 0.0

    def _give(self, resampled: list[Any]) -> list[SoundPiece]:
        given = []
        for frame in resampled:
            channels = frame.to_ndarray()
            mono = channels[0] if len(channels) == 1 else channels.mean(axis=0, dtype=np.float32)
            values = np.ascontiguousarray(mono)
            given.append(SoundPiece(self.until_s, values))
            self._given += len(values)
        return given


class FrameGrid:
    """Chooses the first frame of each slot of 1 / `frames_per_second` seconds.

    The choice depends on timestamps alone, so that it is the same whether a clip is streamed or read at once.

    Example:
        >>> grid = FrameGrid(5.0)
        >>> [time_s for time_s in (0.0, 0.08, 0.16, 0.24, 0.4) if grid.wants(time_s)]
        [0.0, 0.24, 0.4]
    """

    def __init__(self, frames_per_second: float) -> None:
        self._rate = frames_per_second
        self._last_slot = -1

    def wants(self, time_s: float) -> bool:
        """Whether the frame at `time_s` is the first of its slot; times must be in order."""
        slot = self.slot(time_s)
        if slot <= self._last_slot:
            return False
        self._last_slot = slot
        return True

    def slot(self, time_s: float) -> int:
        """The number of the slot that a time lies in."""
        return int(np.floor(max(0.0, time_s) * self._rate + _EPSILON_S))


def share_kept(count: int, share: float) -> list[int]:
    """Which of some frames are kept: evenly many, the newest among them, and at least one.

    >>> share_kept(5, 0.5), share_kept(5, 0.1), share_kept(0, 0.5)
    ([1, 3, 4], [4], [])
    """
    kept = min(count, max(1, math.ceil(count * share - 1e-9)))
    return [count - 1 - index * count // kept for index in reversed(range(kept))]

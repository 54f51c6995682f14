"""Frames, sound and rows of series as numpy arrays, for callers that read their sensors themselves.

`Frames`, `Sound` and `Samples` say when an array was recorded, or at which rate. They check their arrays once, when
they are made, and give what the runtime reads: `Frame` objects, mono `SoundPiece` objects at the encoder's rate, and
rows with their times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import ArrayLike

from taemi_edge.bundle.values import Array
from taemi_edge.errors import UsageError
from taemi_edge.media.hops import Frame, SoundPiece

#: An array with more columns than this is not (samples, channels): its axes were swapped.
_MOST_CHANNELS = 32
_INT16_FULL_SCALE = 32_768.0
_UINT16_HIGHEST = 65_535
#: How many channels a picture may have: grey, RGB, RGBA.
_CHANNELS = (1, 3, 4)
#: Seconds after this are milliseconds: the year 5138.
LATEST_S = 1e11
#: The sample rates that the resampler is used with.
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1000, 768_000


@dataclass(frozen=True, eq=False)
class Frames:
    """Pictures of a video, and when each of them was taken.

    Encoders read RGB, uint8. Grey pictures become RGB with three equal channels, the alpha of RGBA is left out, and
    other numbers are scaled: uint16 so that `highest` is 255 (by default 65,535, which keeps the upper eight bits),
    floats so that 1 is. Values above the highest are 255.

    Args:
        array: pictures, (N, H, W) or (N, H, W, 1) grey, (N, H, W, 3) RGB or (N, H, W, 4) RGBA; uint8, uint16, or floats
            in [0, 1]. Afterwards it is RGB uint8 (N, H, W, 3).
        times_s: the time of each picture in seconds, (N,), in order.
        highest: the value of uint16 pictures that is shown as white, such as 4095 for a camera of 12 bits or 5000 for a
            depth in mm that matters up to 5 m.

    Raises:
        UsageError: an array of another type, shape or range, or times that do not fit it.

    Example:
        >>> frames = Frames(np.zeros((2, 48, 64, 3), np.uint8), [0.0, 0.2])
        >>> [(frame.time_s, frame.image.shape) for frame in frames.as_frames()]
        [(0.0, (48, 64, 3)), (0.2, (48, 64, 3))]
        >>> depth_mm = np.full((1, 48, 64), 2500, np.uint16)
        >>> Frames(depth_mm, [0.0], highest=5000).as_frames()[0].image[0, 0].tolist()
        [128, 128, 128]
    """

    array: Array
    times_s: ArrayLike
    highest: int | None = None

    def __post_init__(self) -> None:
        array = _as_rgb(as_array(self.array, "frames"), self.highest)
        times_s = as_array(self.times_s, "the frames' times", np.float64)
        if times_s.shape != array.shape[:1]:
            raise UsageError(f"expected a time for each of {len(array)} frames, got times of shape {times_s.shape}")
        if not np.isfinite(times_s).all() or (np.diff(times_s) < 0).any():
            raise UsageError("expected the frames' times in seconds and in order, got some that are not")
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "times_s", times_s)

    def as_frames(self) -> list[Frame]:
        """The pictures one by one, without a copy."""
        return [Frame(float(time_s), image) for time_s, image in zip(np.asarray(self.times_s), self.array, strict=True)]


@dataclass(frozen=True, eq=False)
class Sound:
    """A piece of sound, at its own rate and with its own channels.

    Args:
        array: float (samples,) or (samples, channels) in [-1, 1], or int16 of the same shapes.
        rate_hz: how many samples a second it has.
        time_s: the time of the first sample in seconds. None: the sound ends at the moment for which it is read.

    Raises:
        UsageError: an array of another type or shape, a rate that is none, or a time that is no number.

    Example:
        >>> second = Sound(np.zeros((48_000, 2), np.float32), 48_000)
        >>> samples = second.as_samples(16_000, now_s=5.0)
        >>> samples.time_s, samples.values.shape
        (4.0, (16000,))
    """

    array: Array
    rate_hz: int
    time_s: float | None = None

    def __post_init__(self) -> None:
        array = as_array(self.array, "sound")
        is_sound = array.dtype == np.int16 or np.issubdtype(array.dtype, np.floating)
        if not is_sound or array.ndim not in (1, 2):
            raise UsageError(
                f"expected sound as float32 or int16, (samples,) or (samples, channels), got {array.dtype} "
                f"{array.shape}"
            )
        if array.ndim == 2 and not 1 <= array.shape[1] <= _MOST_CHANNELS:
            raise UsageError(
                f"expected sound as (samples, channels) with 1 to {_MOST_CHANNELS} channels, got {array.shape}: are "
                f"its axes swapped?"
            )
        is_number = isinstance(self.rate_hz, (int, float, np.number)) and not isinstance(self.rate_hz, bool)
        if not is_number or not LOWEST_RATE_HZ <= self.rate_hz <= HIGHEST_RATE_HZ or self.rate_hz != int(self.rate_hz):
            raise UsageError(
                f"expected a whole sample rate from {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz, got {self.rate_hz!r}"
            )
        if self.time_s is not None:
            object.__setattr__(self, "time_s", require_time(self.time_s))
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "rate_hz", int(self.rate_hz))

    @property
    def duration_s(self) -> float:
        """How long it lasts, in seconds."""
        return len(self.array) / self.rate_hz

    def as_samples(self, rate_hz: int, now_s: float = 0.0) -> SoundPiece:
        """Mix the channels to one, and resample.

        Args:
            rate_hz: the wanted rate.
            now_s: where the sound ends, if it has no time of its own.

        Returns:
            Mono samples, float32 (n,) in [-1, 1], and the time of the first one.
        """
        time_s = now_s - self.duration_s if self.time_s is None else self.time_s
        return SoundPiece(time_s, resampled(self.mono(), self.rate_hz, rate_hz))

    def mono(self) -> Array:
        """The mean of the channels, float32 (samples,), at the sound's own rate; a copy."""
        scale = _INT16_FULL_SCALE if self.array.dtype == np.int16 else 1.0
        values: Array = self.array.astype(np.float32) / np.float32(scale)
        return values.mean(axis=1, dtype=np.float32) if values.ndim == 2 else values


@dataclass(frozen=True, eq=False)
class Samples:
    """Rows of a series: an IMU, a heart rate, a radar, or features of your own.

    Args:
        array: numbers, (n, channels), or (n,) for one channel.
        rate_hz: how many rows a second it has; the last one ends at the moment for which it is read.
        times_s: the time of each row in seconds, (n,), in order; in place of `rate_hz`.

    Raises:
        UsageError: an array of another type or shape, neither a rate nor times, or both, or times that do not fit.

    Example:
        >>> imu = Samples(np.zeros((100, 6), np.float32), rate_hz=50)
        >>> imu.timed(end_s=4.0)[0][[0, -1]].tolist()
        [2.0, 3.98]
    """

    array: Array
    rate_hz: float | None = None
    times_s: ArrayLike | None = None

    def __post_init__(self) -> None:
        array = as_array(self.array, "samples")
        if array.dtype.kind not in "biuf" or array.ndim not in (1, 2) or not array.size:
            raise UsageError(f"expected samples as numbers, (n, channels), got {array.dtype} {array.shape}")
        if (self.rate_hz is None) == (self.times_s is None):
            raise UsageError("expected samples with either rate_hz or times_s, got both or neither")
        object.__setattr__(self, "array", array[:, None] if array.ndim == 1 else array)
        if self.rate_hz is not None:
            is_number = isinstance(self.rate_hz, (int, float, np.number)) and not isinstance(self.rate_hz, bool)
            if not is_number or not 0 < self.rate_hz < math.inf:
                raise UsageError(f"expected a rate in Hz above 0, got {self.rate_hz!r}")
            return
        times_s = as_array(self.times_s, "the samples' times")
        if times_s.dtype.kind not in "iuf":
            raise UsageError(f"expected times in seconds as numbers, got {times_s.dtype}")
        times_s = times_s.astype(np.float64)
        if times_s.shape != array.shape[:1] or not np.isfinite(times_s).all() or (np.diff(times_s) < 0).any():
            raise UsageError(f"expected a time in seconds for each of {len(array)} rows, in order, got something else")
        if times_s[-1] > LATEST_S:
            raise UsageError(f"expected times in seconds, got {times_s[-1]:.15g}: divide milliseconds by 1000")
        object.__setattr__(self, "times_s", times_s)

    def timed(self, end_s: float = 0.0) -> tuple[Array, Array]:
        """The time of each row, float64 (n,), and the rows, float32 (n, channels).

        Args:
            end_s: where rows that only have a rate end; the last one lies 1 / `rate_hz` before it.
        """
        with np.errstate(
            over="ignore"
        ):  # what float32 cannot hold becomes infinite, like any other number of that kind
            rows: Array = self.array.astype(np.float32)
        if self.rate_hz is None:
            return np.asarray(self.times_s, np.float64), rows
        return end_s - np.arange(len(rows), 0, -1) / self.rate_hz, rows


def is_picture(array: Array) -> bool:
    """Whether an array is one picture, (H, W) or (H, W, channels), and not several of them, (N, H, W).

    Of three axes, the last one decides: 1, 3 or 4 are channels.
    """
    return array.ndim == 2 or (array.ndim == 3 and array.shape[2] in _CHANNELS)


def as_array(value: Any, what: str, dtype: Any = None) -> Array:
    """A value as an array.

    Raises:
        UsageError: NumPy cannot make one of it; `what` names the value in the message.
    """
    try:
        array: Array = np.asarray(value, dtype)
    except (TypeError, ValueError) as error:
        raise UsageError(f"expected {what} as an array of numbers, got a {type(value).__name__}: {error}") from error
    return array


def require_time(time_s: Any) -> float:
    """A time in seconds as a float.

    Raises:
        UsageError: it is no finite number.
    """
    try:
        if isinstance(time_s, (int, float, np.number)) and math.isfinite(time_s):
            return float(time_s)
    except OverflowError:  # a whole number beyond float64
        pass
    raise UsageError(f"expected a time in seconds, got {time_s!r:.40}")


def _as_rgb(array: Array, highest: int | None) -> Array:
    """Pictures as RGB, uint8 (N, H, W, 3); RGB and grey ones of uint8 without a copy.

    Raises:
        UsageError: an array of another type, shape or range.
    """
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    pictures = array[..., None] if array.ndim == 3 else array
    is_known = array.dtype in (np.uint8, np.uint16) or array.dtype.kind == "f"
    if not is_known or pictures.ndim != 4 or pictures.shape[3] not in _CHANNELS or 0 in pictures.shape[1:]:
        first = pictures.ndim == 4 and pictures.shape[1] in _CHANNELS
        hint = ": are its channels first? np.moveaxis(array, 1, -1) puts them last" if first and is_known else ""
        raise UsageError(
            f"expected frames as RGB uint8 (N, H, W, 3), or grey, RGBA, uint16, or floats in [0, 1], got {array.dtype} "
            f"{array.shape}{hint}"
        )
    if highest is not None and (array.dtype != np.uint16 or not 0 < highest <= _UINT16_HIGHEST):
        raise UsageError(f"expected highest from 1 to 65535, of uint16 frames, got {highest!r} of {array.dtype}")
    eight_bits = _as_uint8(pictures[..., :3], highest or _UINT16_HIGHEST)
    return eight_bits if eight_bits.shape[3] == 3 else np.broadcast_to(eight_bits, (*pictures.shape[:3], 3))


def _as_uint8(pictures: Array, highest: int) -> Array:
    if pictures.dtype == np.uint8:
        return pictures
    if pictures.dtype == np.uint16:
        whole = pictures.astype(np.uint32)
        return np.minimum((whole * 255 + highest // 2) // highest, 255).astype(np.uint8)
    if pictures.size and not (pictures.min() >= 0 and pictures.max() <= 1):  # NaN fails as well
        raise UsageError(
            f"expected frames of floats in [0, 1], got {pictures.min():g} to {pictures.max():g}: give uint8, or divide "
            f"by the highest value"
        )
    return (pictures.astype(np.float32) * 255 + 0.5).astype(np.uint8)


def resampled(values: Array, from_hz: int, to_hz: int) -> Array:
    """Mono samples at another rate, by the resampler that files go through too."""
    if from_hz == to_hz or not len(values):
        return values
    sound = av.AudioFrame.from_ndarray(np.ascontiguousarray(values[None]), format="fltp", layout="mono")
    sound.sample_rate = from_hz
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=to_hz)
    frames = [*resampler.resample(sound), *resampler.resample(None)]
    pieces: list[Array] = [frame.to_ndarray()[0] for frame in frames]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)

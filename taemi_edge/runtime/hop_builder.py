"""Making hops from arrays, for callers that own the data or the clock.

A `HopBuilder` collects what a caller hands over, stream by stream, and gives it out hop by hop, as a media file would.
Callers may use any clock. Inside, a session's clock starts near 0, so that the grids of frames and of sound chunks lie
as they do in a file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TypeAlias

import msgspec
import numpy as np

from taemi_edge.bundle.spec import MODALITIES, Array, Manifest
from taemi_edge.errors import UsageError
from taemi_edge.media.arrays import Frames, Sound
from taemi_edge.media.hops import Frame, Hop, Samples
from taemi_edge.media.transcripts import Word, spread_words
from taemi_edge.runtime.prediction import Prediction

#: What a caller may give for a stream: pictures, sound, or words. `LoadedModel.predict` says what each means.
StreamInput: TypeAlias = Frames | Sound | Array | str | Sequence[Word]

#: A pause longer than this starts a new session: nothing of before it is in any window.
LONGEST_PAUSE_S = 60.0
#: How long a word takes to say, where only the end of a text is known: about 170 words a minute.
SECONDS_A_WORD = 0.35
_EPSILON_S = 1e-6


class HopBuilder:
    """Collects frames, sound and words of one source, and makes hops of them.

    Args:
        manifest: of the bundle that the hops are for; it has the rates of its streams.

    Example:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> from taemi_edge.bundle.folder import read_manifest
        >>> builder = HopBuilder(read_manifest(Path("export/taemi-tiny")))
        >>> builder.add("vision", np.zeros((3, 120, 160, 3), np.uint8), time_s=7.0)
        >>> [round(frame.time_s, 2) for frame in builder.hop(7.0).frames]         # on the session's own clock
        [0.6, 0.8, 1.0]
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        #: Where the session's clock starts, on the caller's clock.
        self._origin_s = 0.0
        self._last_end_s: float | None = None
        #: Whether the last hop was the first of a session: what was known of the source is void then.
        self.begins_session = True
        self._frames: list[Frame] = []
        self._samples: list[Samples] = []
        self._words: list[Word] = []

    def add(self, stream: str, data: StreamInput, time_s: float) -> None:
        """Take in data of one stream.

        Args:
            stream: the stream's name.
            data: what `LoadedModel.predict` takes for it.
            time_s: when a bare array or a string ends; data that has times of its own keeps them.

        Raises:
            UsageError: an unknown stream, a time that is no number, or data of another type, shape or range.
        """
        time_s = _require_finite(time_s)
        if stream == "vision":
            self._frames += _frames_of(data, self._manifest.vision.frames_per_second, time_s)
            self._frames.sort(key=lambda frame: frame.time_s)
        elif stream == "audio":
            self._samples.append(_samples_of(data, self._manifest.audio.sample_rate_hz, time_s))
        elif stream == "text":
            self._words += _words_of(data, time_s)
            self._words.sort(key=lambda word: word.end_s)
        else:
            raise UsageError(f"expected one of the streams {', '.join(MODALITIES)}, got {stream!r}")

    def hop(self, end_s: float) -> Hop:
        """What was given up to `end_s` and not handed out before, on the session's own clock.

        Raises:
            UsageError: `end_s` is not later than that of the hop before.
        """
        end_s = _require_finite(end_s)
        last_s = self._last_end_s
        if last_s is not None and end_s <= last_s:
            raise UsageError(f"expected a hop that ends after the last one, at {last_s:g} s, got {end_s:g} s")
        self.begins_session = last_s is None or end_s - last_s > LONGEST_PAUSE_S
        if self.begins_session:
            self._origin_s = self._session_start_s(end_s)
        self._last_end_s = end_s
        return self._take(end_s)

    def window(self, streams: Mapping[str, StreamInput], end_s: float | None = None) -> Hop:
        """One hop that holds a whole window: every bare array and string ends with it.

        Args:
            streams: data by stream name.
            end_s: where the window ends; by default the newest time that the data names, else 0.

        Raises:
            UsageError: see `add`.
        """
        named = [time_s for data in streams.values() if (time_s := _newest_time_s(data)) is not None]
        now_s = max(named, default=0.0) if end_s is None else _require_finite(end_s)
        for stream, data in streams.items():
            self.add(stream, data, now_s)
        # chunks of sound lie on a grid that starts at 0: the window must end with a chunk, or its end would be lost
        chunk_s = self._manifest.audio.chunk_s
        self._origin_s = now_s - chunk_s * math.ceil(self._manifest.window.length_s / chunk_s)
        self._last_end_s = now_s
        return self._take(now_s)

    def in_given_time(self, prediction: Prediction) -> Prediction:
        """A prediction with its times on the caller's clock."""
        start_s, end_s = (time_s + self._origin_s for time_s in prediction.window_s)
        return msgspec.structs.replace(prediction, time_s=prediction.time_s + self._origin_s, window_s=(start_s, end_s))

    def _session_start_s(self, end_s: float) -> float:
        """The last point of the streams' common grid before the first window's data."""
        times_s = [frame.time_s for frame in self._frames] + [piece.time_s for piece in self._samples]
        first_s = max(min(times_s, default=end_s), end_s - self._manifest.window.length_s)
        grid_s = _common_grid_s(self._manifest.audio.chunk_s, 1 / self._manifest.vision.frames_per_second)
        return grid_s * math.floor(first_s / grid_s + _EPSILON_S)

    def _take(self, end_s: float) -> Hop:
        due = [frame for frame in self._frames if frame.time_s <= end_s + _EPSILON_S]
        self._frames = self._frames[len(due) :]
        samples, words = self._samples, self._words
        self._samples, self._words = [], []
        return Hop(
            self._inside(end_s),
            frames=[Frame(self._inside(frame.time_s), frame.picture) for frame in due],
            samples=[Samples(self._inside(piece.time_s), piece.values) for piece in samples],
            words=tuple(Word(self._inside(word.start_s), self._inside(word.end_s), word.text) for word in words),
        )

    def _inside(self, time_s: float) -> float:
        """A time on the session's own clock. Seconds since 1970 are exact to .24 us in float64: whole us are kept."""
        return round(time_s - self._origin_s, 6)


def _common_grid_s(first_s: float, second_s: float) -> float:
    """The shortest time that both divide; the first alone where that would be longer than a minute.

    >>> _common_grid_s(1.0, 0.2), _common_grid_s(1.0, 1001 / 30_000)
    (1.0, 1.0)
    """
    a, b = (Fraction(value).limit_denominator(30_000) for value in (first_s, second_s))
    common = Fraction(math.lcm(a.numerator, b.numerator), math.gcd(a.denominator, b.denominator))
    return float(common) if common <= LONGEST_PAUSE_S else first_s


def _require_finite(time_s: float) -> float:
    if isinstance(time_s, (int, float, np.number)) and math.isfinite(time_s):
        return float(time_s)
    raise UsageError(f"expected a time in seconds, got {time_s!r}")


def _newest_time_s(data: StreamInput) -> float | None:
    """The newest time that the data itself names; None where it has no times."""
    if isinstance(data, Frames):
        return max((frame.time_s for frame in data.as_frames()), default=None)
    if isinstance(data, Sound):
        return None if data.time_s is None else data.time_s + data.duration_s
    if isinstance(data, (list, tuple)) and data and all(isinstance(word, Word) for word in data):
        times_s: list[float] = [word.end_s for word in data]
        return max(times_s)
    return None


def _frames_of(data: StreamInput, frames_per_second: float, end_s: float) -> list[Frame]:
    """Pictures as frames; those of a bare array end at `end_s`, one each 1 / `frames_per_second`."""
    if isinstance(data, Frames):
        return data.as_frames()
    if not isinstance(data, np.ndarray):
        raise UsageError(f"vision: expected Frames or an array uint8 (N, H, W, 3), got {_described(data)}")
    pictures = data[None] if data.ndim == 3 else data
    times_s = end_s - np.arange(len(pictures))[::-1] / frames_per_second
    return Frames(pictures, times_s).as_frames()


def _samples_of(data: StreamInput, rate_hz: int, end_s: float) -> Samples:
    """Sound as mono samples at the stream's rate; where it has no time it ends at `end_s`."""
    if isinstance(data, np.ndarray):
        data = Sound(data, rate_hz)
    if not isinstance(data, Sound):
        raise UsageError(f"audio: expected Sound or an array float32 (n,), got {_described(data)}")
    return data.as_samples(rate_hz, end_s)


def _words_of(data: StreamInput, end_s: float) -> list[Word]:
    """Words with their times; those of a string were said one after the other up to `end_s`."""
    if isinstance(data, str):
        texts = data.split()
        return spread_words(end_s - SECONDS_A_WORD * len(texts), end_s, texts)
    if isinstance(data, (list, tuple)) and all(isinstance(word, Word) for word in data):
        return list(data)
    raise UsageError(f"text: expected a string or a list of Word, got {_described(data)}")


def _described(data: object) -> str:
    """What a value is, for a message."""
    if isinstance(data, np.ndarray):
        return f"an array {data.dtype} {data.shape}"
    return f"a {type(data).__name__}"

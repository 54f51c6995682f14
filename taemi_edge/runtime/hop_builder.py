"""Making hops from arrays, for callers that own the data or the clock.

A `HopBuilder` collects what a caller hands over, stream by stream, and gives it out hop by hop, as a media file would.
Callers may use any clock. Inside, a session's clock starts near 0, so that the grids of frames and of sound chunks lie
as they do in a file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec
import numpy as np

from taemi_edge.bundle.spec import MODALITIES, Manifest
from taemi_edge.bundle.values import Array
from taemi_edge.errors import UsageError
from taemi_edge.media.arrays import Frames, Sound, require_time
from taemi_edge.media.hops import Frame, Hop, Samples
from taemi_edge.media.transcripts import Word, spread_words
from taemi_edge.runtime.prediction import Prediction

#: What a caller may give for a stream: pictures, sound, or words. `LoadedModel.predict` says what each means.
StreamInput: TypeAlias = Frames | Sound | Array | str | Sequence[Word]

#: A pause longer than this starts a new session: nothing of before it is in any window.
LONGEST_PAUSE_S = 60.0
#: How long a word takes to say, where only the end of a text is known: about 170 words a minute.
SECONDS_A_WORD = 0.35
#: Times of blocks of sound that follow each other may be off by this much: they are put together all the same.
LONGEST_JITTER_S = 0.05
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
        [0.0, 0.2, 0.4]
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        #: Where the session's clock starts, on the caller's clock.
        self._origin_s = 0.0
        self._last_end_s: float | None = None
        #: Whether the last hop was the first of a session: what was known of the source is void then.
        self.begins_session = True
        self._frames: list[Frame] = []
        self._sounds: list[Sound] = []
        #: Where the samples that were handed out last end.
        self._sound_until_s = -math.inf
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
        time_s = require_time(time_s)
        if stream == "vision":
            self._frames += _frames_of(data, self._manifest.vision.frames_per_second, time_s)
            self._frames.sort(key=lambda frame: frame.time_s)
        elif stream == "audio":
            self._sounds.append(_sound_of(data, self._manifest.audio.sample_rate_hz, time_s))
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
        end_s = require_time(end_s)
        last_s = self._last_end_s
        if last_s is not None and end_s <= last_s:
            raise UsageError(f"expected a hop that ends after the last one, at {last_s:g} s, got {end_s:g} s")
        self.begins_session = last_s is None or end_s - last_s > LONGEST_PAUSE_S
        if self.begins_session:
            self._origin_s = self._session_start_s(end_s)
        self._last_end_s = end_s
        return self._take(end_s)

    def window(self, streams: Mapping[str, StreamInput | None], end_s: float | None = None) -> Hop:
        """One hop that holds a whole window: every bare array and string ends with it.

        Args:
            streams: data by stream name; None is the same as left out.
            end_s: where the window ends; by default the newest time that the data names, else 0.

        Raises:
            UsageError: see `add`.
        """
        given = {stream: data for stream, data in streams.items() if data is not None}
        named = [time_s for data in given.values() if (time_s := _newest_time_s(data)) is not None]
        now_s = max(named, default=0.0) if end_s is None else require_time(end_s)
        for stream, data in given.items():
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
        """0 on a clock that has just started, as a file's; else the time of the first data that the window can hold."""
        window_s = self._manifest.window.length_s
        times_s = [frame.time_s for frame in self._frames] + [_start_s(sound) for sound in self._sounds]
        first_s = max(min(times_s, default=end_s), end_s - window_s)
        return 0.0 if 0 <= first_s < window_s else first_s

    def _take(self, end_s: float) -> Hop:
        due = [frame for frame in self._frames if frame.time_s <= end_s + _EPSILON_S]
        self._frames = self._frames[len(due) :]
        words, self._words = self._words, []
        return Hop(
            self._inside(end_s),
            frames=[Frame(self._inside(frame.time_s), frame.picture) for frame in due],
            samples=[Samples(self._inside(piece.time_s), piece.values) for piece in self._take_sound()],
            words=tuple(Word(self._inside(word.start_s), self._inside(word.end_s), word.text) for word in words),
        )

    def _take_sound(self) -> list[Samples]:
        """All sound that waits, at the stream's rate.

        Blocks that follow each other are resampled as one: alone, each would lose the fraction of a sample at its end.
        """
        rate_hz = self._manifest.audio.sample_rate_hz
        taken = []
        for run in _runs(self._sounds):
            samples = run.as_samples(rate_hz)
            if abs(samples.time_s - self._sound_until_s) < LONGEST_JITTER_S:
                samples = Samples(self._sound_until_s, samples.values)
            self._sound_until_s = samples.time_s + len(samples.values) / rate_hz
            taken.append(samples)
        self._sounds = []
        return taken

    def _inside(self, time_s: float) -> float:
        """A time on the session's own clock. Seconds since 1970 are exact to .24 us in float64: whole us are kept."""
        return round(time_s - self._origin_s, 6)


def _start_s(sound: Sound) -> float:
    return -math.inf if sound.time_s is None else sound.time_s


def _runs(sounds: Sequence[Sound]) -> list[Sound]:
    """Sounds in the order of time, with those that follow each other without a pause put together."""
    runs: list[list[Sound]] = []
    for sound in sorted(sounds, key=_start_s):
        last = runs[-1][-1] if runs else None
        follows = last is not None and abs(_start_s(sound) - _start_s(last) - last.duration_s) < LONGEST_JITTER_S
        if last is not None and follows and sound.rate_hz == last.rate_hz:
            runs[-1].append(sound)
        else:
            runs.append([sound])
    return [Sound(np.concatenate([s.array for s in run]), run[0].rate_hz, run[0].time_s) for run in runs]


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
    pictures = np.array(data[None] if data.ndim == 3 else data)  # a copy: cameras write into the same buffer again
    times_s = end_s - np.arange(len(pictures))[::-1] / frames_per_second
    return Frames(pictures, times_s).as_frames()


def _sound_of(data: StreamInput, rate_hz: int, end_s: float) -> Sound:
    """Sound with one channel and a time; where it has no time it ends at `end_s`."""
    if isinstance(data, np.ndarray):
        data = Sound(data, rate_hz)
    if not isinstance(data, Sound):
        raise UsageError(f"audio: expected Sound or an array float32 (n,), got {_described(data)}")
    start_s = end_s - data.duration_s if data.time_s is None else data.time_s
    return Sound(data.mono(), data.rate_hz, start_s)


def _words_of(data: StreamInput, end_s: float) -> list[Word]:
    """Words with their times; those of a string were said one after the other up to `end_s`."""
    if isinstance(data, str):
        texts = [_checked_text(text) for text in data.split()]
        return spread_words(end_s - SECONDS_A_WORD * len(texts), end_s, texts)
    if isinstance(data, (list, tuple)) and all(isinstance(word, Word) for word in data):
        return [_checked_word(word) for word in data]
    raise UsageError(f"text: expected a string or a list of Word, got {_described(data)}")


def _checked_word(word: Word) -> Word:
    return Word(require_time(word.start_s), require_time(word.end_s), _checked_text(word.text))


def _checked_text(text: str) -> str:
    try:
        text.encode()
    except (AttributeError, UnicodeEncodeError) as error:
        raise UsageError(f"text: expected words that can be written in UTF-8, got {text!r:.40}") from error
    return text


def _described(data: object) -> str:
    """What a value is, for a message."""
    if isinstance(data, np.ndarray):
        return f"an array {data.dtype} {data.shape}"
    return f"a {type(data).__name__}"

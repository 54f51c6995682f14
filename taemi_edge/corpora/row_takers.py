"""Makes the rows that a stream's encoder takes of the pieces of hop after hop, from a moment on.

Pictures and words before it are left out, sound is cut there, and a series is interpolated across it. So chunks begin
with the range, wherever messages do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from taemi_edge.bundle.streams import AudioSpec, SeriesSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.bundle.values import Array
from taemi_edge.errors import MediaError
from taemi_edge.media.chunks import Chunker
from taemi_edge.media.hops import Frame, SoundPiece, Values
from taemi_edge.media.inputs import CropReader
from taemi_edge.media.resampling import GridInterpolator
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.media.transcripts import Word
from taemi_edge.parity.samples import WORDS, Row, encoder_rows

#: Times come from sums of fractions: two that differ by less than this are the same.
_SAME_S = 1e-6


class RowTaker(Protocol):
    """Makes the rows of one stream."""

    def take(self, pieces: Iterable[Any], until_s: float) -> None:
        """Take in what came of the stream up to `until_s`."""

    def rows(self) -> list[Row]:
        """All rows of the range, in the order of time."""


@dataclass(frozen=True)
class Reach:
    """When a range begins and ends, on the clock of the pieces."""

    begin_s: float
    end_s: float

    def has(self, time_s: Any) -> Any:
        """Whether a moment, or each of several, lies in the range."""
        return (time_s >= self.begin_s - _SAME_S) & (time_s < self.end_s - _SAME_S)


def taker_of(
    stream: str, spec: StreamSpec, tokenizers: Mapping[str, WordTokenizer], where: str, reach: Reach
) -> RowTaker:
    """What makes the rows of a stream.

    Args:
        stream: its name.
        spec: what it is.
        tokenizers: of the streams of text.
        where: what messages call the recording.
        reach: when the range begins and ends.

    Example:
        >>> from taemi_edge.bundle.streams import PresenceSpec
        >>> times = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
        >>> imu = SeriesSpec(feature_dim=4, channels=1, presence=times)
        >>> taker = taker_of("imu", imu, {}, "drive.mcap", Reach(1.0, 1.5))
        >>> taker.take([Values(np.array([0.9, 1.0, 1.1]), np.array([[1], [2], [3]], np.float32))], 1.5)
        >>> [row["values"].tolist() for row in taker.rows()]
        [[2.0], [3.0]]
    """
    if isinstance(spec, VideoSpec):
        return _Pictures(stream, spec, where, reach)
    if isinstance(spec, AudioSpec):
        return _Sound(spec, reach)
    if isinstance(spec, TextSpec):
        return _Words(stream, spec, tokenizers.get(stream), where, reach)
    if not isinstance(spec, SeriesSpec):
        raise MediaError(f"{where}: expected a stream of video, audio, text or a series")
    return _Chunks(spec, reach) if spec.rate_hz else _Rows(reach)


class _Pictures:
    def __init__(self, stream: str, spec: VideoSpec, where: str, reach: Reach) -> None:
        self._stream, self._spec, self._where, self._reach = stream, spec, where, reach
        self._reader, self._pixels = CropReader(spec), list[Array]()

    def take(self, pieces: Iterable[Frame], until_s: float) -> None:
        # on the clock of the pieces, whose grid has chosen them
        crops = self._reader.crops(frame for frame in pieces if self._reach.has(frame.time_s))
        self._pixels += [crop.pixels for crop in crops if crop.pixels is not None]

    def rows(self) -> list[Row]:
        if not self._pixels:
            return []
        sample = {f"{self._stream}/pixels": np.stack(self._pixels)}
        return encoder_rows(self._stream, self._spec, sample, None, self._where)


class _Sound:
    def __init__(self, spec: AudioSpec, reach: Reach) -> None:
        self._reach, self._chunker, self._rows = reach, Chunker(spec), list[Row]()

    def take(self, pieces: Iterable[SoundPiece], until_s: float) -> None:
        found = [SoundPiece(piece.time_s - self._reach.begin_s, piece.values) for piece in pieces]
        end_s = min(until_s, self._reach.end_s) - self._reach.begin_s
        self._rows += [{"samples": segment.samples} for segment in self._chunker.cut(found, end_s)]

    def rows(self) -> list[Row]:
        self.take((), self._reach.end_s)
        return self._rows


class _Chunks:
    """The chunks of a series with a rate."""

    def __init__(self, spec: SeriesSpec, reach: Reach) -> None:
        self._reach, self._grid = reach, GridInterpolator(spec.rate_hz)
        self._chunker, self._rows = Chunker(spec, channels=spec.channels), list[Row]()
        self._last_s = 0.0

    def take(self, pieces: Iterable[Values], until_s: float) -> None:
        found = [Values(piece.times_s - self._reach.begin_s, piece.rows) for piece in pieces]
        for index, points in self._grid.convert(found):
            self._chunker.push_at(index, points)
        self._last_s = max([self._last_s, *(float(piece.times_s[-1]) for piece in found if len(piece.times_s))])
        self._give(min(until_s - self._reach.begin_s, self._last_s))

    def rows(self) -> list[Row]:
        self._give(self._reach.end_s - self._reach.begin_s)
        return self._rows

    def _give(self, end_s: float) -> None:
        ends_s = min(end_s, self._reach.end_s - self._reach.begin_s)
        self._rows += [{"values": segment.samples} for segment in self._chunker.take(ends_s)]


class _Rows:
    """The rows of a series without a rate."""

    def __init__(self, reach: Reach) -> None:
        self._reach, self._rows = reach, list[Row]()

    def take(self, pieces: Iterable[Values], until_s: float) -> None:
        for piece in pieces:
            self._rows += [{"values": row} for row in piece.rows[self._reach.has(piece.times_s)]]

    def rows(self) -> list[Row]:
        return self._rows


class _Words:
    def __init__(self, stream: str, spec: TextSpec, tokenizer: WordTokenizer | None, where: str, reach: Reach) -> None:
        self._stream, self._spec, self._tokenizer, self._where = stream, spec, tokenizer, where
        self._reach, self._words = reach, list[Word]()

    def take(self, pieces: Iterable[Word], until_s: float) -> None:
        self._words += [word for word in pieces if self._reach.has(word.end_s)]

    def rows(self) -> list[Row]:
        words = " ".join(word.text for word in sorted(self._words, key=lambda word: word.end_s))
        sample = {f"{self._stream}/{WORDS}": words}
        return encoder_rows(self._stream, self._spec, sample, self._tokenizer, self._where)

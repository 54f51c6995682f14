"""Makes the rows that a stream's encoder takes of the pieces of hop after hop, from a moment on.

Pictures and words before it are left out, sound is cut there, and a series is interpolated across it. So chunks begin
with the range, wherever messages do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


class RowTaker(Protocol):
    """Makes the rows of one stream."""

    def take(self, pieces: Iterable[Any], end_s: float) -> None:
        """Take in what came of the stream up to `end_s`."""

    def rows(self, end_s: float) -> list[Row]:
        """All rows, in the order of time, of a stream that ends at `end_s`."""


def taker_of(
    stream: str, spec: StreamSpec, tokenizers: Mapping[str, WordTokenizer], where: str, begin_s: float = 0.0
) -> RowTaker:
    """What makes the rows of a stream.

    Args:
        stream: its name.
        spec: what it is.
        tokenizers: of the streams of text.
        where: what messages call the recording.
        begin_s: when the range begins, on the clock of the pieces.

    Example:
        >>> from taemi_edge.bundle.streams import PresenceSpec
        >>> times = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
        >>> taker = taker_of("imu", SeriesSpec(feature_dim=4, channels=1, presence=times), {}, "drive.mcap", 1.0)
        >>> taker.take([Values(np.array([0.9, 1.0, 1.1]), np.array([[1], [2], [3]], np.float32))], 1.5)
        >>> [row["values"].tolist() for row in taker.rows(1.5)]
        [[2.0], [3.0]]
    """
    if isinstance(spec, VideoSpec):
        return _Pictures(stream, spec, where, begin_s)
    if isinstance(spec, AudioSpec):
        return _Sound(spec, begin_s)
    if isinstance(spec, TextSpec):
        return _Words(stream, spec, tokenizers.get(stream), where, begin_s)
    if not isinstance(spec, SeriesSpec):
        raise MediaError(f"{where}: expected a stream of video, audio, text or a series")
    return _Chunks(spec, begin_s) if spec.rate_hz else _Rows(begin_s)


class _Pictures:
    def __init__(self, stream: str, spec: VideoSpec, where: str, begin_s: float) -> None:
        self._stream, self._spec, self._where, self._begin_s = stream, spec, where, begin_s
        self._reader, self._pixels = CropReader(spec), list[Array]()

    def take(self, pieces: Iterable[Frame], end_s: float) -> None:
        # on the clock of the pieces, whose grid has chosen them
        crops = self._reader.crops(frame for frame in pieces if self._begin_s <= frame.time_s < end_s)
        self._pixels += [crop.pixels for crop in crops if crop.pixels is not None]

    def rows(self, end_s: float) -> list[Row]:
        if not self._pixels:
            return []
        sample = {f"{self._stream}/pixels": np.stack(self._pixels)}
        return encoder_rows(self._stream, self._spec, sample, None, self._where)


class _Sound:
    def __init__(self, spec: AudioSpec, begin_s: float) -> None:
        self._begin_s, self._chunker, self._rows = begin_s, Chunker(spec), list[Row]()

    def take(self, pieces: Iterable[SoundPiece], end_s: float) -> None:
        found = [SoundPiece(piece.time_s - self._begin_s, piece.values) for piece in pieces]
        self._rows += [{"samples": segment.samples} for segment in self._chunker.cut(found, end_s - self._begin_s)]

    def rows(self, end_s: float) -> list[Row]:
        self.take((), end_s)
        return self._rows


class _Chunks:
    """The chunks of a series with a rate."""

    def __init__(self, spec: SeriesSpec, begin_s: float) -> None:
        self._begin_s, self._grid = begin_s, GridInterpolator(spec.rate_hz)
        self._chunker, self._rows = Chunker(spec, channels=spec.channels), list[Row]()
        self._last_s = 0.0

    def take(self, pieces: Iterable[Values], end_s: float) -> None:
        found = [Values(piece.times_s - self._begin_s, piece.rows) for piece in pieces]
        for index, points in self._grid.convert(found):
            self._chunker.push_at(index, points)
        self._last_s = max([self._last_s, *(float(piece.times_s[-1]) for piece in found if len(piece.times_s))])
        self._rows += [{"values": s.samples} for s in self._chunker.take(min(end_s - self._begin_s, self._last_s))]

    def rows(self, end_s: float) -> list[Row]:
        return self._rows + [{"values": segment.samples} for segment in self._chunker.take(end_s - self._begin_s)]


class _Rows:
    """The rows of a series without a rate."""

    def __init__(self, begin_s: float) -> None:
        self._begin_s, self._rows = begin_s, list[Row]()

    def take(self, pieces: Iterable[Values], end_s: float) -> None:
        for piece in pieces:
            inside = (piece.times_s >= self._begin_s) & (piece.times_s < end_s)
            self._rows += [{"values": row} for row in piece.rows[inside]]

    def rows(self, end_s: float) -> list[Row]:
        return self._rows


class _Words:
    def __init__(
        self, stream: str, spec: TextSpec, tokenizer: WordTokenizer | None, where: str, begin_s: float
    ) -> None:
        self._stream, self._spec, self._tokenizer, self._where = stream, spec, tokenizer, where
        self._begin_s, self._words = begin_s, list[Word]()

    def take(self, pieces: Iterable[Word], end_s: float) -> None:
        self._words += [word for word in pieces if self._begin_s < word.end_s <= end_s]

    def rows(self, end_s: float) -> list[Row]:
        words = " ".join(word.text for word in sorted(self._words, key=lambda word: word.end_s))
        sample = {f"{self._stream}/{WORDS}": words}
        return encoder_rows(self._stream, self._spec, sample, self._tokenizer, self._where)

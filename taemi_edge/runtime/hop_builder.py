"""Making hops from arrays, for callers that own the data or the clock.

A `HopBuilder` collects what a caller hands over, stream by stream, and gives it out hop by hop, as a media file would.
Callers may use any clock. Inside, a session's clock starts near 0, so that the grids of frames and of chunks lie as
they do in a file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec

from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.streams import ChunkedSpec
from taemi_edge.bundle.values import Array
from taemi_edge.errors import UsageError
from taemi_edge.media.arrays import Frames, Samples, Sound, require_time
from taemi_edge.media.hops import Frame, Hop, SoundPiece
from taemi_edge.media.transcripts import Word
from taemi_edge.runtime.kinds import kind_of
from taemi_edge.runtime.prediction import Prediction

#: What a caller may give for a stream: pictures, sound, rows or words. `LoadedModel.predict` says what each means.
#: Frames and pieces of sound, at the rate of their stream, are not copied: nobody may write into them any more.
StreamInput: TypeAlias = Frames | Sound | Samples | Array | str | Sequence[Word] | Sequence[Frame] | SoundPiece

#: A pause longer than this starts a new session: nothing of before it is in any window.
LONGEST_PAUSE_S = 60.0


class HopBuilder:
    """Collects what the streams of one source give, and makes hops of it.

    Args:
        manifest: of the bundle that the hops are for; it has the rates of its streams.

    Example:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> from taemi_edge.bundle.folder import read_manifest
        >>> builder = HopBuilder(read_manifest(Path("export/taemi-tiny")))
        >>> builder.add("vision", np.zeros((3, 120, 160, 3), np.uint8), time_s=7.0)
        >>> [round(frame.time_s, 2) for frame in builder.hop(7.0).pieces["vision"]]  # on the session's own clock
        [0.0, 0.2, 0.4]
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        #: Where the session's clock starts, on the caller's clock.
        self._origin_s = 0.0
        self._last_end_s: float | None = None
        #: Whether the last hop was the first of a session: what was known of the source is void then.
        self.begins_session = True
        window_s = manifest.window.length_s
        self._intakes = {
            name: kind_of(spec).open_intake(name, spec, window_s) for name, spec in manifest.streams.items()
        }

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
        if stream not in self._intakes:
            raise UsageError(f"expected one of the streams {', '.join(self._intakes)}, got {stream!r}")
        self._intakes[stream].add(data, time_s)

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
        specs = self._manifest.streams
        named = [kind_of(specs[stream]).newest_s(data) for stream, data in given.items() if stream in specs]
        now_s = max((n for n in named if n is not None), default=0.0) if end_s is None else require_time(end_s)
        for stream, data in given.items():
            self.add(stream, data, now_s)
        self._origin_s = now_s - self._whole_chunks_s()
        self._last_end_s = now_s
        return self._take(now_s)

    def in_given_time(self, prediction: Prediction) -> Prediction:
        """A prediction with its times on the caller's clock."""
        start_s, end_s = (time_s + self._origin_s for time_s in prediction.window_s)
        return msgspec.structs.replace(prediction, time_s=prediction.time_s + self._origin_s, window_s=(start_s, end_s))

    def _session_start_s(self, end_s: float) -> float:
        """0 on a clock that has just started, as a file's; else the time of the first data that the window can hold."""
        window_s = self._manifest.window.length_s
        times_s = [time_s for intake in self._intakes.values() if (time_s := intake.first_s()) is not None]
        first_s = max(min(times_s, default=end_s), end_s - window_s)
        return 0.0 if 0 <= first_s < window_s else first_s

    def _whole_chunks_s(self) -> float:
        """A length of time, at least that of the window, that ends with a chunk of every stream.

        Chunks lie on a grid that starts at 0: the window must end with a chunk, or its end would be lost.
        """
        window_s = self._manifest.window.length_s
        lengths_s = [spec.chunk_s for spec in self._manifest.streams.values() if isinstance(spec, ChunkedSpec)]
        chunks_us = [round(length_s * 1e6) for length_s in lengths_s if length_s > 0]
        if not chunks_us:
            return window_s
        common_s = math.lcm(*chunks_us) / 1e6
        several = len(set(chunks_us)) > 1 and common_s <= LONGEST_PAUSE_S
        chunk_s = common_s if several else max(lengths_s)
        return chunk_s * math.ceil(window_s / chunk_s)

    def _take(self, end_s: float) -> Hop:
        pieces = {name: intake.take(end_s, self._inside) for name, intake in self._intakes.items()}
        return Hop(self._inside(end_s), pieces)

    def _inside(self, time_s: float) -> float:
        """A time on the session's own clock. Seconds since 1970 are exact to .24 us in float64: whole us are kept."""
        return round(time_s - self._origin_s, 6)

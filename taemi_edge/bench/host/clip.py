"""Real hops for the benchmark of the host: the demo clip, decoded beforehand, whose faces are searched only once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.streams import AudioSpec, SeriesSpec, VideoSpec
from taemi_edge.bundle.values import Array
from taemi_edge.media.faces import Face, FaceDetector
from taemi_edge.media.files import MediaFile
from taemi_edge.media.hops import Frame, Hop, Values
from taemi_edge.media.transcripts import Word, read_transcript
from taemi_edge.parity.golden import demo_clip
from taemi_edge.runtime.window import Source

#: So many hops are timed in one pass, once the windows are full.
_TIMED_HOPS = 17
#: So many hops are run at most to fill the windows.
_MOST_FILLING = 100
#: Sources begin at different hops of the clip, so that they do not bring the same at the same time.
_STARTS = 4
#: A series without a rate brings so many rows with a hop.
_ROWS_A_HOP = 4


@dataclass(frozen=True, eq=False)
class Clip:
    """The hops of the demo clip for the streams of a model.

    Attributes:
        hops: in the order of time; the clip begins again where it is too short.
        words: what is said in it.
        first_timed: how many hops pass before the window of every source is full, at most `_MOST_FILLING`.
        synthetic: the streams that the clip does not have, whose rows are random numbers.
    """

    hops: Sequence[Hop]
    words: Sequence[Word]
    first_timed: int
    synthetic: tuple[str, ...]

    @property
    def length(self) -> int:
        """How many hops every source has."""
        return len(self.hops) - _STARTS + 1

    def hop(self, source: int, at: int) -> Hop:
        """A hop of a source; see `_STARTS`."""
        return self.hops[at + source % _STARTS]

    def source(self) -> Source:
        """A source whose words are known beforehand."""
        return Source("demo", self.words)


def read_clip(manifest: Manifest) -> Clip:
    """Decode the demo clip for the streams of a model."""
    window, streams = manifest.window, manifest.streams
    filling = min(int(np.ceil(window.length_s / window.hop_s)), _MOST_FILLING)
    count = filling + _TIMED_HOPS + _STARTS - 1
    video, transcript = demo_clip()
    once = [Hop(window.hop_s)]
    if any(isinstance(spec, (VideoSpec, AudioSpec)) for spec in streams.values()):
        with MediaFile(video, streams=streams) as media:
            once = list(islice(media.hops(window.hop_s), count)) or [replace(media.rest(), end_s=window.hop_s)]
    once = [_decoded(hop) for hop in once]
    words, length_s = read_transcript(transcript, None), once[-1].end_s
    passes = [at * length_s for at in range(-(-count // len(once)))]
    hops = [_shifted(hop, by_s) for by_s in passes for hop in once][:count]
    series = {name: spec for name, spec in streams.items() if isinstance(spec, SeriesSpec)}
    for hop in hops:
        hop.pieces |= {name: [_rows(spec, hop.end_s, window.hop_s)] for name, spec in series.items()}
    said = [Word(w.start_s + by_s, w.end_s + by_s, w.text) for by_s in passes for w in words if w.end_s <= length_s]
    return Clip(hops, said, filling, tuple(series))


@contextmanager
def remembered_faces() -> Iterator[None]:
    """Let every face detector answer at once for a picture that any of them has seen before."""
    found: dict[int, tuple[Array, list[Face]]] = {}
    detect = FaceDetector.detect

    def remembered(detector: FaceDetector, image: Array) -> list[Face]:
        if id(image) not in found:
            found[id(image)] = image, detect(detector, image)  # the picture is kept, so that no other has its number
        return found[id(image)][1]

    setattr(FaceDetector, detect.__name__, remembered)
    try:
        yield
    finally:
        setattr(FaceDetector, detect.__name__, detect)


def _decoded(hop: Hop) -> Hop:
    """The same hop with its pictures as arrays; those that several streams share stay one."""
    pictures: dict[int, Frame] = {}
    pieces: Mapping[str, list[Frame]] = {
        name: [
            pictures.setdefault(id(piece), Frame(piece.time_s, piece.image)) if isinstance(piece, Frame) else piece
            for piece in of_one
        ]
        for name, of_one in hop.pieces.items()
    }
    return replace(hop, pieces=dict(pieces))


def _shifted(hop: Hop, by_s: float) -> Hop:
    """The same hop at a later time."""
    pieces = {
        name: [replace(piece, time_s=piece.time_s + by_s) for piece in of_one] for name, of_one in hop.pieces.items()
    }
    return replace(hop, end_s=hop.end_s + by_s, pieces=pieces)


def _rows(spec: SeriesSpec, end_s: float, hop_s: float) -> Values:
    """Random rows of a hop: as many as the rate of the series gives."""
    count = max(1, round(spec.rate_hz * hop_s)) if spec.rate_hz else _ROWS_A_HOP
    random = np.random.default_rng(round(end_s / hop_s))
    times_s = end_s - hop_s + hop_s * (np.arange(count) + 1) / count
    return Values(times_s, random.standard_normal((count, spec.channels)).astype(np.float32))

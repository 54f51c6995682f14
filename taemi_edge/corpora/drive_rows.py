"""Reads a range of a recording into the rows that encoders take: pictures, chunks, rows of numbers and a text.

What a range gives does not depend on where it begins: it is read with a little of what comes before it, so that a
stream of video begins at a key frame, a piece of sound is cut in two, and a series is interpolated across the border.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from taemi_edge.bundle.streams import StreamSpec
from taemi_edge.corpora.clip_reading import STEP_S
from taemi_edge.corpora.drive_ranges import DriveRange
from taemi_edge.media.hops import Hop
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.media.transcripts import Word
from taemi_edge.parity.samples import Row

#: How much before a range is read, in seconds: recorders write a key frame every second or two.
LEAD_S = 2.0
_NS = 1_000_000_000


class _Taker(Protocol):
    """Makes the rows of one stream from the pieces of hop after hop, up to `longest_s`."""

    def take(self, pieces: Iterable[Any], end_s: float) -> None: ...

    def rows(self) -> list[Row]: ...


def drive_rows(
    file: Path,
    wanted: DriveRange,
    streams: Mapping[str, StreamSpec],
    tokenizers: Mapping[str, WordTokenizer],
    longest_s: float,
    remarks: list[str],
) -> dict[str, list[Row]]:
    """Read the streams that a recording feeds; of the others there is nothing in what it returns.

    Args:
        file: the recording, on this machine.
        wanted: which part of it, and which topics.
        streams: of the model.
        tokenizers: of its streams of text.
        longest_s: how much of the range is read, in seconds.
        remarks: gets what was noticed.

    Raises:
        InputError: the recording cannot be read, or a topic does not feed its stream.
    """
    fed = {name: streams[name] for name in wanted.topics if name in streams}
    takers = {name: _taker(name, spec, tokenizers.get(name), str(file)) for name, spec in fed.items()}
    for hop in _hops(file, wanted, fed, longest_s, remarks):
        for name, pieces in hop.pieces.items():
            takers[name].take(pieces, hop.end_s)
    return {name: taker.rows() for name, taker in takers.items()}


def drive_words(file: Path, wanted: DriveRange, stream: str, spec: StreamSpec, longest_s: float) -> list[Word]:
    """The words of a stream of text in a range, on its clock.

    Raises:
        InputError: the recording cannot be read, or the topic gives no words.
    """
    found: list[Word] = []
    for hop in _hops(file, wanted, {stream: spec}, longest_s, []):
        found += hop.pieces.get(stream, [])
    return found


def _hops(
    file: Path, wanted: DriveRange, streams: Mapping[str, StreamSpec], longest_s: float, remarks: list[str]
) -> Iterator[Hop]:
    """The hops of a range on its own clock, which begins at 0, and nothing that lies outside."""
    with _opened(file, wanted, streams) as (source, lead_s, length_s):
        until_s = longest_s if length_s is None else min(longest_s, length_s)
        cut = False
        for hop in source.hops(STEP_S):
            yield _inside(hop, lead_s, until_s)
            if cut := hop.end_s - lead_s >= until_s:
                break
        else:
            yield _inside(source.rest(), lead_s, until_s)
        if cut and (length_s is None or length_s > longest_s):
            remarks.append(f"cut at {longest_s:g} s")
        remarks += source.notes

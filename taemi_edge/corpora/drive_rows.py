"""Reads a range of a recording into the rows that encoders take: pictures, chunks, rows of numbers and a text.

What a range gives does not depend on where it begins: it is read with a little of what comes before it, so that a
stream of video begins at a key frame, a piece of sound is cut in two, and a series is interpolated across the border.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from taemi_edge.bundle.streams import StreamSpec
from taemi_edge.corpora.clip_reading import STEP_S
from taemi_edge.corpora.drive_ranges import DriveRange
from taemi_edge.corpora.row_takers import taker_of
from taemi_edge.media.hops import Frame, Hop, SoundPiece, Values
from taemi_edge.media.recordings.recorded_streams import RecordingSource
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.media.transcripts import Word
from taemi_edge.parity.samples import Row

#: How much before a range is read, in seconds: recorders write a key frame every second or two.
LEAD_S = 2.0
_NS = 1_000_000_000


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
    takers = {name: taker_of(name, spec, tokenizers, str(file)) for name, spec in fed.items()}
    ends_s = longest_s if wanted.end_ns is None else min(longest_s, (wanted.end_ns - (wanted.start_ns or 0)) / _NS)
    for hop in _hops(file, wanted, fed, longest_s, remarks):
        for name, pieces in hop.pieces.items():
            takers[name].take(pieces, min(hop.end_s, ends_s))
    return {name: taker.rows(ends_s) for name, taker in takers.items()}


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
    """The hops of a range on its own clock, which begins at 0. The first of them has what comes before, below 0."""
    start_ns = wanted.start_ns
    lead_ns = None if start_ns is None else start_ns - round(LEAD_S * _NS)
    topics = {name: wanted.topics[name] for name in streams}
    with RecordingSource(
        file, streams, topics, clock=wanted.clock or "auto", start_ns=lead_ns, end_ns=wanted.end_ns, origin_ns=lead_ns
    ) as source:
        lead_s = 0.0 if lead_ns is None else LEAD_S
        for hop in source.hops(STEP_S):
            yield _earlier(hop, lead_s, longest_s)
            if hop.end_s - lead_s >= longest_s:
                if wanted.end_ns is None or wanted.end_ns - (start_ns or 0) > longest_s * _NS:
                    remarks.append(f"cut at {longest_s:g} s")
                break
        else:
            yield _earlier(source.rest(), lead_s, longest_s)
        remarks += [note for note in source.notes if note not in remarks]


def _earlier(hop: Hop, by_s: float, until_s: float) -> Hop:
    """A hop on a clock that began later, and nothing of it from `until_s` on."""
    moved = Hop(hop.end_s - by_s, faults=hop.faults)
    for name, pieces in hop.pieces.items():
        found = [_moved(piece, by_s) for piece in pieces]
        moved.pieces[name] = [piece for piece in found if _time_of(piece) < until_s]
    return moved


def _moved(piece: Any, by_s: float) -> Any:
    if isinstance(piece, Frame):
        return Frame(piece.time_s - by_s, piece.picture, piece.is_crop)
    if isinstance(piece, SoundPiece):
        return SoundPiece(piece.time_s - by_s, piece.values)
    if isinstance(piece, Word):
        return Word(piece.start_s - by_s, piece.end_s - by_s, piece.text)
    return Values(piece.times_s - by_s, piece.rows)


def _time_of(piece: Any) -> float:
    return float(piece.times_s[0]) if isinstance(piece, Values) else getattr(piece, "end_s", None) or piece.time_s

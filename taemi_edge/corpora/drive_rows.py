"""Reads a range of a recording into the rows that encoders take: pictures, chunks, rows of numbers and a text.

What a range gives does not depend on where messages begin: sound and series are read with a little of what comes before
and after it, so that a piece of sound is cut in two, and a series is interpolated across the border.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from taemi_edge.bundle.streams import AudioSpec, SeriesSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.corpora.clip_reading import STEP_S
from taemi_edge.corpora.drive_ranges import DriveRange
from taemi_edge.corpora.kept_recording import kept_recording
from taemi_edge.corpora.row_takers import Reach, taker_of
from taemi_edge.errors import InputError
from taemi_edge.media.hops import Hop
from taemi_edge.media.recordings.recorded_clock import ChosenClock
from taemi_edge.media.recordings.recorded_streams import RecordingSource
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.media.transcripts import Word
from taemi_edge.parity.samples import Row

#: How much before and after a range is read, in seconds: more than a message of sound lasts, or a pause between rows.
LEAD_S = 1.0
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
        InputError: the recording cannot be read.
    """
    fed = {name: streams[name] for name in wanted.topics if name in streams}
    reach, is_cut = _reach_of(wanted, longest_s)
    takers = {name: taker_of(name, spec, tokenizers, str(file), reach) for name, spec in fed.items()}
    for alike in _alike(fed):
        for hop in _hops(file, wanted, alike, reach, remarks):
            for name, pieces in hop.pieces.items():
                takers[name].take(pieces, hop.end_s)
            if is_cut and hop.end_s >= reach.end_s:
                _note(remarks, f"cut at {longest_s:g} s")
    return {name: taker.rows() for name, taker in takers.items()}


def _alike(streams: Mapping[str, StreamSpec]) -> list[dict[str, StreamSpec]]:
    """The streams in groups that are read as far: words come up to a minute after they were said, sound when it was."""
    groups: dict[str, dict[str, StreamSpec]] = {}
    for name, spec in streams.items():
        kind = "pictures" if isinstance(spec, VideoSpec) else "words" if isinstance(spec, TextSpec) else "samples"
        groups.setdefault(kind, {})[name] = spec
    return list(groups.values()) or [{}]


def drive_words(file: Path, wanted: DriveRange, stream: str, spec: StreamSpec, longest_s: float) -> list[Word]:
    """The words of a stream of text in a range, with times from its beginning on; none where nobody spoke.

    A recording that cannot be read has none either: `drive_rows` says what is wrong with it.
    """
    reach, found = _reach_of(wanted, longest_s)[0], list[Word]()
    try:
        for hop in _hops(file, wanted, {stream: spec}, reach, []):
            found += [word for word in hop.pieces.get(stream, []) if reach.has(word.end_s)]
    except InputError:
        return []
    return [Word(word.start_s - reach.begin_s, word.end_s - reach.begin_s, word.text) for word in found]


def _reach_of(wanted: DriveRange, longest_s: float) -> tuple[Reach, bool]:
    """When a range begins and ends on the clock of what is read, and whether it would be longer."""
    begin_s = 0.0 if wanted.start_ns is None else LEAD_S
    length_s = math.inf if wanted.end_ns is None else (wanted.end_ns - (wanted.start_ns or 0)) / _NS
    return Reach(begin_s, begin_s + min(longest_s, length_s)), longest_s < length_s


def _hops(
    file: Path, wanted: DriveRange, streams: Mapping[str, StreamSpec], reach: Reach, remarks: list[str]
) -> Iterator[Hop]:
    """The hops up to the end of a range, from a little before it on; of sound and series up to a little after it."""
    offset_ns = wanted.clock.offset_ns if isinstance(wanted.clock, ChosenClock) else 0
    start_ns = None if wanted.start_ns is None else wanted.start_ns + offset_ns - round(LEAD_S * _NS)
    tail_s = LEAD_S if any(isinstance(spec, (AudioSpec, SeriesSpec)) for spec in streams.values()) else 0.0
    range_ns = start_ns, None if wanted.end_ns is None else wanted.end_ns + offset_ns + round(tail_s * _NS)
    topics = {name: wanted.topics[name] for name in streams}
    kept, clock = kept_recording(file), wanted.clock
    with RecordingSource(kept, streams, topics, clock=clock, range_ns=range_ns) as source:
        for hop in source.hops(STEP_S):
            yield hop
            if hop.end_s >= reach.end_s + tail_s:
                break
        else:
            yield source.rest()
        for remark in _remarks(source):
            _note(remarks, remark)


def _note(remarks: list[str], remark: str) -> None:
    if remark not in remarks:
        remarks.append(remark)


def _remarks(source: RecordingSource) -> list[str]:
    """What was noticed while a range was read; what holds of the whole recording was said before it was cut."""
    counts = {"messages that cannot be used": source.unusable, "messages that came too late": source.late}
    damage = [note.removeprefix(f"{source.recording.path}: ") for note in source.recording.notes]
    return damage + [f"{count} {what}" for what, count in counts.items() if count]

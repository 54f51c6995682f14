"""Reading what a sample holds of each stream into the rows that the stream's encoder takes.

Files are read as the runtime reads media: pictures on the stream's grid of time, sound and series in chunks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np

from taemi_edge.bundle.streams import AudioSpec, SeriesSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.bundle.values import Array
from taemi_edge.corpora.clip_reading import STEP_S
from taemi_edge.corpora.drive_rows import drive_rows, drive_words
from taemi_edge.corpora.sample_corpus import SampleClip
from taemi_edge.corpora.staging import at_hand, local_file, local_recording
from taemi_edge.errors import CorpusError, MediaError, StoreError
from taemi_edge.media.chunks import Chunker
from taemi_edge.media.files import MediaFile
from taemi_edge.media.hops import Hop, Values
from taemi_edge.media.inputs import CropReader
from taemi_edge.media.resampling import GridInterpolator
from taemi_edge.media.series import read_streams
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.media.transcripts import EmptyTranscriptError, Word, read_transcript
from taemi_edge.parity.samples import WORDS, Row, Sample, encoder_rows, has_stream, input_name, require_known_names

#: How much of a file is read, in seconds, and what is noticed meanwhile.
_Cut: TypeAlias = tuple[float, list[str]]

#: The endings of a transcript; any other cell of a stream of text is the text itself.
TRANSCRIPTS = (".vtt", ".srt", ".jsonl", ".txt")
_TIMED_TRANSCRIPTS = (".vtt", ".srt", ".jsonl")


def sample_rows(
    clip: SampleClip,
    streams: Mapping[str, StreamSpec],
    tokenizers: Mapping[str, WordTokenizer],
    longest_s: float = 60.0,
    remarks: list[str] | None = None,
) -> dict[str, list[Row]]:
    """Read a sample.

    Args:
        clip: the sample.
        streams: of the model.
        tokenizers: of its streams of text.
        longest_s: how much of a file is read, in seconds.
        remarks: gets what was noticed, such as "camera: cut at 60 s".

    Returns:
        The rows of each stream in the order of time; none where the sample lacks the stream.

    Raises:
        InputError: a file or an array cannot be read, or does not fit its stream.
    """
    with at_hand(clip) as here:
        return _sample_rows(here, streams, tokenizers, longest_s, remarks)


def _sample_rows(
    clip: SampleClip,
    streams: Mapping[str, StreamSpec],
    tokenizers: Mapping[str, WordTokenizer],
    longest_s: float,
    remarks: list[str] | None,
) -> dict[str, list[Row]]:
    arrays = clip.arrays()
    if clip.file is not None:
        require_known_names(arrays, streams, None, clip.place)
        return {n: encoder_rows(n, spec, arrays, tokenizers.get(n), clip.place) for n, spec in streams.items()}
    rows = _range_rows(clip, streams, tokenizers, longest_s, remarks)
    for name, spec in streams.items():
        if name in rows:
            continue
        noticed: list[str] = []
        cut = (longest_s - clip.starts_s.get(name, 0.0), noticed)
        rows[name] = _cell_rows(clip, name, spec, tokenizers.get(name), cut)
        if remarks is not None:
            remarks += [f"{name}: {what}" for what in noticed]
    for name, spec in streams.items():
        if spec.required and not rows[name]:
            raise CorpusError(f"{clip.place}: expected the stream {name!r}, which is required, found nothing")
    if clip.ranges and not any(rows.values()):
        raise CorpusError(f"{clip.place}: expected data of {', '.join(streams)}, found none")
    return {name: rows[name] for name in streams}


def _range_rows(
    clip: SampleClip,
    streams: Mapping[str, StreamSpec],
    tokenizers: Mapping[str, WordTokenizer],
    longest_s: float,
    remarks: list[str] | None,
) -> dict[str, list[Row]]:
    """The rows of the streams that recordings feed."""
    rows: dict[str, list[Row]] = {}
    for part in clip.ranges:
        noticed: list[str] = []
        rows |= drive_rows(local_recording(clip.files, part.file), part, streams, tokenizers, longest_s, noticed)
        if remarks is not None:
            remarks += noticed
    return rows


def _cell_rows(
    clip: SampleClip, stream: str, spec: StreamSpec, tokenizer: WordTokenizer | None, cut: _Cut
) -> list[Row]:
    """The rows of one stream of a row of a table."""
    cells = clip.cells
    if isinstance(spec, SeriesSpec) and any(f"{stream}.{i}" in cells for i in range(spec.channels)):
        sample: Sample = {f"{stream}/values": _channels(clip, stream, spec)}
    elif has_stream(cells, stream):
        sample = cells
    elif stream not in cells:
        return []
    elif not isinstance(cells[stream], str):
        sample = {f"{stream}/{input_name(spec)}": np.asarray(cells[stream])}
    elif isinstance(spec, TextSpec):
        sample = {f"{stream}/{WORDS}": _text(clip, stream, cells[stream], cut[0])}
    else:
        return _file_rows(_existing(clip, stream, cells[stream]), stream, spec, cut)
    return encoder_rows(stream, spec, sample, tokenizer, clip.place)


def _channels(clip: SampleClip, stream: str, spec: SeriesSpec) -> Array:
    """One row of a series from its columns."""
    columns = [f"{stream}.{i}" for i in range(spec.channels)]
    if lacking := [column for column in columns if column not in clip.cells]:
        raise CorpusError(f"{clip.place}: expected {columns[0]} to {columns[-1]}, found nothing in {lacking[0]}")
    if (beyond := f"{stream}.{spec.channels}") in clip.cells:
        raise CorpusError(
            f"{clip.place}: expected {columns[0]} to {columns[-1]}, for a stream of {spec.channels} channels, got "
            f"{beyond} as well: a name that begins with _ is left out"
        )
    try:
        return np.array([float(clip.cells[column]) for column in columns], np.float32)
    except ValueError as error:
        raise CorpusError(f"{clip.place}: {stream}: expected numbers: {error}") from error


def sample_words(clip: SampleClip, stream: str, longest_s: float = 60.0, spec: StreamSpec | None = None) -> list[Word]:
    """The words of a stream of text with their times; none where the sample has no transcript with times of it.

    Args:
        clip: the sample.
        stream: of text.
        longest_s: words that end later are left out.
        spec: of the stream, by which a recording is read; without it a recording gives no words.

    Raises:
        InputError: the transcript cannot be read.
    """
    for part in clip.ranges:
        if stream in part.topics and spec is not None:
            with at_hand(clip) as here:
                return drive_words(local_recording(here.files, part.file), part, stream, spec, longest_s)
    cell = clip.cells.get(stream)
    if not isinstance(cell, str) or not cell.lower().endswith(_TIMED_TRANSCRIPTS):
        return []
    try:
        with at_hand(clip) as here:
            words = read_transcript(_existing(here, stream, cell), None)
    except EmptyTranscriptError:
        return []
    return [word for word in words if word.end_s <= longest_s]


def _text(clip: SampleClip, stream: str, cell: str, longest_s: float) -> str:
    """The words of a cell: of a transcript where it names one, else the cell itself."""
    if cell.lower().endswith(_TIMED_TRANSCRIPTS):
        return " ".join(word.text for word in sample_words(clip, stream, longest_s))
    if not cell.lower().endswith(TRANSCRIPTS):
        return cell
    try:
        return " ".join(word.text for word in read_transcript(_existing(clip, stream, cell), None))
    except EmptyTranscriptError:
        return ""


def _existing(clip: SampleClip, stream: str, cell: str) -> Path:
    try:
        file = local_file(clip.files, clip.folder / cell)
    except StoreError as error:
        raise CorpusError(f"{clip.place}: {stream}: {error}") from error
    if not file.is_file():
        raise CorpusError(f"{clip.place}: {stream}: expected a file, found nothing at {file}")
    return file


def _file_rows(file: Path, stream: str, spec: StreamSpec, cut: _Cut) -> list[Row]:
    """The rows of a stream of pictures, sound or numbers in a file of its own."""
    if isinstance(spec, VideoSpec):
        pictures = _pictures(file, stream, spec, cut)
        return encoder_rows(stream, spec, {f"{stream}/pixels": np.stack(pictures)}, None, str(file)) if pictures else []
    if isinstance(spec, AudioSpec):
        return _sound(file, stream, spec, cut)
    if not isinstance(spec, SeriesSpec):
        raise MediaError(f"{file}: expected a stream of video, audio or a series")
    return _series(file, stream, spec, cut)


def _pictures(file: Path, stream: str, spec: VideoSpec, cut: _Cut) -> list[Array]:
    """The crops of a video, or its clips of several pictures."""
    reader, pictures = CropReader(spec), list[Array]()
    with MediaFile(file, streams={stream: spec}) as media:
        for hop in _hops(media, cut):
            crops = reader.crops(frame for frame in hop.pieces[stream] if frame.time_s <= cut[0])
            pictures += [crop.pixels for crop in crops if crop.pixels is not None]
    return pictures


def _sound(file: Path, stream: str, spec: AudioSpec, cut: _Cut) -> list[Row]:
    """The whole chunks of a sound."""
    chunker, rows = Chunker(spec), list[Row]()
    with MediaFile(file, streams={stream: spec}) as media:
        for hop in _hops(media, cut):
            segments = chunker.cut(hop.pieces[stream], min(hop.end_s, cut[0]))
            rows += [{"samples": segment.samples} for segment in segments]
    return rows


def _series(file: Path, stream: str, spec: SeriesSpec, cut: _Cut) -> list[Row]:
    """The rows of a series, or its whole chunks; the first row of the file is its beginning."""
    series = read_streams(file, {stream: spec.channels}, alone=True, needs_times=bool(spec.rate_hz))[stream]
    times_s = series.times_s - series.times_s[0]
    kept = times_s <= cut[0]
    if not kept.all():
        cut[1].append(f"cut at {cut[0]:g} s")
    times_s, values = times_s[kept], series.rows[kept]
    if not len(times_s):
        return []
    if not spec.rate_hz:
        return [{"values": row} for row in values]
    chunker = Chunker(spec, channels=spec.channels)
    for index, points in GridInterpolator(spec.rate_hz).convert([Values(times_s, values)]):
        chunker.push_at(index, points)
    whole_s = times_s[-1] + 1 / spec.rate_hz
    return [{"values": segment.samples} for segment in chunker.take(whole_s)]


def _hops(media: MediaFile, cut: _Cut) -> Iterator[Hop]:
    """The hops of a file up to where it is cut."""
    longest_s, remarks = cut
    for hop in media.hops(STEP_S):
        yield hop
        if hop.end_s >= longest_s:
            remarks.append(f"cut at {longest_s:g} s")
            return
    yield media.rest()
    if media.damaged_packets:
        remarks.append(f"{media.damaged_packets} damaged packets")

"""Reads the files of one source hop by hop, on one clock: a video, sound of its own, transcripts, series, recordings.

The source's own file feeds every stream of its kind that has no file of its own: a video feeds all video and audio
streams, a file of series all series, a transcript all texts, a recording of a robot all that its topics fit. A run
lasts as long as the longest file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np

from taemi_edge.bundle.streams import AudioSpec, SeriesSpec, StreamSpec, TextSpec, VideoSpec, kind_name
from taemi_edge.bundle.values import Array
from taemi_edge.errors import InputError, MediaError, OptionError, UsageError, printable
from taemi_edge.media.clocks import Span, clock_of, common_clock
from taemi_edge.media.files import MAX_JUMP_S, MediaFile, read_samples
from taemi_edge.media.hops import Hop, Values
from taemi_edge.media.places import shown_place
from taemi_edge.media.recordings.opening import is_recording, split_topic
from taemi_edge.media.recordings.recorded_clock import Clock
from taemi_edge.media.recordings.recorded_streams import RecordingSource, open_recordings
from taemi_edge.media.series import ENDINGS as SERIES_ENDINGS
from taemi_edge.media.series import Series, is_series_file, read_streams
from taemi_edge.media.transcripts import ENDINGS as TRANSCRIPT_ENDINGS
from taemi_edge.media.transcripts import Word, read_transcript

_EPSILON_S = 1e-6


class FileSource:
    """The files of one source, open to be read once; a context manager.

    Args:
        source: the source's own file; None where every stream has a file of its own.
        streams: of the model.
        places: files of their own, by stream; of a recording also RECORDING#TOPIC.
        transcript: what is said, for the text streams that have no file of their own.
        every_frame: keep all frames of videos, whatever the streams need.
        topics: of recordings, TOPIC or TOPIC.field by stream; what is not named is chosen by the types of messages.
        clock: of recordings, see `RecordingSource`.

    Attributes:
        name: of the source: that of its own file, or of its first stream's.
        files: all that are read.
        medias: the video and audio files.
        recordings: the recordings of robots.
        absent: why streams will never come, by stream.
        words: what is said, by text stream of which all is known beforehand.

    Raises:
        UsageError: a file feeds no stream, a stream is unknown, or a file is of another kind than its stream.
        InputError: a file cannot be read, or the files have no moment in common.

    Example:
        >>> import tempfile
        >>> from taemi_edge.bundle.streams import PresenceSpec
        >>> times = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
        >>> streams = {"imu": SeriesSpec(feature_dim=4, channels=2, presence=times)}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "imu.csv"
        ...     _ = file.write_text("time_s,x,y\\n0.0,1,2\\n0.4,3,4\\n0.8,5,6\\n")
        ...     with FileSource(file, streams) as files:
        ...         [(hop.end_s, hop.pieces["imu"][0].times_s.tolist()) for hop in files.hops(0.5)]
        [(0.5, [0.0, 0.4]), (1.0, [0.8])]
    """

    def __init__(
        self,
        source: Path | None,
        streams: Mapping[str, StreamSpec],
        places: Mapping[str, Path] | None = None,
        transcript: Path | None = None,
        *,
        every_frame: bool = False,
        topics: Mapping[str, str] | None = None,
        clock: Clock = "auto",
    ) -> None:
        self._streams = streams
        self._own = dict(places or {})
        self._source = source
        feeds = self._feeds(transcript)
        self.files = tuple(dict.fromkeys(split_topic(place)[0] for place in feeds.values()))
        self.name = printable(source.name if source is not None else self.files[0].name)
        self._rest = Hop(0.0)
        with ExitStack() as stack:
            recorded = {name: feeds.pop(name) for name in list(feeds) if is_recording(feeds[name])}
            self.recordings, self._recorded = open_recordings(
                stack, recorded, streams, topics or {}, clock, every_frame
            )
            self._media = self._open_media(stack, feeds, every_frame)
            self.medias = tuple(dict.fromkeys(self._media.values()))
            self._series = self._read_series(feeds)
            self.words = self._read_words(feeds)
            self._notes = [*self._bring_to_one_clock(feeds), *self._too_slow(feeds)]
            self.absent = self._absent(feeds)
            self._stack = stack.pop_all()

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> FileSource:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def _timed(self) -> Sequence[MediaFile | RecordingSource]:
        """The files that are read as time goes on."""
        return (*self.medias, *self.recordings)

    @property
    def notes(self) -> list[str]:
        """What was assumed of the files' clocks, and what is wrong with recordings so far, a sentence each."""
        return [*self._notes, *(note for recording in self.recordings for note in recording.notes)]

    @property
    def duration_s(self) -> float | None:
        """How long the longest file claims to be; None where no file says so."""
        claimed = [file.duration_s for file in self._timed if file.duration_s]
        return max([*claimed, *(series.end_s for series in self._series.values())], default=None)

    @property
    def length_s(self) -> float:
        """How much there was to read so far."""
        ends = [file.length_s for file in self._timed]
        ends += [series.end_s for series in self._series.values()]
        return max(ends) if ends else max((words[-1].end_s for words in self.words.values() if words), default=0.0)

    @property
    def damaged_packets(self) -> int:
        """How many packets of media, and messages of recordings, could not be decoded so far."""
        return sum(media.damaged_packets for media in self.medias) + sum(one.unusable for one in self.recordings)

    @property
    def picture(self) -> str | None:
        """The first video stream that has a file."""
        return self._first_of(VideoSpec)

    @property
    def sound(self) -> str | None:
        """The first audio stream that has a file."""
        return self._first_of(AudioSpec)

    def read_sound(self, sample_rate_hz: int) -> Array | None:
        """All sound that the source has first, whether a stream reads it or not: float32 (n,); None where it has none.

        Raises:
            MediaError, InputError: it cannot be read.
        """
        if file := next((media.path for media in self.medias if media.has_audio), None):
            return read_samples(file, sample_rate_hz)
        name = self.sound
        return self._recorded[name].read_sound(name, sample_rate_hz) if name in self._recorded else None

    @property
    def frame_rate(self) -> Fraction:
        """The frame rate of `picture`."""
        name = self.picture
        if name in self._recorded:
            return self._recorded[name].frame_rate(name)
        return self._media[name].frame_rate if name else Fraction(25)

    def reads(self, stream: str) -> bool:
        """Whether a file, or a topic of a recording, feeds a stream."""
        return any(stream in fed for fed in (self._media, self._recorded, self._series, self.words))

    def hops(self, hop_s: float) -> Iterator[Hop]:
        """The hops (0, hop_s], (hop_s, 2 hop_s], ... up to the last one that the longest file fills completely.

        Rows without a rate, and words, have no length: where there is nothing else, the last hop has the last of them.

        Args:
            hop_s: how long a hop is, in seconds.
        """
        readers = [_HopReader(file, hop_s) for file in self._timed]
        taken = dict.fromkeys(self._series, 0)
        index = 1
        while True:
            hop = Hop(index * hop_s, {n: [] for n in self._streams if n in self._media or n in self._recorded})
            reading = [reader.add_to(hop) for reader in readers]
            for name, series in self._series.items():
                stop = int(np.searchsorted(series.times_s, hop.end_s + _EPSILON_S, side="right"))
                if stop > taken[name]:
                    hop.pieces[name] = [Values(series.times_s[taken[name] : stop], series.rows[taken[name] : stop])]
                taken[name] = stop
            if not any(reading) and not self._goes_on(index, hop_s):
                self._rest = hop
                return
            yield hop
            index += 1

    def rest(self) -> Hop:
        """The data after the last whole hop; call it after `hops` has ended."""
        return self._rest

    def _goes_on(self, index: int, hop_s: float) -> bool:
        """Whether there is a hop of this number for what is not media."""
        sampled = [s.end_s for name, s in self._series.items() if getattr(self._streams[name], "rate_hz", 0)]
        if self.medias or self.recordings or sampled:
            return index * hop_s <= self.length_s + 1e-3
        last_s = max([s.times_s[-1] for s in self._series.values()] + [w[-1].end_s for w in self.words.values() if w])
        return index == 1 or (index - 1) * hop_s < last_s - _EPSILON_S

    def _first_of(self, kind: type[StreamSpec]) -> str | None:
        """The first stream of a kind that has video, sound or messages."""
        found = (n for n in self._streams if n in self._media or n in self._recorded)
        return next((n for n in found if isinstance(self._streams[n], kind) and n not in self.absent), None)

    # -------------------------------------------------------------------------------------------- what feeds what

    def _feeds(self, transcript: Path | None) -> dict[str, Path]:
        """The file of each stream that has one."""
        for name, place in self._own.items():
            if name not in self._streams:
                raise OptionError(
                    "streams", "--stream", f"{name}={shown_place(place)}: expected one of {self._named()}"
                )
            if not isinstance(self._streams[name], _kinds_in(place)):
                raise OptionError(
                    "streams",
                    "--stream",
                    f"{name}={shown_place(place)}: expected {_wanted_file(self._streams[name])}, since {name} is "
                    f"{kind_name(self._streams[name])}",
                )
        shared: dict[str, Path] = {}
        for file in (self._source, transcript):
            if file is None:
                continue
            left = [n for n, s in self._streams.items() if n not in self._own and isinstance(s, _kinds_in(file))]
            if file is transcript and _kinds_in(file) != (TextSpec,):
                left = []
            if not left:
                raise UsageError(
                    f"{shown_place(file)}: expected a file that feeds a stream of the model, and none is left for it "
                    f"among {self._named()}: --stream NAME=FILE binds one"
                )
            shared.update(dict.fromkeys(left, file))
        found = {**shared, **self._own}
        if not found:
            raise UsageError("expected a source, or --stream NAME=FILE for the streams of the model, got neither")
        return {name: found[name] for name in self._streams if name in found}

    def _named(self) -> str:
        return ", ".join(f"{name} ({kind_name(spec)})" for name, spec in self._streams.items())

    def _open_media(self, stack: ExitStack, feeds: Mapping[str, Path], every_frame: bool) -> dict[str, MediaFile]:
        """The open file of each video and audio stream; streams of one file share it."""
        fed: dict[Path, dict[str, StreamSpec]] = {}
        for name, file in feeds.items():
            if isinstance(self._streams[name], VideoSpec | AudioSpec):
                fed.setdefault(file.resolve(), {})[name] = self._streams[name]
        opened: dict[str, MediaFile] = {}
        for streams in fed.values():
            media = stack.enter_context(MediaFile(feeds[next(iter(streams))], streams=streams, every_frame=every_frame))
            opened.update(dict.fromkeys(streams, media))
        for name, media in opened.items():
            if name in self._own and not _has(media, self._streams[name]):
                raise MediaError(
                    f"{media.path}: expected, for the stream {name}, a file with {kind_name(self._streams[name])}"
                )
        return {name: opened[name] for name in self._streams if name in opened}

    def _read_series(self, feeds: Mapping[str, Path]) -> dict[str, Series]:
        widths = {n: s.channels for n, s in self._streams.items() if isinstance(s, SeriesSpec) and n in feeds}
        shared = {name: width for name, width in widths.items() if name not in self._own}
        found = read_streams(feeds[next(iter(shared))], shared) if shared else {}
        for name in (name for name in widths if name not in shared):
            found |= read_streams(feeds[name], {name: widths[name]}, alone=True)
        for name, series in found.items():
            _require_one_recording(feeds[name], series)
        return found

    def _read_words(self, feeds: Mapping[str, Path]) -> dict[str, Sequence[Word]]:
        texts = [name for name in feeds if isinstance(self._streams[name], TextSpec)]
        claimed = [file.duration_s for file in self._timed if file.duration_s]
        # their clocks are not brought together yet: one that does not count from its beginning gives a length alone
        claimed += [
            one.end_s - (0.0 if one.span(name).clock == "beginning" else float(one.times_s[0]))
            for name, one in self._series.items()
        ]
        known: dict[Path, list[Word]] = {}
        for name in texts:
            file = feeds[name]
            known[file] = known.get(file) or read_transcript(file, max(claimed, default=None))
        return {name: known[feeds[name]] for name in texts}

    def _bring_to_one_clock(self, feeds: Mapping[str, Path]) -> list[str]:
        """Move series and words to the clock of all files; returns what was assumed."""
        spans = {name: _span_of_media(media) for name, media in self._media.items()}
        spans |= {name: series.span(feeds[name].name) for name, series in self._series.items()}
        spans |= {name: _span_of_words(feeds[name], words) for name, words in self.words.items()}
        spans |= {name: recording.span for name, recording in self._recorded.items()}
        shifts_s, notes = common_clock(list(spans.values()))
        for name, by_s in zip(spans, shifts_s, strict=True):
            if name in self._series:
                self._series[name] = self._series[name].shifted(by_s)
            elif by_s and name in self.words:
                self.words[name] = [Word(w.start_s + by_s, w.end_s + by_s, w.text) for w in self.words[name]]
        shifted = zip(spans, shifts_s, strict=True)
        for recording, by_s in {self._recorded[name]: by_s for name, by_s in shifted if name in self._recorded}.items():
            recording.move(by_s)
        return notes

    def _too_slow(self, feeds: Mapping[str, Path]) -> list[str]:
        """Say which series are missing between any two of their rows: their times may not be in seconds."""
        notes = []
        for name, series in self._series.items():
            usual_s = float(np.median(np.diff(series.times_s))) if len(series.times_s) > 1 else 0.0
            missing_s = self._streams[name].presence.missing_after_s
            if usual_s > missing_s:
                notes.append(
                    f"{feeds[name]}: rows of {name} lie {usual_s:g} s apart, and {name} is missing after {missing_s:g} "
                    f"s without one: are its times milliseconds?"
                )
        return notes

    def _absent(self, feeds: Mapping[str, Path]) -> dict[str, str]:
        absent = {}
        for name, spec in self._streams.items():
            if name in self._recorded:
                continue
            if name not in feeds:
                why = next((recording.absent[name] for recording in self.recordings if name in recording.absent), None)
                absent[name] = why or (
                    "no transcript was given" if isinstance(spec, TextSpec) else "no file of it was given"
                )
            elif isinstance(spec, SeriesSpec) and name not in self._series:
                absent[name] = "the file has no columns of it"
            elif name in self._media and not _has(self._media[name], spec):
                absent[name] = f"the file has no {kind_name(spec)} stream"
        return absent


class _HopReader:
    """Adds the hops of one of several files to those of the source."""

    def __init__(self, file: MediaFile | RecordingSource, hop_s: float) -> None:
        self._file, self._hops = file, file.hops(hop_s)
        self._is_over = False

    def add_to(self, hop: Hop) -> bool:
        """Add what the file has in a hop, or what is left after its last whole one; False where it is over."""
        if self._is_over:
            return False
        own = next(self._hops, None)
        self._is_over = own is None
        part = own or self._file.rest()
        for name, pieces in part.pieces.items():
            hop.pieces[name] += pieces
        hop.faults |= part.faults
        return not self._is_over


def _kinds_in(file: Path) -> tuple[type[StreamSpec], ...]:
    """The kinds of streams that a file can feed, by the ending of its name."""
    if is_recording(file):
        return (VideoSpec, AudioSpec, TextSpec, SeriesSpec)
    if is_series_file(file):
        return (SeriesSpec,)
    return (TextSpec,) if file.suffix.lower() in TRANSCRIPT_ENDINGS else (VideoSpec, AudioSpec)


def _wanted_file(spec: StreamSpec) -> str:
    if isinstance(spec, SeriesSpec):
        return f"a file that ends in {', '.join(SERIES_ENDINGS)}"
    if isinstance(spec, TextSpec):
        return f"a file that ends in {', '.join(TRANSCRIPT_ENDINGS)}"
    return "a video or audio file"


def _has(media: MediaFile, spec: StreamSpec) -> bool:
    return media.has_video if isinstance(spec, VideoSpec) else media.has_audio


def _require_one_recording(file: Path, series: Series) -> None:
    """Refuse a leap in time that would make a run of hours without data."""
    pauses_s = np.diff(series.times_s)
    if len(pauses_s) and pauses_s.max() > MAX_JUMP_S:
        at = int(np.argmax(pauses_s))
        after_s = series.times_s[at] - series.times_s[0]
        raise InputError(
            f"{file}: expected the rows of one recording, got a leap of {pauses_s[at]:g} s after {after_s:g} s (row "
            f"{at + 2}): cut the file there"
        )


def _span_of_media(media: MediaFile) -> Span:
    return Span(media.path.name, "beginning", 0.0, media.duration_s or float("inf"), anchors=True)


def _span_of_words(file: Path, words: Sequence[Word]) -> Span:
    clock = clock_of(words[0].start_s)
    return Span(file.name, clock, words[0].start_s, words[-1].end_s, anchors=clock == "beginning")

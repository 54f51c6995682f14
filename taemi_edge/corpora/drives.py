"""Recordings of robots as a corpus: MCAP files and ROS bags in a folder, or named by a table of samples.

A folder of recordings has no labels. Each recording is cut into clips as long as the window of the model that they are
read for, and the clips calibrate it, or are encoded. In a table, a row is one sample:

| column | what it holds |
|---|---|
| `recording` | a recording that feeds every stream without a column of its own |
| `STREAM` | a topic of it, "#/imu/data.linear_acceleration", or of another: "arm.mcap#/joint_states" |
| `start_s`, `end_s` | the range of the recording, in seconds from its first message on, or Unix times |

A folder may have the folders train, valid and test. Else the last quarter of each recording is of the split valid, so
that a model is judged on what it was not calibrated on, and the rest of the split train.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from taemi_edge.bundle.atomic import scratch_folder
from taemi_edge.bundle.streams import StreamSpec
from taemi_edge.corpora.corpus_folder import CorpusFolder
from taemi_edge.corpora.drive_ranges import DriveOptions, DriveRange
from taemi_edge.corpora.labelled_clips import SPLITS, Corpus, read_mark
from taemi_edge.corpora.sample_corpus import SampleClip, SampleCorpus
from taemi_edge.corpora.staging import fetch_recording
from taemi_edge.errors import CorpusError, InputError, OptionError, UsageError, in_one_line
from taemi_edge.media.messages.topic_field import parse_topic_field
from taemi_edge.media.recordings.opening import BAG_METADATA, ENDINGS, TOPIC_SIGN, is_recording, open_recording
from taemi_edge.media.recordings.recorded_clock import LARGEST_DIFFERENCE_S, ChosenClock
from taemi_edge.media.recordings.recorded_streams import RecordingSource
from taemi_edge.media.recordings.recording import Recording
from taemi_edge.media.recordings.simulated_time import on_simulated_time
from taemi_edge.media.recordings.topic_map import choose_topics, read_map_file

log = logging.getLogger("taemi_edge.corpora.drives")

#: The columns of a table that say which part of which recording a row is.
RECORDING, START_S, END_S = "recording", "start_s", "end_s"
#: What a folder's own file says of topics: a table [streams] with a topic by stream.
MAP_FILE = "recordings.toml"
#: The last of so many parts of a recording is kept to judge on, where that makes at least so many clips.
_PARTS, _LEAST_VALID = 4, 8
#: The last clip of a recording may lack this part of its length.
_FULL = 10
#: A recording that would be cut into more clips has messages of two clocks, as a rule, and nothing between them.
MOST_CLIPS = 200_000
#: Larger numbers of seconds are Unix times: no recording lasts thirty years.
_UNIX_S = 1e9
_NS = 1_000_000_000


def open_drives(place: Path | str | CorpusFolder, options: DriveOptions | None = None) -> SampleCorpus | None:
    """Open a recording, or a folder of recordings; None where there is none.

    Each clip is a whole recording until `for_model` has cut it.

    Args:
        place: a recording, or a folder with some.
        options: how they are read.

    Example:
        >>> open_drives(Path("nowhere")) is None
        True
    """
    folder = place if isinstance(place, CorpusFolder) else CorpusFolder(place)
    where = folder.where
    if isinstance(where, Path) and is_recording(where):
        folder, named = CorpusFolder(where.parent), [(where.name, "")]
    else:
        named = [(name, split) for split in SPLITS for name in _recordings_in(folder, split)]
        named += [(name, "") for name in _recordings_in(folder, "")]
    if not named:
        return None
    ids = _ids([name for name, _ in named])
    options = _with_folder_map(folder, options or DriveOptions())
    clips = tuple(
        SampleClip(ids[name], split, folder.shown(name), None, {RECORDING: name}, folder.file(""), files=folder.files)
        for name, split in named
    )
    return SampleCorpus(where, clips, read_mark(folder), "", drives=options, is_cut=False)


def _with_folder_map(folder: CorpusFolder, options: DriveOptions) -> DriveOptions:
    """The options, with the topics that the folder's own file names and that nobody has given."""
    if not folder.has_file(MAP_FILE):
        return options
    with folder.local(MAP_FILE) as file:
        return replace(options, topics={**read_map_file(file), **options.topics})


def _recordings_in(folder: CorpusFolder, inside: str) -> list[str]:
    """The recordings in a folder: files by their endings, and folders of bags."""
    before = f"{inside}/" if inside else ""
    if inside and not folder.has_folder(inside):
        return []
    found = []
    for name in sorted(folder.names(inside)):
        is_bag = name.endswith("/") and folder.has_file(f"{before}{name}{BAG_METADATA}")
        if is_bag or name.lower().endswith(ENDINGS):
            found.append(before + name.rstrip("/"))
    return found


def _ids(names: Sequence[str]) -> dict[str, str]:
    """The id of each recording: its name without its ending, where that is no other's; "train-drive" of a split."""
    short = {name: name.removesuffix(PurePosixPath(name).suffix).replace("/", "-") for name in names}
    return {
        name: stem if list(short.values()).count(stem) == 1 else name.replace("/", "-") for name, stem in short.items()
    }


def for_model(
    corpus: Corpus | SampleCorpus, streams: Mapping[str, StreamSpec], window_s: float
) -> Corpus | SampleCorpus:
    """Find what of each recording feeds the streams of a model, and cut recordings without labels into clips.

    Args:
        corpus: of any form; one without recordings is given as it is.
        streams: of the model.
        window_s: how long a clip is where `DriveOptions.clip_s` says nothing.

    Raises:
        CorpusError: a row of a table names a range that is none, or a recording is too long to be cut.
        InputError: a recording cannot be read, or it is not clear which of its topics feeds a stream.
    """
    if not isinstance(corpus, SampleCorpus) or not any(_names_recording(clip, streams) for clip in corpus.clips):
        return corpus
    maker = _ClipMaker(corpus.drives, streams, corpus.drives.clip_s or window_s)
    clips = [made for clip in corpus.clips for made in _made(maker, clip, not corpus.is_cut)]
    maker.require_topics_found()
    digest = hashlib.sha256(f"{corpus.labels_sha256} {maker.identity()}".encode()).hexdigest()
    return replace(corpus, clips=tuple(clips), labels_sha256=digest, is_cut=True)


def _made(maker: _ClipMaker, clip: SampleClip, is_whole: bool) -> list[SampleClip]:
    if not _names_recording(clip, maker.streams):
        return [clip]
    return maker.cut(clip) if is_whole else [maker.row(clip)]


def _names_recording(clip: SampleClip, streams: Mapping[str, StreamSpec]) -> bool:
    if clip.file is not None or clip.ranges:
        return False
    return _own_recording(clip, streams) is not None or any(_is_topic(clip, clip.cells.get(name)) for name in streams)


def _own_recording(clip: SampleClip, streams: Mapping[str, StreamSpec]) -> str | None:
    """The recording of a row; a stream may have that name."""
    named = clip.cells.get(RECORDING)
    return named if isinstance(named, str) and RECORDING not in streams else None


def _is_topic(clip: SampleClip, cell: Any) -> bool:
    """Whether a cell names a topic: of a recording before the sign, or of that of the row."""
    file, sign, topic = cell.partition(TOPIC_SIGN) if isinstance(cell, str) else ("", "", "")
    if not (sign and topic):
        return False
    return file.lower().endswith(ENDINGS) or (
        RECORDING in clip.cells if not file else clip.files is None and is_recording(clip.folder / file)
    )


@dataclass(frozen=True)
class _Topics:
    """Which streams a recording may feed, and the topics of those that were named."""

    wanted: Sequence[str]
    known: Mapping[str, str]


@dataclass(frozen=True)
class _Fed:
    """What a recording feeds: the topics by stream, its clock, its ends, and what tells it from another."""

    topics: Mapping[str, str]
    clock: ChosenClock
    start_ns: int
    end_ns: int
    identity: str

    @property
    def length_s(self) -> float:
        return (self.end_ns - self.start_ns) / _NS

    def moment_ns(self, at_s: float | None) -> int | None:
        """A time of a table: seconds from the first message on, or a Unix time."""
        if at_s is None:
            return None
        return round(at_s * _NS) + (0 if at_s >= _UNIX_S else self.start_ns)


class _ClipMaker:
    """Makes clips of recordings; each is opened once for every set of streams that it feeds."""

    def __init__(self, options: DriveOptions, streams: Mapping[str, StreamSpec], clip_s: float) -> None:
        self.streams = streams
        self._options, self._clip_s = options, clip_s
        self._known: dict[tuple[Path, tuple[tuple[str, str], ...], tuple[str, ...]], _Fed] = {}
        #: The streams whose given topic was in some recording, and the refusal of the first one without it.
        self._found: set[str] = set()
        self._refusals: dict[str, UsageError] = {}
        self._said: set[str] = set()

    def cut(self, clip: SampleClip) -> list[SampleClip]:
        """The clips of a whole recording."""
        file = clip.folder / clip.cells[RECORDING]
        try:
            fed = self._fed(clip, file, {}, tuple(self.streams))
        except InputError:  # one that cannot be read leaves the others: whoever reads the clip says what is wrong
            part = DriveRange(file, self._options.topics)
            return [replace(clip, split=clip.split or SPLITS[0], cells={}, ranges=(part,))]
        length_ns = max(1, round(self._clip_s * _NS))
        windows = self._windows(clip, file, fed, length_ns)
        valid = len(windows) // _PARTS if len(windows) // _PARTS >= _LEAST_VALID else 0
        clips = []
        for number, window in enumerate(windows):
            start_ns = fed.start_ns + window * length_ns
            split = clip.split or (SPLITS[1] if number >= len(windows) - valid else SPLITS[0])
            place = f"{clip.place}, {window * self._clip_s:g} s to {(window + 1) * self._clip_s:g} s"
            part = DriveRange(file, fed.topics, start_ns, start_ns + length_ns, fed.clock)
            clips.append(
                replace(clip, id=f"{clip.id}-{number:05d}", split=split, place=place, cells={}, ranges=(part,))
            )
        return clips

    def _windows(self, clip: SampleClip, file: Path, fed: _Fed, length_ns: int) -> Sequence[int]:
        """The numbers of the clips of a recording: all of them; those with messages, where a clock was set meanwhile.

        Raises:
            CorpusError: there are too many.
        """
        count = max(1, (fed.end_ns - fed.start_ns + length_ns // _FULL) // length_ns)
        if count <= MOST_CLIPS:
            return range(count)
        found: set[int] = set()
        with _at_hand(clip, file) as here, open_recording(here) as recording:
            topics = {parse_topic_field(text, recording.topics).topic for text in fed.topics.values()}
            timed = on_simulated_time(recording) if fed.clock.simulated else recording
            for message in timed.messages(topics):
                found.add((message.log_ns - fed.start_ns) // length_ns)
                if len(found) > MOST_CLIPS:
                    raise CorpusError(
                        f"{clip.place}: expected up to {MOST_CLIPS:,} clips of {self._clip_s:g} s, got more: make "
                        f"longer ones with --cut, or name ranges in samples.csv ({RECORDING}, {START_S}, {END_S})"
                    )
        return sorted(found)

    def row(self, clip: SampleClip) -> SampleClip:
        """A row of a table with the ranges that it names; its other columns stay."""
        own = _own_recording(clip, self.streams)
        named: dict[Path, dict[str, str]] = {} if own is None else {clip.folder / own: {}}
        cells = dict(clip.cells)
        for name in [name for name in self.streams if _is_topic(clip, clip.cells.get(name))]:
            file, _, topic = cells.pop(name).partition(TOPIC_SIGN)
            named.setdefault(clip.folder / (file or own or ""), {})[name] = topic
        start_s, end_s = _seconds(clip, cells.pop(START_S, None)), _seconds(clip, cells.pop(END_S, None))
        if own is not None:
            del cells[RECORDING]
        ranges = []
        for file, given in named.items():
            guessed = [n for n in self.streams if n not in clip.cells] if own and file == clip.folder / own else []
            try:
                fed = self._fed(clip, file, given, (*given, *guessed))
            except UsageError as error:
                said = str(error).removeprefix("--map ").removeprefix("topics ")  # no option named it
                raise CorpusError(f"{clip.place}: {said}") from error
            start_ns, end_ns = fed.moment_ns(start_s) or fed.start_ns, fed.moment_ns(end_s)
            if not start_ns < (end_ns or fed.end_ns) or start_ns >= fed.end_ns:
                got = ", ".join(f"{name} {clip.cells[name]}" for name in (START_S, END_S) if name in clip.cells)
                raise CorpusError(
                    f"{clip.place}: expected a range within the {fed.length_s:g} s of {file.name}, got {got}"
                )
            ranges.append(DriveRange(file, fed.topics, start_ns, end_ns, fed.clock))
        return replace(clip, cells=cells, ranges=tuple(ranges))

    def require_topics_found(self) -> None:
        """Refuse a topic that was given and that none of the recordings has."""
        for stream, refusal in self._refusals.items():
            if stream not in self._found:
                raise refusal

    def identity(self) -> str:
        """What tells these recordings, read in this way, from others."""
        known = sorted(f"{key[0].name} {sorted(fed.topics.items())} {fed.identity}" for key, fed in self._known.items())
        return f"{known} {self._options.clock} {self._clip_s:g}"

    def _fed(self, clip: SampleClip, file: Path, given: Mapping[str, str], names: tuple[str, ...]) -> _Fed:
        """What a recording feeds, and when it begins and ends."""
        key = file, tuple(sorted(given.items())), names
        if key not in self._known:
            with _at_hand(clip, file) as here:
                with open_recording(here) as recording:
                    topics = self._topics(recording, given, names)
                    counts = sorted((name, topic.count) for name, topic in recording.topics.items())
                with self._source(here, file.name, topics) as source:
                    self._say(file.name, source)
                    fields = {name: str(field) for name, field in source.fields.items()}
                    clock = source.clock
                    start_ns, end_ns = _ends(source, clip.place)
            self._known[key] = _Fed(fields, clock, start_ns, end_ns, f"{start_ns} {end_ns} {counts}")
        return self._known[key]

    def _topics(self, recording: Recording, given: Mapping[str, str], names: tuple[str, ...]) -> _Topics:
        """Which streams may be fed, and by what; a topic that is given for all recordings may be lacking in some."""
        topics, for_all = recording.topics, {n: t for n, t in self._options.topics.items() if n not in given}
        lacking = {name for name, text in for_all.items() if not _has_topic(topics, text)}
        for name in lacking:
            try:
                choose_topics(topics, self.streams, {name: for_all[name]})
            except UsageError as error:
                self._refusals.setdefault(name, error)
        self._found |= for_all.keys() - lacking
        wanted = [name for name in names if name not in lacking]
        known = {n: t for n, t in {**for_all, **given}.items() if n in wanted or n not in self.streams}
        return _Topics(wanted, known)

    def _source(self, here: Path, name: str, topics: _Topics) -> RecordingSource:
        wanted = {stream: self.streams[stream] for stream in topics.wanted}
        try:
            return RecordingSource(here, wanted, topics.known, clock=self._options.clock)
        except OptionError:
            raise
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from error

    def _say(self, name: str, source: RecordingSource) -> None:
        """Say what was guessed of a recording; what holds of several is said once."""
        pairs = " ".join(
            f"--map {stream}={source.fields[stream]}" for stream in source.fields if stream in source.guessed
        )
        for note in (f"topics were chosen by their types: {pairs}" if pairs else "", source.clock.note):
            if note and note not in self._said:
                self._said.add(note)
                log.warning("%s: %s", name, in_one_line(note))


def _has_topic(topics: Mapping[str, Any], text: str) -> bool:
    topic = parse_topic_field(text, topics).topic
    return topic in topics or f"/{topic}" in topics


@contextmanager
def _at_hand(clip: SampleClip, file: Path) -> Iterator[Path]:
    """A recording as one of this machine."""
    if clip.files is None:
        yield file
        return
    with scratch_folder() as folder:
        try:
            yield fetch_recording(clip.files.place, file, folder)
        except InputError as error:
            raise type(error)(str(error).replace(str(folder), str(clip.files.place))) from error


def _ends(source: RecordingSource, place: str) -> tuple[int, int]:
    """When the first message was made or logged, and behind the time at which the last was logged.

    A recording that does not say so is read through. Messages of the first seconds were made before they were logged.
    """
    recording = source.recording  # on simulated time where that counts
    first_ns, last_ns = recording.start_ns, recording.end_ns
    if first_ns is None or last_ns is None:
        for message in recording.messages(list(recording.topics)):
            first_ns = message.log_ns if first_ns is None else min(first_ns, message.log_ns)
            last_ns = message.log_ns if last_ns is None else max(last_ns, message.log_ns)
    if first_ns is None or last_ns is None:
        raise CorpusError(f"{place}: expected a recording with messages, found none in it")
    made_ns = max(source.origin_ns - source.clock.offset_ns, first_ns - round(LARGEST_DIFFERENCE_S * _NS))
    return min(first_ns, max(0, made_ns)), last_ns + 1


def _seconds(clip: SampleClip, cell: Any) -> float | None:
    if cell is None:
        return None
    try:
        seconds = float(cell)
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 <= seconds < 1e11:
        raise CorpusError(f"{clip.place}: expected {START_S} and {END_S} in seconds from 0 on, got {cell!r:.40}")
    return seconds

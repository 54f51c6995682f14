"""Reads what `taemi-edge run --record F.mcap` wrote: the hops that the model got, and what it predicted of them.

The inputs of a hop stand in the file before the hop, and the hop says how many of each stream are its own and when each
was taken. So another bundle gets the very hops that the recorded one got. Pictures were compressed, unless the run was
recorded with `--lossless`: they are nearly those that the recorded model saw.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np

from taemi_edge.bundle.streams import SeriesSpec, StreamSpec, TextSpec, VideoSpec, kind_name
from taemi_edge.errors import InputError, MessageError, UsageError
from taemi_edge.media.hops import Frame, Hop, SoundPiece, Values
from taemi_edge.media.messages.readings import SoundReading
from taemi_edge.media.messages.stream_reader import StreamReader
from taemi_edge.media.recordings.opening import is_recording, open_recording
from taemi_edge.media.recordings.recording import RecordedMessage, Recording, Topic
from taemi_edge.media.transcripts import Word
from taemi_edge.runtime.prediction import Prediction

#: The metadata record, and the topics of a source below its own name.
METADATA = "taemi-edge"
_INPUTS, _HOP, _PREDICTION = "inputs", "hop", "prediction"
#: What predictions have besides the groups of their outputs.
_FIELDS = frozenset(Prediction.__struct_fields__) - {"outputs"}
#: Fields that came later: an output of a model may have had such a name.
_LATER = ("synthetic", "trained_on")
#: A picture belongs to a time of its hop that lies so near to its own stamp.
_NEAR_S = 0.002
#: So many inputs of a stream wait for their hop at most: more than a hop of any stream holds.
_MOST_WAITING = 200_000


class _Row(msgspec.Struct):
    time_s: float
    values: list[float]


class _Words(msgspec.Struct):
    start_s: float
    end_s: float
    text: str


class _HopLine(msgspec.Struct):
    time_s: float
    pieces: dict[str, list[float]] = msgspec.field(default_factory=dict)
    faults: dict[str, str] = msgspec.field(default_factory=dict)
    losses: dict[str, str] = msgspec.field(default_factory=dict)
    frames_share: float = 1.0


class _SourceEntry(msgspec.Struct):
    name: str
    topic: str
    absent: dict[str, str] = msgspec.field(default_factory=dict)
    drops: list[str] = msgspec.field(default_factory=list)
    patience_s: float = 0.0


@dataclass(frozen=True)
class RecordedSource:
    """One source of a recorded run.

    Attributes:
        name: of the source.
        streams: the topic of each of its streams, by the stream's name.
        absent: why streams never came, by stream.
        drops: the losses that were rehearsed, as `--drop` takes them.
        patience_s: how long sound that arrived late was waited for.
    """

    name: str
    streams: Mapping[str, str]
    absent: Mapping[str, str] = field(default_factory=dict)
    drops: tuple[str, ...] = ()
    patience_s: float = 0.0


@dataclass(frozen=True, eq=False)
class RecordedMoment:
    """A hop, and what was predicted of it.

    Attributes:
        hop: as the recorded model got it, of the streams that were asked for.
        prediction: of the recorded model; None where it was not recorded.
    """

    hop: Hop
    prediction: Prediction | None


class RecordedRun:
    """What a run has recorded; a context manager.

    Args:
        file: the recording.

    Attributes:
        model: the name of the recorded model, and the first digits of its id; empty where the recording does not say.
        window_s, hop_s: of the recorded run; None where the recording does not say.
        kinds: of the streams of the recorded model, by name: "video", "audio", "text" or "series".
        is_lossless: whether pictures and sound are those that the recorded model got, bit for bit.
        sources: by name.

    Raises:
        InputError: it is no recording, or no run has written it.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        if not is_recording(file):
            raise InputError(f"{file}: expected the recording of a run, a file that ends in .mcap, got another")
        with ExitStack() as stack:
            self._recording: Recording = stack.enter_context(open_recording(file))
            held = self._recording.metadata.get(METADATA, {})
            self.model, self.model_id = held.get("model", ""), held.get("model_id", "")
            self.window_s, self.hop_s = _seconds(held.get("window_s")), _seconds(held.get("hop_s"))
            self.is_lossless = held.get("lossless") == "true"
            start_ns = held.get("session_start_ns", "")
            self._start_ns = int(start_ns) if re.fullmatch(r"[0-9]{1,19}", start_ns) else 0
            self._topics = dict(self._recording.topics)
            kinds = _json(held.get("streams"), dict[str, dict[str, Any]]) or {}
            self.kinds = {name: str(entry["kind"]) for name, entry in kinds.items() if "kind" in entry}
            self.sources = self._find_sources(held)
            self._unusable: dict[str, tuple[int, str]] = {}
            self._stack = stack.pop_all()

    def __enter__(self) -> RecordedRun:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    @property
    def notes(self) -> list[str]:
        """What was wrong with the recording, a sentence each; grows while it is read."""
        said = [
            f"{count} of the inputs of {name} could not be used, the first since: {why}"
            for name, (count, why) in self._unusable.items()
        ]
        return [*self._recording.notes, *said]

    @property
    def length_s(self) -> float | None:
        """How long the run was; None where the recording does not say."""
        start_ns, end_ns = self._recording.start_ns, self._recording.end_ns
        return None if start_ns is None or end_ns is None else (end_ns - start_ns) / 1e9

    def source(self, name: str | None) -> RecordedSource:
        """The source of a name; the only one where no name is given.

        Raises:
            UsageError: there is no such source, or there are several.
        """
        if name is None and len(self.sources) == 1:
            return next(iter(self.sources.values()))
        if name not in self.sources:
            got = "none named" if name is None else repr(name)
            raise UsageError(f"{self.file}: expected one of its sources {', '.join(self.sources)}, got {got}: --source")
        return self.sources[name]

    def moments(
        self, source: RecordedSource, streams: Mapping[str, tuple[str, StreamSpec]]
    ) -> Iterator[RecordedMoment]:
        """The hops of a source in their order, each with its prediction.

        Args:
            source: one of `sources`.
            streams: what is read: by the name that a hop shall give it, the recorded stream and how it is read.

        Raises:
            InputError: a stream was recorded as something that does not feed its kind, or the recording has no hop.
        """
        root = next(iter(source.streams.values())).partition(f"/{_INPUTS}/")[0]
        readers = {}
        for name, (recorded, spec) in streams.items():
            kind = self.kinds.get(recorded, kind_name(spec))
            if kind != kind_name(spec):
                raise InputError(
                    f"{self.file}: expected {kind_name(spec)} for the stream {name}, got {recorded}, which is {kind}"
                )
            readers[source.streams[recorded]] = _Input(name, recorded, spec, self._topics[source.streams[recorded]])
        waiting: RecordedMoment | None = None
        last_s = -math.inf
        for message in self._recording.messages([*readers, f"{root}/{_HOP}", f"{root}/{_PREDICTION}"]):
            if reader := readers.get(message.topic):
                reader.add(message)
            elif message.topic.endswith(f"/{_HOP}"):
                if waiting is not None:
                    yield waiting
                waiting = self._moment(message, list(readers.values()))
                if not waiting.hop.end_s > last_s:
                    raise InputError(
                        f"{self.file}: expected hops that follow each other, got one that ends at "
                        f"{waiting.hop.end_s:g} s after one that ends at {last_s:g} s"
                    )
                last_s = waiting.hop.end_s
            elif waiting is not None:
                yield RecordedMoment(waiting.hop, _prediction(self.file, message.data))
                waiting = None
        if waiting is not None:
            yield waiting

    def _moment(self, message: RecordedMessage, readers: list[_Input]) -> RecordedMoment:
        line = _decoded(self.file, message, _HopLine)
        names = {reader.recorded: reader.name for reader in readers}
        hop = Hop(line.time_s, frames_share=line.frames_share)
        hop.faults = {names[n]: why for n, why in line.faults.items() if n in names}
        hop.losses = {names[n]: why for n, why in line.losses.items() if n in names}
        for reader in readers:
            if reader.recorded in line.pieces:
                hop.pieces[reader.name] = reader.taken(line.pieces[reader.recorded], self._start_ns)
            if reader.problems:
                hop.faults.setdefault(reader.name, reader.problems[0])
                count, why = self._unusable.get(reader.recorded, (0, reader.problems[0]))
                self._unusable[reader.recorded] = count + len(reader.problems), why
                reader.problems.clear()
        return RecordedMoment(hop, None)

    def _find_sources(self, held: Mapping[str, str]) -> dict[str, RecordedSource]:
        """The sources whose hops and predictions are there."""
        entries = _json(held.get("sources"), list[_SourceEntry]) or []
        roots = [topic.removesuffix(f"/{_HOP}") for topic in self._topics if topic.endswith(f"/{_HOP}")]
        roots = [root for root in roots if f"{root}/{_PREDICTION}" in self._topics]
        if not roots:
            raise InputError(
                f"{self.file}: expected the hops and predictions that `taemi-edge run --record` writes, found "
                f"{', '.join(sorted(self._topics)) or 'no topic'}: `taemi-edge run BUNDLE {self.file.name}` runs a "
                f"bundle on a recording"
            )
        named = {f"/{entry.topic}": entry for entry in entries}
        sources = {}
        for root in roots:
            entry = named.get(root, _SourceEntry(root.strip("/"), root.strip("/")))
            streams = {
                topic.removeprefix(f"{root}/{_INPUTS}/"): topic
                for topic in self._topics
                if topic.startswith(f"{root}/{_INPUTS}/")
            }
            if streams:
                drops = tuple(entry.drops)
                sources[entry.name] = RecordedSource(entry.name, streams, entry.absent, drops, entry.patience_s)
        if not sources:
            raise InputError(f"{self.file}: expected recorded inputs to run a bundle on, found predictions alone")
        return sources


class _Input:
    """The inputs of one recorded stream that wait for their hop."""

    def __init__(self, name: str, recorded: str, spec: StreamSpec, topic: Topic) -> None:
        self.name, self.recorded, self._spec = name, recorded, spec
        self.problems: list[str] = []
        self._waiting: list[Any] = []
        self._rate_hz = 0
        self._line: Any = _Words if isinstance(spec, TextSpec) else _Row if isinstance(spec, SeriesSpec) else None
        self._reader = StreamReader(spec, topic.type) if self._line is None else None

    def add(self, message: RecordedMessage) -> None:
        """Take in a message; one that cannot be used is a fault of the hop."""
        try:
            if self._reader is None:
                self._waiting.append(msgspec.json.decode(message.data, type=self._line))
            else:
                self._waiting += self._reader.read(message.data)
        except MessageError as error:
            self.problems.append(str(error))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            self.problems.append(f"{message.topic}: expected a line of a recorded run, got something else")
        if len(self._waiting) > _MOST_WAITING:
            raise InputError(f"{message.topic}: expected a hop after its inputs, got {_MOST_WAITING} without one")

    def taken(self, times_s: list[float], start_ns: int) -> list[Any]:
        """What belongs to a hop, as pieces; `times_s` has the time of each picture, or how many rows or words."""
        if self._line is not None:
            count = int(min(max(times_s[0], 0.0), _MOST_WAITING)) if times_s else 0
            found, self._waiting = self._waiting[:count], self._waiting[count:]
            return self._words(found) if self._line is _Words else self._rows(found)
        readings, self._waiting = self._waiting[: len(times_s)], self._waiting[len(times_s) :]
        if isinstance(self._spec, VideoSpec):
            return [Frame(at, one.picture) for at, one in _timed(readings, times_s, start_ns)]
        return [SoundPiece(at, self._resampled(one)) for at, one in _timed(readings, times_s, start_ns)]

    def _words(self, found: list[_Words]) -> list[Word]:
        return [Word(one.start_s, one.end_s, one.text) for one in found]

    def _rows(self, found: list[_Row]) -> list[Values]:
        channels = getattr(self._spec, "channels", 0)
        wrong = next((len(row.values) for row in found if len(row.values) != channels), None)
        if wrong is not None:
            raise InputError(f"{self.recorded}: expected rows of {channels} numbers for {self.name}, got {wrong}")
        if not found:
            return []
        times_s = np.array([row.time_s for row in found], np.float64)
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is left out where it is read
            return [Values(times_s, np.array([row.values for row in found], np.float32))]

    def _resampled(self, reading: SoundReading) -> Any:
        wanted = getattr(self._spec, "sample_rate_hz", reading.rate_hz)
        if wanted != reading.rate_hz:
            raise InputError(
                f"{self.recorded}: expected sound of {wanted} Hz for {self.name}, got {reading.rate_hz} Hz: a run "
                f"records what its own model takes"
            )
        return reading.samples


def _timed(readings: list[Any], times_s: list[float], start_ns: int) -> Iterator[tuple[float, Any]]:
    """Each reading with its time, in the order of the hop; recordings are in the order of time, and hops need not be.

    Where some are lost, the others are told by their stamps.
    """
    stamps_s = [None if one.stamp_ns is None else (one.stamp_ns - start_ns) / 1e9 for one in readings]
    if None in stamps_s:
        yield from zip(times_s, readings, strict=False)
        return
    found: dict[int, Any] = {}
    by_time = sorted(range(len(times_s)), key=times_s.__getitem__)
    if len(readings) == len(times_s):
        found = dict(zip(by_time, sorted(readings, key=lambda one: one.stamp_ns), strict=True))
    else:
        for stamp_s, one in zip(stamps_s, readings, strict=True):
            free = [at for at in by_time if at not in found and abs(times_s[at] - (stamp_s or 0.0)) < _NEAR_S]
            found |= {free[0]: one} if free else {}
    for at, time_s in enumerate(times_s):
        if at in found:
            yield time_s, found[at]


def _prediction(file: Path, line: bytes) -> Prediction:
    """A line of a run as a prediction: what is none of its fields is a group of outputs."""
    held = _json_object(file, line)
    outputs = {
        k: v for k, v in held.items() if k not in _FIELDS or (k in _LATER and (v is None or isinstance(v, dict)))
    }
    fields = {name: value for name, value in held.items() if name not in outputs}
    try:
        return msgspec.convert({**fields, "outputs": outputs}, Prediction)
    except msgspec.ValidationError as error:
        raise InputError(
            f"{file}: expected the lines of a run as predictions, got one that is none: {error}"
        ) from error


def _json_object(file: Path, line: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: expected predictions as JSON objects, got something else: {error}") from error


def _decoded(file: Path, message: RecordedMessage, kind: type[_HopLine]) -> _HopLine:
    try:
        return msgspec.json.decode(message.data, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: {message.topic}: expected a hop of a recorded run, got none: {error}") from error


def _json(text: str | None, kind: Any) -> Any:
    """What a text of the metadata holds; None where it is something else: what follows from it is left out then."""
    try:
        return None if text is None else msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _seconds(text: str | None) -> float | None:
    """A length in the metadata; None where it is none."""
    try:
        seconds = math.nan if text is None else float(text)
    except ValueError:
        return None
    return seconds if 0 < seconds < math.inf else None

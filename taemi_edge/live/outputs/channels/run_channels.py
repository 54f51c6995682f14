"""Says what a run sees and predicts on typed channels, for a recording (`mcap_file.py`) and for Foxglove alike.

A channel is a topic with a schema. Pictures, sound, boxes and log lines are Foxglove's own messages (protobuf); rows,
words, hops, predictions, presence and latency are JSON with a schema (`message_schemas.py`). The topics are listed in
`described_run.py`. What nobody reads is not encoded.

Every message is logged at the wall clock of its moment in the session, and always after the message of the same source
that came before it. Its own `timestamp` is that of its moment alone.

This module needs foxglove-sdk: import it where that was asked for alone.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from foxglove import Channel, Context

from taemi_edge.bundle.outputs import ClassesSpec
from taemi_edge.bundle.streams import AudioSpec, SeriesSpec, StreamSpec, TextSpec, VideoSpec, kind_name
from taemi_edge.live.events import ModelEvent, PresenceEvent
from taemi_edge.live.load import LoadEvent
from taemi_edge.live.outputs.channels import foxglove_messages as fox
from taemi_edge.live.outputs.channels import message_schemas as schemas
from taemi_edge.live.outputs.channels.described_run import EVENTS, LOAD, MODEL, NS, DescribedRun, channel_metadata
from taemi_edge.live.outputs.channels.picture_channel import PictureChannel
from taemi_edge.live.outputs.channels.picture_encoding import PictureSettings
from taemi_edge.live.outputs.numbers import numbers_of
from taemi_edge.live.outputs.output import HopResult
from taemi_edge.media.hops import Frame, Hop, SoundPiece, Values
from taemi_edge.media.transcripts import Word
from taemi_edge.runtime.prediction import Prediction
from taemi_edge.runtime.window import Source

_EPSILON_S = 1e-6
_encode = msgspec.json.Encoder().encode
#: The states of a stream as numbers, for curves.
_CODES = {"missing": 0, "recovering": 1, "stale": 2, "live": 3}


class _Message(NamedTuple):
    """A message that is ready to be logged."""

    ns: int
    channel: Any
    content: Any


class RunChannels:
    """The channels of a run.

    Args:
        run: the run as it is described.
        settings: how pictures are encoded; with `lossless`, sound keeps its floats.
        context: of foxglove-sdk, with the file and the server that take the messages.
    """

    def __init__(self, run: DescribedRun, settings: PictureSettings, context: Context) -> None:
        self._run = run
        self._sources = [
            SourceChannels(run, source, level, settings, context)
            for source, level in zip(run.sources, run.levels, strict=True)
        ]
        self._events = fox.LogChannel(EVENTS, context=context)
        self._load = Channel(LOAD, schema=schemas.event_schema("Load"), context=context)
        self._model = Channel(MODEL, schema=schemas.event_schema("Model"), context=context)
        self._last_ns = 0

    def say_hop(self, index: int, result: HopResult) -> None:
        """Log a hop of the source of this number with its prediction."""
        self._sources[index].say_hop(result)

    def say_event(self, index: int, event: PresenceEvent) -> None:
        """Log a change of presence of the source of this number, at once."""
        self._sources[index].say_event(event)
        self._say_line(event.time_s, str(event), event.source, event.after == "missing")

    def say_load(self, event: LoadEvent) -> None:
        """Log what the run leaves out from now on."""
        self._load.log(event.to_json().encode(), log_time=self._next_ns(event.time_s))
        self._say_line(event.time_s, str(event), "load", event.degraded)

    def say_model(self, event: ModelEvent) -> None:
        """Log that another model was taken up or refused."""
        self._model.log(event.to_json().encode(), log_time=self._next_ns(event.time_s))
        self._say_line(event.time_s, str(event), "model", not event.taken_up)

    def want_keys(self, topic: str | None = None) -> None:
        """Let the next pictures stand by themselves, for who begins to read here; may be called from any thread.

        Args:
            topic: of those pictures; None for all.
        """
        for source in self._sources:
            for pictures in source.pictures.values():
                if topic in (None, pictures.topic):
                    pictures.want_key()

    def _say_line(self, time_s: float, message: str, name: str, is_bad: bool) -> None:
        line = fox.log_line(self._run.ns(time_s), message, name, is_bad)
        self._events.log(line, log_time=self._next_ns(time_s))

    def _next_ns(self, time_s: float) -> int:
        self._last_ns = max(self._last_ns + 1, self._run.ns(time_s))
        return self._last_ns


class SourceChannels:
    """The channels of one source.

    Args:
        run: the run as it is described.
        source: which one.
        level: what its topics begin with.
        settings: how pictures and sound are encoded.
        context: of foxglove-sdk.
    """

    def __init__(
        self, run: DescribedRun, source: Source, level: str, settings: PictureSettings, context: Context
    ) -> None:
        self._run, self._source, self._level, self._context = run, source, level, context
        self._lossless = settings.lossless
        self._last_ns = 0
        manifest = run.manifest
        self.pictures = {
            name: PictureChannel(run, source.name, name, self.inputs_topic(name), settings, context)
            for name, spec in manifest.streams.items()
            if isinstance(spec, VideoSpec)
        }
        self._boxes = {
            name: self._typed(fox.ImageAnnotationsChannel, f"boxes/{name}", name)
            for name, pictures in self.pictures.items()
            if pictures.spec.crop != "whole"
        }
        self._inputs = {
            name: self._input(name, spec) for name, spec in manifest.streams.items() if name not in self.pictures
        }
        self._hop = self._json("hop", schemas.hop_schema(manifest))
        self._prediction = self._json("prediction", schemas.prediction_schema(manifest))
        self._outputs = {
            group: self._json(f"outputs/{group}", schemas.outputs_schema(manifest, group)) for group in manifest.outputs
        }
        self._presence = self._json("presence", schemas.presence_schema(manifest))
        self._latency = self._json("latency", schemas.latency_schema(manifest))
        #: What was last said of presence, which an event between two hops changes.
        self._said: dict[str, Any] = {"state": {}, "code": {}, "age_ms": {}, "reason": {}}
        #: Words that are known beforehand and were not said yet, the next one last.
        self._waiting = {
            name: sorted(source.words_of(name), key=lambda word: word.end_s, reverse=True)
            for name in run.known_words(source)
        }

    def inputs_topic(self, stream: str) -> str:
        """Where what comes of a stream is logged."""
        return f"/{self._level}/inputs/{stream}"

    def say_hop(self, result: HopResult) -> None:
        """Log the inputs of a hop in the order of time, then what they were, then the prediction."""
        hop, prediction = result.hop, result.prediction
        pieces: dict[str, list[float]] = {stream: [] for stream in self._run.manifest.streams}
        inputs = [self._input_of(stream, hop, said) for stream, said in pieces.items()]
        end_ns = self._run.ns(hop.end_s)
        for ns, channel, content in heapq.merge(*inputs, key=lambda message: message.ns):
            channel.log(content, log_time=self._next_ns(min(ns, end_ns)))  # words may end later than their hop
        how = {"faults": hop.faults, "losses": hop.losses, "frames_share": hop.frames_share}
        self._say(self._hop, hop.end_s, pieces=pieces, **how)
        for stream, channel in self._boxes.items():
            if channel.has_sinks() and (boxes := self.pictures[stream].boxes(result)) is not None:
                channel.log(boxes, log_time=self._next_ns(end_ns))
        self._prediction.log(prediction.to_json().encode(), log_time=self._next_ns(self._run.ns(prediction.time_s)))
        self._say_numbers(prediction)

    def say_event(self, event: PresenceEvent) -> None:
        """Log that the state of a stream changed between two hops."""
        self._note_state(event.stream, event.after, event.reason)
        if event.after == "missing":
            self._said["age_ms"].pop(event.stream, None)
        self._say(self._presence, event.time_s, **self._said)

    def _say_numbers(self, prediction: Prediction) -> None:
        """Log the outputs, the presence and the latency of a prediction, each on its own channel."""
        time_s = prediction.time_s
        for group, channel in self._outputs.items():
            spec, described = self._run.manifest.outputs[group], prediction.outputs.get(group)
            if described is not None:
                best = {"best": described.get("best", "")} if isinstance(spec, ClassesSpec) else {}
                self._say(channel, time_s, values=numbers_of(spec, described), **best)
        for stream, state in prediction.presence.items():
            self._note_state(stream, state, prediction.reason.get(stream))
        self._said["age_ms"] = {name: age for name, age in prediction.age_ms.items() if age is not None}
        self._say(self._presence, time_s, **self._said)
        self._say(self._latency, time_s, ms={n: ms for n, ms in prediction.latency_ms.items() if ms is not None})

    def _note_state(self, stream: str, state: str, reason: str | None) -> None:
        self._said["state"][stream], self._said["code"][stream] = state, _CODES[state]
        self._said["reason"].pop(stream, None)
        if reason is not None:
            self._said["reason"][stream] = reason

    def _input_of(self, stream: str, hop: Hop, said: list[float]) -> Iterator[_Message]:
        """The messages of what came of a stream, in the order of time, made one by one: a hop may be long.

        Args:
            said: gets the times of its pictures or of its sound, or how many rows or words there were.
        """
        pieces = hop.pieces.get(stream, [])
        if stream in self.pictures:
            yield from self._picture_messages(self.pictures[stream], pieces, said)
            return
        spec, inputs = self._run.manifest.streams[stream], self._inputs[stream]
        if isinstance(spec, TextSpec):
            pieces = [*self._spoken(stream, hop.end_s), *pieces]
        if isinstance(spec, AudioSpec):
            said += [piece.time_s for piece in pieces]
        else:
            said.append(sum(len(piece.rows) for piece in pieces) if isinstance(spec, SeriesSpec) else len(pieces))
        if inputs.has_sinks():
            yield from self._messages(inputs, spec, pieces)

    def _picture_messages(
        self, pictures: PictureChannel, frames: Sequence[Frame], said: list[float]
    ) -> Iterator[_Message]:
        for time_s, content in pictures.encoded(frames):
            said.append(time_s)
            if content is not None:
                yield _Message(self._run.ns(time_s), pictures.channel, content)

    def _messages(self, channel: Any, spec: StreamSpec, pieces: Sequence[Any]) -> Iterator[_Message]:
        ns_of = self._run.ns
        for piece in pieces:
            if isinstance(piece, SoundPiece) and isinstance(spec, AudioSpec):
                ns = ns_of(piece.time_s)
                yield _Message(ns, channel, fox.raw_audio(ns, piece.values, spec.sample_rate_hz, self._lossless))
            elif isinstance(piece, Values):
                for time_s, row in zip(piece.times_s.tolist(), piece.rows.tolist(), strict=True):
                    ns = ns_of(time_s)
                    yield _Message(ns, channel, _encode(schemas.SaidRow(_time(ns), time_s, row)))
            elif isinstance(piece, Word):
                ns = ns_of(piece.end_s)
                text = piece.text.encode("utf-8", "replace").decode()
                said = schemas.SaidWords(_time(ns), piece.end_s, piece.start_s, piece.end_s, text)
                yield _Message(ns, channel, _encode(said))

    def _spoken(self, stream: str, end_s: float) -> list[Word]:
        """The words of a transcript that end in a hop."""
        waiting, spoken = self._waiting.get(stream, []), []
        while waiting and waiting[-1].end_s <= end_s + _EPSILON_S:
            spoken.append(waiting.pop())
        return spoken

    def _say(self, channel: Any, time_s: float, **said: Any) -> None:
        """Log a message of JSON with its times."""
        if channel.has_sinks():
            ns = self._run.ns(time_s)
            channel.log(_encode({"timestamp": _time(ns), "time_s": time_s, **said}), log_time=self._next_ns(ns))

    def _next_ns(self, ns: int) -> int:
        """The log time of a message: its own, and after that of the message before it."""
        self._last_ns = max(self._last_ns + 1, ns)
        return self._last_ns

    def _input(self, stream: str, spec: StreamSpec) -> Any:
        """The channel of a stream without pictures."""
        if isinstance(spec, AudioSpec):
            return self._typed(fox.RawAudioChannel, f"inputs/{stream}", stream)
        schema = schemas.row_schema() if isinstance(spec, SeriesSpec) else schemas.words_schema()
        return self._json(f"inputs/{stream}", schema, stream)

    def _json(self, name: str, schema: schemas.JsonSchema, stream: str = "") -> Any:
        metadata = self._metadata(stream)
        return Channel(f"/{self._level}/{name}", schema=schema, metadata=metadata, context=self._context)

    def _typed(self, kind: Any, name: str, stream: str) -> Any:
        return kind(f"/{self._level}/{name}", metadata=self._metadata(stream), context=self._context)

    def _metadata(self, stream: str) -> dict[str, str]:
        kind = kind_name(self._run.manifest.streams[stream]) if stream else ""
        return channel_metadata(self._source.name, stream, kind)


def _time(ns: int) -> dict[str, int]:
    """A time as Foxglove reads it in JSON."""
    sec, nsec = divmod(ns, NS)
    return {"sec": sec, "nsec": nsec}

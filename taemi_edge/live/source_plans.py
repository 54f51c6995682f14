"""Decides what every stream of every source comes from, and finds what is wrong with what the user typed.

A source's picture feeds all video streams of the model, its sound all audio streams, its transcript all text streams
and a file of series all series that it holds, unless a stream is bound to a place of its own. All of this happens
before a model is opened.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.streams import (
    AUDIO,
    SERIES,
    TEXT,
    VIDEO,
    AudioSpec,
    SeriesSpec,
    StreamSpec,
    TextSpec,
    VideoSpec,
    kind_name,
)
from taemi_edge.bundle.values import Array
from taemi_edge.errors import OptionError, UsageError
from taemi_edge.live.capture.addresses import Address, parse_address, scheme_of
from taemi_edge.live.capture.opening import check_address
from taemi_edge.live.capture.readers import Track
from taemi_edge.live.capture.recording_reader import RecordingAddress, addresses_of, plan_play
from taemi_edge.live.capture.sensors.addresses import SENSOR_SCHEMES
from taemi_edge.live.config import LiveConfig, SourceConfig
from taemi_edge.live.lines import is_line_place
from taemi_edge.media.clocks import Span, common_clock
from taemi_edge.media.places import URL_SCHEMES, shown_place
from taemi_edge.media.recognition import SAMPLE_RATE_HZ
from taemi_edge.media.recordings.opening import is_recording, split_topic
from taemi_edge.media.recordings.topic_map import require_streams
from taemi_edge.media.rehearsed_losses import parse_drop
from taemi_edge.media.series import Series, is_series_file, read_streams
from taemi_edge.media.tokenizer_files import tokenizers_library
from taemi_edge.media.tokens import reads_words
from taemi_edge.media.transcripts import Word, read_transcript
from taemi_edge.runtime.window import Source

log = logging.getLogger("taemi_edge.live")

#: How long sound that arrives late is waited for.
_LATE_SOUND_S = 1.0


@dataclass(frozen=True)
class SourcePlan:
    """What the streams of a source come from.

    Attributes:
        name: the name of the source in predictions.
        media: what to connect to, each with the streams that its picture, its sound, its rows or its words feed.
        words: the words of text streams of which all is known beforehand.
        series: times in seconds of the session, and rows, of series that are played from a file.
        lines: where lines come from while the run goes on, by stream.
        heard: text streams whose words are recognised in the sound of the stream `listens_to`.
        absent: why a stream will never come.
    """

    name: str
    media: tuple[tuple[Address, Mapping[str, Track]], ...] = ()
    words: Mapping[str, tuple[Word, ...]] = field(default_factory=dict)
    series: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)
    lines: Mapping[str, str] = field(default_factory=dict)
    heard: tuple[str, ...] = ()
    listens_to: str | None = None
    absent: Mapping[str, str] = field(default_factory=dict)


def plan_sources(config: LiveConfig, streams: Mapping[str, StreamSpec]) -> list[SourcePlan]:
    """Check the places of all sources, and read the transcripts and series that are files. Nothing is connected yet.

    Args:
        config: of the run.
        streams: of the model.

    Raises:
        UsageError: an address has an unknown scheme, a stream is unknown, or a place feeds no stream.
        MediaError: a file is not there.
        TranscriptError, InputError: a transcript or a series cannot be read.
    """
    plans = [_plan(source, streams, config.loop) for source in config.source]
    _require_own_ports(plans)
    return plans


def describe_source(plan: SourcePlan, config: LiveConfig) -> Source:
    """What the runtime must know of a source: its name, its words, and which streams it will never have."""
    plays = dict.fromkeys(address.play for address, _ in plan.media if isinstance(address, RecordingAddress))
    files = [address.shown for address, _ in plan.media if address.kind == "file"]
    for shown in (*files, *(shown_place(play.path) for play in plays if play is not None)):
        again = "again and again" if config.loop else "once: --loop plays it again and again"
        log.warning("%s: %s is a file: it is played at its own pace, %s", plan.name, shown, again)
    for problem in (problem for play in plays if play is not None for problem in play.problems):
        log.warning("%s", problem)
    return Source(plan.name, plan.words, tuple(map(parse_drop, config.drop)), plan.absent, _LATE_SOUND_S)


def require_tokenizers(plans: Sequence[SourcePlan], bundle: Bundle) -> None:
    """Make sure that the words that will come can be tokenized: a run of hours must not end with the first of them.

    Raises:
        MissingExtraError: the package `tokenizers` is not installed, and the tokenizer needs it.
    """
    for name, spec in bundle.manifest.streams.items():
        is_fed = any(name not in (*plan.absent, *plan.heard) for plan in plans)
        if isinstance(spec, TextSpec) and is_fed and not reads_words(bundle.read_tokenizer(name)):
            tokenizers_library()


def _plan(source: SourceConfig, streams: Mapping[str, StreamSpec], repeats: bool) -> SourcePlan:
    places = _places(source, streams)
    recorded, unrecorded = _plays(source, places, streams, repeats)
    places = {name: place for name, place in places.items() if not is_recording(place)}
    media: dict[str, dict[str, Track]] = {}
    sensors: list[tuple[Address, Mapping[str, Track]]] = []
    words, series, lines, absent = {}, {}, {}, {}
    heard = tuple(n for n, s in streams.items() if isinstance(s, TextSpec) and n not in places) if source.asr else ()
    for name, spec in streams.items():
        place = places.get(name)
        if name in recorded:
            sensors.append((recorded[name], {name: track_of(spec)}))
        elif name in unrecorded:
            absent[name] = unrecorded[name]
        elif place is None:
            text = isinstance(spec, TextSpec)
            if name not in heard:
                absent[name] = "no transcript was given" if text else f"no source of {name} was given"
        elif is_sensor_place(place, spec):
            sensors.append((_sensor(name, place, spec), {name: track_of(spec)}))
        elif isinstance(spec, VideoSpec | AudioSpec):
            media.setdefault(place, {})[name] = VIDEO if isinstance(spec, VideoSpec) else AUDIO
        elif is_line_place(place):
            lines[name] = place
        elif isinstance(spec, TextSpec):
            words[name] = tuple(read_transcript(_file(source, name, place, spec), None))
        else:
            series[name] = read_streams(_file(source, name, place, spec), {name: spec.channels}, alone=True)[name]
    addresses = (*((_address(place, tracks), tracks) for place, tracks in media.items()), *sensors)
    listens_to = _recognised_stream(source, streams, places) if heard else None
    beside = [address.shown for address, _ in addresses if not address.is_live]
    played = _on_one_clock(series, beside or list(words)) if series else {}
    return SourcePlan(source.name, addresses, words, played, lines, heard, listens_to, absent)


def _plays(
    source: SourceConfig, places: Mapping[str, str], streams: Mapping[str, StreamSpec], repeats: bool
) -> tuple[dict[str, RecordingAddress], dict[str, str]]:
    """The address of each stream that a recording feeds, and why others that it was to feed have none."""
    require_streams(source.topics, streams)
    by_file: dict[Path, dict[str, str]] = {}
    for name, place in places.items():
        if is_recording(place):
            file, topic = split_topic(place)
            by_file.setdefault(file, {})[name] = topic or source.topics.get(name, "")
    if unused := [name for name in source.topics if not any(name in named for named in by_file.values())]:
        raise OptionError(
            "topics", "--map", f"{unused[0]}={source.topics[unused[0]]}: expected a recording that feeds {unused[0]}"
        )
    addresses: dict[str, RecordingAddress] = {}
    absent: dict[str, str] = {}
    for file, named in by_file.items():
        topics = {name: topic for name, topic in named.items() if topic}
        play, without = plan_play(file, {name: streams[name] for name in named}, topics, source.clock, repeats)
        addresses |= addresses_of(play)
        absent |= without
    return addresses, absent


def _require_own_ports(plans: Sequence[SourcePlan]) -> None:
    """Refuse a port that two streams would listen on: what comes there can be handed to one alone."""
    ports = [a for plan in plans for a, _ in plan.media if a.kind in ("datagram", "serial")]
    targets = [address.target for address in ports]
    for address in ports:
        if targets.count(address.target) > 1:
            raise UsageError(
                f"{address.shown}: expected a port of its own for each stream, got two streams: let the sensor send "
                f"to another port, too"
            )


def _on_one_clock(series: Mapping[str, Series], beside: Sequence[str]) -> dict[str, tuple[Array, Array]]:
    """The times and rows of series as they are played together, from the beginning of the run.

    Args:
        beside: recordings and transcripts that are played from their own beginning; without any, the first row of all
            series is played at once.

    Raises:
        InputError: the files have no moment in common.
    """
    spans = [one.span(name) for name, one in series.items()]
    shifts_s, notes = common_clock([*spans, *(Span(name, "beginning", 0.0, np.inf, anchors=True) for name in beside)])
    for note in notes:
        log.warning("%s", note)
    placed = {name: one.shifted(by_s) for (name, one), by_s in zip(series.items(), shifts_s, strict=False)}
    first_s = 0.0 if beside else min(float(one.times_s[0]) for one in placed.values())
    return {name: (one.times_s - first_s, one.rows) for name, one in placed.items()}


def _places(source: SourceConfig, streams: Mapping[str, StreamSpec]) -> dict[str, str]:
    """Where each stream comes from; a stream that comes from nowhere is left out."""
    if unknown := [name for name in source.streams if name not in streams]:
        named = ", ".join(f"{name} ({kind_name(spec)})" for name, spec in streams.items())
        got = shown_place(unknown[0])
        raise OptionError("streams", "--stream", f"{got}=...: expected one of {named}, got {got!r}")
    places = dict(source.streams)
    shared = (
        (source.uri, _kinds_of(source.uri)),
        (source.video, (VideoSpec,)),
        (source.audio, (AudioSpec,)),
        (source.transcript, (TextSpec,)),
    )
    for place, kinds in shared:
        if place and place == source.uri and (name := _fed_by_sensor(source, streams)):
            places[name] = place
            continue
        fed = [name for name, spec in streams.items() if isinstance(spec, kinds) and name not in source.streams]
        if place and kinds == (SeriesSpec,):
            fed = _series_in(Path(place), fed, streams)
        if place and not fed:
            raise UsageError(_feeds_nothing(source, place, kinds, streams))
        places.update(dict.fromkeys(fed, place) if place else {})
    if source.asr and not any(isinstance(spec, TextSpec) and n not in places for n, spec in streams.items()):
        raise UsageError(f"source {source.name}: --asr feeds text streams, and none is left for it")
    return {name: places[name] for name in streams if name in places}


def _kinds_of(uri: str) -> tuple[type[Any], ...]:
    """The kinds of streams that the address of a source feeds."""
    if uri and is_recording(uri):
        return (VideoSpec, AudioSpec, TextSpec, SeriesSpec)
    return (SeriesSpec,) if uri and is_series_file(uri) else (VideoSpec, AudioSpec)


def _series_in(file: Path, names: Sequence[str], streams: Mapping[str, StreamSpec]) -> list[str]:
    """Which of some series a file holds."""
    widths = {n: spec.channels for n in names if isinstance(spec := streams[n], SeriesSpec)}
    return list(read_streams(file, widths)) if widths else []


def _feeds_nothing(
    source: SourceConfig, place: str, kinds: tuple[type[Any], ...], streams: Mapping[str, StreamSpec]
) -> str:
    wanted = " or ".join(map(kind_name, kinds))
    shown = place if TextSpec in kinds or is_line_place(place) else parse_address(place).shown
    has = ", ".join(f"{name} ({kind_name(spec)})" for name, spec in streams.items())
    return (
        f"source {source.name}: expected {shown} to feed a stream of the kind {wanted}, and none is left for it among "
        f"{has}: bind a stream with --stream NAME=PLACE"
    )


def _fed_by_sensor(source: SourceConfig, streams: Mapping[str, StreamSpec]) -> str | None:
    """The one stream that a sensor's address feeds which is the source itself; None where it is no such address.

    Raises:
        UsageError: it may feed several streams, or none.
    """
    fits = {n: spec for n, spec in streams.items() if n not in source.streams and is_sensor_place(source.uri, spec)}
    scheme = scheme_of(source.uri)
    if scheme != "ros":
        kind = SeriesSpec if any(isinstance(spec, SeriesSpec) for spec in fits.values()) else TextSpec
        fits = {n: spec for n, spec in fits.items() if isinstance(spec, kind)} or fits
    if not fits or (scheme == "udp" and any(isinstance(spec, VideoSpec | AudioSpec) for spec in streams.values())):
        return None
    if len(fits) > 1:
        shown, first = shown_place(source.uri), next(iter(fits))
        raise UsageError(
            f"source {source.name}: expected {shown} to feed one stream, got {', '.join(fits)}: write --stream "
            f"{first}={shown}"
        )
    return next(iter(fits))


def is_sensor_place(place: str, spec: StreamSpec) -> bool:
    """Whether a place is the address of a sensor for a stream: udp:// is a transport stream for picture and sound.

    Raises:
        UsageError: it names an environment variable that there is not.
    """
    rows = isinstance(spec, SeriesSpec | TextSpec)
    return scheme_of(place) in (SENSOR_SCHEMES if rows else [s for s in SENSOR_SCHEMES if s != "udp"])


def track_of(spec: StreamSpec) -> Track:
    """What of a connection feeds a stream."""
    kinds: tuple[tuple[type[Any], Track], ...] = ((VideoSpec, VIDEO), (AudioSpec, AUDIO), (SeriesSpec, SERIES))
    return next((track for kind, track in kinds if isinstance(spec, kind)), TEXT)


def _sensor(name: str, place: str, spec: StreamSpec) -> Address:
    """The address of a sensor that feeds a stream, checked."""
    try:
        address = parse_address(place, rows=isinstance(spec, SeriesSpec | TextSpec))
        check_address(address, spec)
    except UsageError as error:
        raise OptionError("streams", "--stream", f"{name}={error}") from error
    return address


def _file(source: SourceConfig, name: str, place: str, spec: StreamSpec) -> Path:
    """The file of a series or a transcript; an address that gives neither is refused by its name."""
    if name in source.streams and scheme_of(place) in (*URL_SCHEMES, "v4l2", "alsa", "pulse", "gst"):
        sensors = ", ".join(f"{scheme}:" for scheme in SENSOR_SCHEMES)
        raise OptionError(
            "streams",
            "--stream",
            f"{name}={shown_place(place)}: expected a file, a socket or one of {sensors}, since {name} is "
            f"{kind_name(spec)}",
        )
    return Path(place)


def _address(place: str, tracks: Mapping[str, Track]) -> Address:
    if is_line_place(place):
        name = next(iter(tracks))
        raise OptionError(
            "streams", "--stream", f"{name}={place}: expected a file or an address, since {name} is {tracks[name]}"
        )
    return parse_address(place)


def _recognised_stream(source: SourceConfig, streams: Mapping[str, StreamSpec], places: Mapping[str, str]) -> str:
    """The stream whose sound is recognised: the first that has the recogniser's rate."""
    rates = {name: s.sample_rate_hz for name, s in streams.items() if isinstance(s, AudioSpec) and name in places}
    for name, rate_hz in rates.items():
        if rate_hz == SAMPLE_RATE_HZ:
            return name
    given = ", ".join(f"{name} at {rate_hz} Hz" for name, rate_hz in rates.items()) or "none"
    raise UsageError(f"source {source.name}: --asr expects an audio stream at {SAMPLE_RATE_HZ} Hz, got {given}")

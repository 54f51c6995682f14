"""The inputs that a bundle has as a model of Triton, and what those of a request mean to the runtime.

Each stream gives inputs under its own name, as its kind wants them. An input that a request leaves out says that the
stream is lost; an empty one, that it is connected and that nothing came since the last request.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np

from taemi_edge.bundle.limits import MIB, MOST_PRESENCE_S, MOST_SIDE
from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.streams import AudioSpec, SeriesSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.bundle.values import Array
from taemi_edge.errors import UsageError
from taemi_edge.media.arrays import LATEST_S, Samples
from taemi_edge.media.hops import Frame, SoundPiece
from taemi_edge.media.transcripts import Word, spread_words
from taemi_edge.runtime.hop_builder import StreamInput
from taemi_edge.scale.triton.tensors import TensorSpec, tensors_by_name

#: The input that says where the hop of a request ends, in seconds on the clock of its source.
END = "end_s"
#: Why a stream is missing that a request leaves out.
LEFT_OUT = "not in the request"

#: The data type of times, and of nothing else.
_TIMES = "FP64"
_EPSILON_S = 1e-6
#: Sound may end so much after its request, since its clock is its own.
_SOUND_JITTER_S = 0.05
#: Of the text of a hop: a book has a megabyte.
_MOST_TEXT_BYTES = 1 * MIB


@dataclass(frozen=True, eq=False)
class RequestData:
    """What a request holds.

    Attributes:
        end_s: where its hop ends.
        given: the data of each stream that something came of.
        spans: the first and the last time of those data whose order matters, by stream.
        losses: why a stream is lost, by stream.
    """

    end_s: float
    given: dict[str, StreamInput] = field(default_factory=dict)
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    losses: dict[str, str] = field(default_factory=dict)


class Given(NamedTuple):
    """What a request brings of one stream.

    Attributes:
        data: what `HopBuilder.add` takes.
        span: the first and the last time of data whose order matters; None of words.
    """

    data: Any
    span: tuple[float, float] | None


def input_specs(manifest: Manifest) -> dict[str, TensorSpec]:
    """The inputs by name, `end_s` first. It alone must be in every request.

    Raises:
        UsageError: two inputs would have the same name.

    Example:
        >>> from taemi_edge.bundle.folder import open_bundle
        >>> specs = input_specs(open_bundle("export/taemi-tiny").manifest)
        >>> specs["audio"], specs["audio_time_s"].shown
        (TensorSpec(name='audio', dtype='FP32', dims=(-1,)), 'FP64 (1, 1)')
    """
    specs = [TensorSpec(END, _TIMES, (1,))]
    for name, spec in manifest.streams.items():
        specs += _KINDS[type(spec)][0](name, spec)
    return tensors_by_name(specs, "input")


class RequestReader:
    """Reads the tensors of requests to one model.

    Args:
        manifest: of the bundle.

    Raises:
        UsageError: see `input_specs`.

    Example:
        >>> from taemi_edge.bundle.folder import open_bundle
        >>> reader = RequestReader(open_bundle("export/taemi-tiny").manifest)
        >>> line = b'{"start": 0.1, "end": 0.4, "text": "so it is"}'
        >>> request = reader.read({"end_s": np.array([[0.5]]), "text": np.frombuffer(line, np.uint8)[None]})
        >>> request.end_s, len(request.given["text"]), request.losses
        (0.5, 3, {'vision': 'not in the request', 'audio': 'not in the request'})
    """

    def __init__(self, manifest: Manifest) -> None:
        self._streams, self._specs = manifest.streams, input_specs(manifest)
        #: Of each stream, the inputs that hold data, and those that hold times.
        self._own = {name: _split(_KINDS[type(spec)][0](name, spec)) for name, spec in self._streams.items()}

    def read(self, tensors: Mapping[str, Array]) -> RequestData:
        """Read the tensors of a request, which come by name and with their batch axis.

        Raises:
            UsageError: one is unknown, or has another type, shape or range; or `end_s` is not there.
        """
        if unknown := sorted(set(tensors) - set(self._specs)):
            raise UsageError(f"expected inputs among {', '.join(self._specs)}, got {unknown[0]!r:.80}")
        if END not in tensors:
            raise UsageError(f"expected the input {END}, which says where the hop ends, found none: add it")
        arrays = {name: self._specs[name].without_batch(array) for name, array in tensors.items()}
        end_s = float(arrays.pop(END)[0])
        if not abs(end_s) <= LATEST_S:  # NaN fails as well
            raise UsageError(f"{END}: expected a time in seconds, got {end_s:.15g}: give seconds, not milliseconds")
        request = RequestData(end_s)
        for name, spec in self._streams.items():
            if not self._is_there(name, arrays):
                request.losses[name] = LEFT_OUT
            elif given := read_stream(name, spec, arrays, end_s):
                request.given[name], span = given
                if span is not None:
                    request.spans[name] = span
        return request

    def _is_there(self, name: str, arrays: Mapping[str, Array]) -> bool:
        """Whether a request has the data of a stream.

        Raises:
            UsageError: it has the times alone, or its data twice.
        """
        data, times = self._own[name]
        there = [tensor for tensor in data if tensor in arrays]
        if not there and (lonely := [tensor for tensor in times if tensor in arrays]):
            raise UsageError(f"expected {' or '.join(data)} beside {lonely[0]}, found none: leave both out, or add it")
        if len(there) > 1:
            raise UsageError(f"expected one of {' and '.join(there)}, got both: leave one out")
        return bool(there)


def _split(own: Sequence[TensorSpec]) -> tuple[list[str], list[str]]:
    """The names of a stream's inputs that hold data, and of those that hold times."""
    return [spec.name for spec in own if spec.dtype != _TIMES], [spec.name for spec in own if spec.dtype == _TIMES]


def read_stream(name: str, spec: StreamSpec, arrays: Mapping[str, Array], end_s: float) -> Given | None:
    """What a request brings of one stream; None where it is connected and nothing came.

    Args:
        arrays: inputs by name, without their batch axis, of the types and shapes that `input_specs` says; the data of
            the stream are among them.
        end_s: where the hop ends.

    Raises:
        UsageError: times or values that cannot be.
    """
    return _KINDS[type(spec)][1](_Reading(name, spec, arrays, end_s))


@dataclass(frozen=True, eq=False)
class _Reading:
    """The tensors of one stream of one request."""

    name: str
    spec: Any
    arrays: Mapping[str, Array]
    end_s: float

    def times(self, suffix: str, count: int, latest_s: float) -> Array:
        """The times of some data, in order and none after `latest_s`."""
        name = self.name + suffix
        if name not in self.arrays:
            raise UsageError(f"expected the input {name} beside {self.name}, found none: say when its data were taken")
        times_s = np.array(self.arrays[name])
        if times_s.shape != (count,):
            raise UsageError(f"{name}: expected a time for each of {count}, got {len(times_s)}")
        if not np.isfinite(times_s).all() or (np.diff(times_s) < 0).any():
            raise UsageError(f"{name}: expected times in seconds and in order, got some that are not")
        self.require_recent(name, float(times_s[0]), float(times_s[-1]), latest_s)
        return times_s

    def require_recent(self, name: str, first_s: float, last_s: float, latest_s: float) -> None:
        if last_s > latest_s + _EPSILON_S:
            raise UsageError(
                f"{name}: expected what came up to {END}, {self.end_s:.15g} s, got {last_s:.15g} s: send later data "
                f"with a later request"
            )
        if first_s < self.end_s - MOST_PRESENCE_S:
            raise UsageError(
                f"{name}: expected what came before {END}, {self.end_s:.15g} s, by at most a day, got {first_s:.15g} s"
            )


# -------------------------------------------------------------------------------------------------------------- video


def _video_specs(name: str, spec: VideoSpec) -> list[TensorSpec]:
    pictures = [TensorSpec(name, "UINT8", (-1, -1, -1, 3))]
    if _looks_for_faces(spec):
        pictures.append(TensorSpec(_crops(name), "UINT8", (-1, *spec.size_hw, 3)))
    return [*pictures, TensorSpec(f"{name}_times_s", _TIMES, (-1,))]


def _looks_for_faces(spec: VideoSpec) -> bool:
    return spec.crop == "face"


def _crops(name: str) -> str:
    return f"{name}_crops"


def _read_video(reading: _Reading) -> Given | None:
    pictures = reading.arrays.get(reading.name)
    is_crop = pictures is None
    if pictures is None:
        pictures = reading.arrays[_crops(reading.name)]
    if not len(pictures):
        return None
    height, width = pictures.shape[1:3]
    if not 1 <= min(height, width) <= max(height, width) <= MOST_SIDE:
        raise UsageError(f"{reading.name}: expected pictures of 1 to {MOST_SIDE} pixels a side, got {height} x {width}")
    times_s = reading.times("_times_s", len(pictures), reading.end_s)
    frames = [Frame(float(time_s), picture, is_crop) for time_s, picture in zip(times_s, pictures, strict=True)]
    return Given(frames, _span(times_s))


def _span(times_s: Array) -> tuple[float, float]:
    return float(times_s[0]), float(times_s[-1])


# -------------------------------------------------------------------------------------------------------------- audio


def _audio_specs(name: str, spec: AudioSpec) -> list[TensorSpec]:
    return [TensorSpec(name, "FP32", (-1,)), TensorSpec(f"{name}_time_s", _TIMES, (1,))]


def _read_audio(reading: _Reading) -> Given | None:
    samples, rate_hz = reading.arrays[reading.name], reading.spec.sample_rate_hz
    if not len(samples):
        return None
    _require_finite(reading.name, samples)
    length_s = len(samples) / rate_hz
    time_s = float(reading.times("_time_s", 1, reading.end_s)[0])
    end_s = time_s + length_s
    reading.require_recent(reading.name, time_s, end_s, reading.end_s + _SOUND_JITTER_S)
    return Given(SoundPiece(time_s, np.array(samples)), (time_s + _SOUND_JITTER_S, end_s))


# ------------------------------------------------------------------------------------------------------------- series


def _series_specs(name: str, spec: SeriesSpec) -> list[TensorSpec]:
    return [TensorSpec(name, "FP32", (-1, spec.channels)), TensorSpec(f"{name}_times_s", _TIMES, (-1,))]


def _read_series(reading: _Reading) -> Given | None:
    rows = reading.arrays[reading.name]
    if not len(rows):
        return None
    _require_finite(reading.name, rows)
    times_s = reading.times("_times_s", len(rows), reading.end_s)
    return Given(Samples(rows, times_s=times_s), _span(times_s))


def _require_finite(name: str, values: Array) -> None:
    if not np.isfinite(values).all():
        raise UsageError(f"{name}: expected finite numbers, got NaN or infinity: leave the stream out, or send others")


# --------------------------------------------------------------------------------------------------------------- text


def _text_specs(name: str, spec: TextSpec) -> list[TensorSpec]:
    return [TensorSpec(name, "UINT8", (-1,))]


class _SpokenLine(msgspec.Struct):
    """One line of a text input; other keys are ignored."""

    start: float
    end: float
    text: str


def _read_text(reading: _Reading) -> Given | None:
    """Words of JSON lines; a line of several words is spread over its time, as a transcript's is."""
    words: list[Word] = []
    text = reading.arrays[reading.name]
    if len(text) > _MOST_TEXT_BYTES:
        raise UsageError(f"{reading.name}: expected up to {_MOST_TEXT_BYTES:,} bytes, got {len(text):,}")
    for number, line in enumerate(text.tobytes().split(b"\n"), 1):
        if line.strip():
            words += _words_of(line, f"{reading.name}, line {number}", reading)
    return Given(words, None) if words else None


def _words_of(line: bytes, where: str, reading: _Reading) -> list[Word]:
    try:
        spoken = msgspec.json.decode(line, type=_SpokenLine)
    except (ValueError, RecursionError) as error:
        wanted = '{"start": s, "end": s, "text": "..."} in UTF-8'
        raise UsageError(f"{where}: expected {wanted}, got {line[:40]!r}: {error}") from error
    if not (math.isfinite(spoken.start) and math.isfinite(spoken.end) and spoken.start <= spoken.end):
        raise UsageError(f"{where}: expected start <= end in seconds, got {spoken.start:g} and {spoken.end:g}")
    reading.require_recent(where, spoken.start, spoken.end, reading.end_s)
    return spread_words(spoken.start, spoken.end, spoken.text.split())


#: How the inputs of each kind of stream are called, and how they are read.
_KINDS: Mapping[type, tuple[Callable[[str, Any], list[TensorSpec]], Callable[[_Reading], Given | None]]] = {
    VideoSpec: (_video_specs, _read_video),
    AudioSpec: (_audio_specs, _read_audio),
    SeriesSpec: (_series_specs, _read_series),
    TextSpec: (_text_specs, _read_text),
}

"""From the bytes of a message to what the stream of a model takes of it.

A reader is made for one stream and one type of messages. It decides at once which fields of them it reads, so that a
topic which can never feed the stream is refused before anything runs. What is wrong with a single message costs that
message.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from taemi_edge.bundle.streams import AudioSpec, SeriesSpec, StreamSpec, TextSpec
from taemi_edge.errors import MessageError
from taemi_edge.media.messages.decoders import (
    MOST_MESSAGE_BYTES,
    MessageDecoder,
    json_of,
    json_shape,
    open_decoder,
    shape_of,
)
from taemi_edge.media.messages.definitions import ros_name
from taemi_edge.media.messages.numbers import choose_rows, row_reader
from taemi_edge.media.messages.picture_messages import PictureMessages, Wanted, choose_pictures
from taemi_edge.media.messages.readings import MessageType, Reading
from taemi_edge.media.messages.shapes import Shape
from taemi_edge.media.messages.sound import SoundFormat, parse_sound_format
from taemi_edge.media.messages.sound_messages import SoundMessages, choose_sound
from taemi_edge.media.messages.stamps import stamp_ns, stamp_paths
from taemi_edge.media.messages.topic_field import Path, field_paths, shown_path
from taemi_edge.media.messages.words import choose_words, reading_of_words

#: Makes readings of the values of some paths, and of the stamp of their message.
_Make: TypeAlias = Callable[[list[Any], int | None], list[Reading]]


class StreamReader:
    """Reads what a stream takes out of the messages of a topic.

    Args:
        spec: of the stream.
        message_type: of the messages.
        field: what to read of them, in the words of `taemi_edge.media.messages.topic_field`; empty for what the type is
            made for.
        sound: how sound lies in messages that do not say so; None for 16 kHz, mono, S16LE, or MP3 where it begins so.

    Attributes:
        what: the fields that are read, in words; empty until the first message where only it can tell.
        is_sure: whether every message of this type fits, for all that its definition says.
        notes: what was left out and why, a sentence each.

    Raises:
        MessageError: messages of this type can never feed the stream; the message says what to name instead.
        MissingExtraError: the library for the encoding is not installed.
        UsageError: the field is none.

    Example:
        >>> from taemi_edge.bundle.streams import PresenceSpec
        >>> presence = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
        >>> imu = SeriesSpec(feature_dim=4, presence=presence, channels=3)
        >>> reader = StreamReader(imu, MessageType("wrist", "json"), "acc")
        >>> reader.read(b'{"acc": [0.5, 1, 9.75], "stamp": {"sec": 12, "nanosec": 0}}')[0].values
        (0.5, 1.0, 9.75)
    """

    def __init__(
        self, spec: StreamSpec, message_type: MessageType, field: str = "", sound: SoundFormat | None = None
    ) -> None:
        field, _, form = field.partition("?")
        if form and not isinstance(spec, AudioSpec):
            raise MessageError(f"?{form:.80}: expected the form of sound for a stream of sound alone")
        self._spec, self._type, self._field = spec, message_type, field
        self._sound = parse_sound_format(form) if form else sound
        self._pictures: PictureMessages | None = None
        self._decoder: MessageDecoder | None = None
        self._stamps = 0
        self._make: _Make
        self.what = ""
        self.is_sure = False
        self.notes: list[str] = []
        field_paths(field)
        shape = shape_of(message_type)
        if shape is not None:
            self._decoder = self._choose(shape)

    def read(self, data: bytes | memoryview, wanted: Wanted | None = None) -> list[Reading]:
        """What a message holds for the stream: mostly one reading.

        Args:
            data: the bytes of the message.
            wanted: is asked with the stamp of each picture before its pixels are made; those that are not wanted are
                left out.

        Raises:
            MessageError: the message cannot be used; the next one may well be.
        """
        if len(data) > MOST_MESSAGE_BYTES:
            raise MessageError(f"expected a message of up to {MOST_MESSAGE_BYTES:,} bytes, got {len(data):,}")
        if self._pictures is not None:
            self._pictures.wanted = wanted
        if self._decoder is None:
            return self._read_first(data, wanted)
        return self._readings(self._decoder, data)

    def finish(self) -> list[Reading]:
        """What a decoder of video still holds, after the last message."""
        return self._pictures.finish() if self._pictures is not None else []

    def _read_first(self, data: bytes | memoryview, wanted: Wanted | None) -> list[Reading]:
        """Decide by the first message that can be used what is read of all of them."""
        decoder = self._choose(json_shape(json_of(data), self._type.name))
        if self._pictures is not None:
            self._pictures.wanted = wanted
        what, self.what = self.what, ""
        readings = self._readings(decoder, data)
        self._decoder, self.what = decoder, what
        return readings

    def _readings(self, decoder: MessageDecoder, data: bytes | memoryview) -> list[Reading]:
        values = decoder.values(data)
        count = self._stamps
        return self._make(values[count:], stamp_ns(values[:count]))

    def _choose(self, shape: Shape) -> MessageDecoder:
        """Decide what is read of messages of a shape."""
        paths, self._make, self.what = self._chosen(shape)
        stamps = stamp_paths(shape, paths[0])
        self._stamps = len(stamps)
        return open_decoder(self._type, [*stamps, *paths], optional=stamps)

    def _chosen(self, shape: Shape) -> tuple[tuple[Path, ...], _Make, str]:
        spec, name = self._spec, ros_name(self._type.name)
        if isinstance(spec, SeriesSpec):
            rows = choose_rows(shape, name, spec.channels, self._field)
            make_row = row_reader(rows, spec.channels, name)
            self.is_sure = rows.width is not None
            return rows.paths, lambda values, stamp: [make_row(values, stamp)], rows.what
        path, self.is_sure = self._one_path(), True
        if isinstance(spec, TextSpec):
            paths = choose_words(shape, name, path, self._type.encoding == "json")
            return paths, _words, shown_path(paths[0])
        if isinstance(spec, AudioSpec):
            heard = choose_sound(shape, name, path)
            sound = SoundMessages(heard, self._sound)
            return heard.paths, sound.readings, heard.what
        seen = choose_pictures(shape, name, path)
        self._pictures = PictureMessages(seen, self.notes)
        return seen.paths, self._pictures.readings, seen.what

    def _one_path(self) -> Path | None:
        paths = field_paths(self._field)
        if len(paths) > 1:
            raise MessageError(f"{self._field}: expected one field for a stream that is no series, got {len(paths)}")
        return paths[0] if paths else None


@dataclass(frozen=True)
class Fit:
    """What a stream would read of a topic.

    Attributes:
        what: the fields, in words.
        is_sure: whether every message fits; a list may turn out to be of another length, and JSON tells nothing of
            itself before it comes.
    """

    what: str
    is_sure: bool


def fit_of(spec: StreamSpec, message_type: MessageType, field: str = "") -> Fit:
    """Say what a stream would read of messages of a type; for guessing which topic feeds it.

    Raises:
        MessageError, MissingExtraError, UsageError: see `StreamReader`.
    """
    reader = StreamReader(spec, message_type, field)
    return Fit(reader.what, reader.is_sure)


def _words(values: list[Any], stamp: int | None) -> list[Reading]:
    return list(reading_of_words(values, stamp))

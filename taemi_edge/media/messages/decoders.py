"""Fields of messages in every encoding: one way to ask for them, whoever wrote the message."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, Protocol

import msgspec

from taemi_edge.errors import MessageError, first_line
from taemi_edge.media.messages.cdr import FieldReader
from taemi_edge.media.messages.definitions import ros_shape
from taemi_edge.media.messages.readings import MessageType
from taemi_edge.media.messages.shapes import MOST_LEVELS, Many, Number, Shape, Structure, Text, Unreadable
from taemi_edge.media.messages.topic_field import Path, shown_path

#: A message in bytes: the largest picture that is read (`MOST_PIXELS`) has 108 MB of RGB; JSON holds pictures as text.
MOST_MESSAGE_BYTES = 160 * 1024 * 1024
_ENCODINGS = ("cdr", "ros1", "json", "protobuf")


class MessageDecoder(Protocol):
    """Reads fields of the messages of one type."""

    def values(self, data: bytes | memoryview) -> list[Any]:
        """The fields of a message, in the order in which they were asked for.

        Raises:
            MessageError: the message is not of the type, or lacks a field.
        """


def shape_of(message_type: MessageType) -> Shape | None:
    """What messages of a type are made of; None where only a message can tell: JSON without a schema.

    Raises:
        MessageError: nothing here reads the encoding, or the definition cannot be read.
        MissingExtraError: the library for it is not installed.
    """
    if message_type.encoding in ("cdr", "ros1"):
        return ros_shape(message_type)
    if message_type.encoding == "protobuf":
        from taemi_edge.media.messages.protobuf import protobuf_shape

        return protobuf_shape(message_type)
    if message_type.encoding == "json":
        return None
    raise MessageError(
        f"{message_type.name}: expected messages in {', '.join(_ENCODINGS[:-1])} or {_ENCODINGS[-1]}, got "
        f"{message_type.encoding or 'no encoding'!r}"
    )


def open_decoder(message_type: MessageType, paths: Sequence[Path], optional: Collection[Path] = ()) -> MessageDecoder:
    """Open a decoder for some fields.

    Args:
        message_type: of the messages.
        paths: of the fields, as `shape_of` has them.
        optional: those that a message of JSON may lack, where it gives None.

    Raises:
        MessageError: see `shape_of`, and a field cannot be read.
    """
    different = list(dict.fromkeys(paths))
    if len(different) < len(paths):
        return _Repeated(open_decoder(message_type, different, optional), [different.index(path) for path in paths])
    if message_type.encoding in ("cdr", "ros1"):
        return FieldReader(ros_shape(message_type), paths, message_type.encoding == "ros1")
    if message_type.encoding == "protobuf":
        from taemi_edge.media.messages.protobuf import ProtobufReader

        return ProtobufReader(message_type, paths)
    return JsonReader(paths, optional)


class _Repeated:
    """Gives some fields more than once."""

    def __init__(self, decoder: MessageDecoder, places: Sequence[int]) -> None:
        self._decoder, self._places = decoder, places

    def values(self, data: bytes | memoryview) -> list[Any]:
        values = self._decoder.values(data)
        return [values[place] for place in self._places]


class JsonReader:
    """Reads fields of JSON.

    Args:
        paths: of the fields; an empty one is the whole message.
        optional: those of them that a message may lack; its value is None then.

    Example:
        >>> JsonReader([("acc", 0), ("name",)]).values(b'{"name": "wrist", "acc": [1.5, 2]}')
        [1.5, 'wrist']
    """

    def __init__(self, paths: Sequence[Path], optional: Collection[Path] = ()) -> None:
        self._paths = [(path, path in optional) for path in paths]

    def values(self, data: bytes | memoryview) -> list[Any]:
        message = json_of(data)
        return [self._value(message, path, is_optional) for path, is_optional in self._paths]

    def _value(self, value: Any, path: Path, is_optional: bool) -> Any:
        for step in path:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                if is_optional:
                    return None
                raise MessageError(f"expected a message with {shown_path(path)}, got one without") from None
        return value


def json_of(data: bytes | memoryview) -> Any:
    """Decode JSON.

    Raises:
        MessageError: it is none.
    """
    try:
        return msgspec.json.decode(data)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"expected a message in JSON: {first_line(error):.200}") from error


def json_shape(value: Any, name: str = "the message", level: int = 0) -> Shape:
    """What a message of JSON is made of.

    >>> json_shape([1, 2.5]).item, json_shape({"text": "so"}).fields
    (Number(letter='d'), {'text': Text()})
    """
    if level > MOST_LEVELS:
        raise MessageError(f"expected JSON of up to {MOST_LEVELS} levels")
    if isinstance(value, (int, float)):
        return Number()
    if isinstance(value, str):
        return Text()
    inner = partial(json_shape, name=name, level=level + 1)
    if isinstance(value, dict):
        return Structure(name, {key: inner(item) for key, item in value.items()})
    if isinstance(value, list):
        return Many(inner(value[0]) if value else Number(), len(value))
    return Unreadable("null")

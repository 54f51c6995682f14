"""Fields of messages in protobuf, by the descriptors that a recording holds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from taemi_edge.errors import MessageError, MissingExtraError, first_line
from taemi_edge.media.messages.readings import MessageType
from taemi_edge.media.messages.shapes import MOST_LEVELS, Blob, Many, Number, Shape, Structure, Text, Unreadable
from taemi_edge.media.messages.topic_field import Path, shown_path

#: Descriptors in bytes: those of all schemas of Foxglove have some 60 kB.
_MOST_SCHEMA_BYTES = 1024 * 1024
#: Fields that are looked at, those of messages inside counted each time.
_MOST_FIELDS = 4096
#: Numbers of kinds of fields in google.protobuf.descriptor: TYPE_STRING, TYPE_BYTES, TYPE_MESSAGE, TYPE_GROUP.
_STRING, _BYTES, _MESSAGES = 9, 12, (10, 11)


class ProtobufReader:
    """Reads fields of messages of protobuf.

    Args:
        message_type: whose schema is a FileDescriptorSet.
        paths: of the fields.
    """

    def __init__(self, message_type: MessageType, paths: Sequence[Path]) -> None:
        self._class = _message_class(message_type)
        self._name, self._paths = message_type.name, paths

    def values(self, data: bytes | memoryview) -> list[Any]:
        from google.protobuf.message import DecodeError

        try:
            message = self._class.FromString(bytes(data))
        except (DecodeError, ValueError, RecursionError) as error:
            raise MessageError(f"expected a message of {self._name}: {first_line(error):.200}") from error
        return [self._value(message, path) for path in self._paths]

    def _value(self, value: Any, path: Path) -> Any:
        for step in path:
            try:
                value = getattr(value, step) if isinstance(step, str) else value[step]
            except (AttributeError, IndexError, TypeError):
                raise MessageError(f"expected a message with {shown_path(path)}, got one without") from None
        return value


@lru_cache(maxsize=256)
def protobuf_shape(message_type: MessageType) -> Structure:
    """The shape of messages of protobuf.

    Raises:
        MessageError: there is no schema, or none that can be read.
        MissingExtraError: protobuf is not installed.
    """
    counted = [0]
    return _structure(_message_class(message_type).DESCRIPTOR, counted, ())


def _structure(descriptor: Any, counted: list[int], above: tuple[str, ...]) -> Structure:
    fields: dict[str, Shape] = {}
    for field in descriptor.fields:
        counted[0] += 1
        if counted[0] > _MOST_FIELDS:
            raise MessageError(f"expected a schema of up to {_MOST_FIELDS:,} fields with those of its parts")
        shape = _shape(field, counted, (*above, descriptor.full_name))
        fields[field.name] = Many(shape) if _is_repeated(field) else shape
    return Structure(descriptor.full_name, fields)


def _is_repeated(field: Any) -> bool:
    """Protobuf 6 warns of the label, which is all that protobuf 5 has."""
    return bool(field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED)


def _shape(field: Any, counted: list[int], above: tuple[str, ...]) -> Shape:
    if field.type in _MESSAGES:
        inner = field.message_type
        if inner.full_name in above or len(above) > MOST_LEVELS or inner.GetOptions().map_entry:
            return Unreadable(inner.full_name)
        return _structure(inner, counted, above)
    if field.type == _STRING:
        return Text()
    return Blob() if field.type == _BYTES else Number()


@lru_cache(maxsize=256)
def _message_class(message_type: MessageType) -> Any:
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
        from google.protobuf.message import DecodeError
    except ModuleNotFoundError as error:
        raise MissingExtraError("protobuf", "recordings", "reading messages in protobuf") from error
    name, schema = message_type.name, message_type.schema
    if not schema or len(schema) > _MOST_SCHEMA_BYTES:
        raise MessageError(
            f"{name:.200}: expected descriptors of up to {_MOST_SCHEMA_BYTES:,} bytes, got {len(schema):,} bytes"
        )
    try:
        files = descriptor_pb2.FileDescriptorSet.FromString(schema)
        pool = descriptor_pool.DescriptorPool()
        for file in _in_order(files.file):
            pool.Add(file)
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
    except (DecodeError, TypeError, KeyError, ValueError, RecursionError) as error:
        raise MessageError(f"{name:.200}: expected descriptors of this message: {first_line(error):.200}") from error


def _in_order(files: Sequence[Any]) -> list[Any]:
    """Files after those that they import; what remains of a circle, or lacks an import, comes last."""
    waiting = {file.name: file for file in files}
    ordered: list[Any] = []
    while waiting:
        ready = [name for name, file in waiting.items() if not any(needed in waiting for needed in file.dependency)]
        if not ready:
            return ordered + list(waiting.values())
        ordered += [waiting.pop(name) for name in ready]
    return ordered

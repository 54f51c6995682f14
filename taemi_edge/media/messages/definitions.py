"""Definitions of ROS messages, as recordings hold them, to shapes; known types where there is no definition.

A definition comes with the recording, from anybody. `rosbags` parses it into names and kinds of fields. It would go on
to generate Python from it and run that, which nothing here does: `cdr.py` reads by the shape itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from taemi_edge.errors import MessageError, MissingExtraError, first_line
from taemi_edge.media.messages.idl import ARRAY, BASE, STRUCTURE, types_of_idl
from taemi_edge.media.messages.known_definitions import KNOWN
from taemi_edge.media.messages.readings import MessageType
from taemi_edge.media.messages.shapes import MOST_LEVELS, Many, Number, Shape, Structure, Text, Unreadable

#: A definition in bytes, with its comments and without: those of the largest messages of ROS, with all that they are
#: made of, have some 40 kB. Parsing takes 10 us a byte.
MOST_DEFINITION_BYTES, _MOST_CODE_BYTES = 256 * 1024, 96 * 1024
#: Elements of a list of fixed length.
_MOST_COUNT = 1 << 28
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(/[A-Za-z0-9_]+){1,3}")
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_DDS_NAME = re.compile(r"([A-Za-z0-9_]+)::(msg|srv|action)::(?:dds_::)?([A-Za-z0-9_]+?)_?")
#: What stands before each file of a definition in IDL.
_IDL_HEAD = re.compile(r"^={80}[ \t]*\n(?:IDL:[^\n]*\n)?", re.MULTILINE)
#: Lines without a field.
_MSG_NOT_CODE = re.compile(r"^[ \t]*(?:#[^\n]*)?\n", re.MULTILINE)
_LETTERS = {
    "bool": "?",
    "byte": "b",
    "octet": "B",
    "char": "B",
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float32": "f",
    "float64": "d",
}
#: ROS 2 cannot send nothing: its empty messages hold a byte of this name.
EMPTY_FIELD = "structure_needs_at_least_one_member"


def ros_name(name: str) -> str:
    """The name of a type of ROS in the form of ROS 2; other names stay as they are.

    >>> ros_name("sensor_msgs/Imu"), ros_name("sensor_msgs::msg::dds_::Imu_"), ros_name("foxglove.RawImage")
    ('sensor_msgs/msg/Imu', 'sensor_msgs/msg/Imu', 'foxglove.RawImage')
    """
    mangled = _DDS_NAME.fullmatch(name)
    if mangled:
        return "/".join(mangled.groups())
    parts = name.split("/")
    return f"{parts[0]}/msg/{parts[1]}" if len(parts) == 2 else name


@lru_cache(maxsize=256)
def ros_shape(message_type: MessageType) -> Structure:
    """The shape of messages of ROS.

    Raises:
        MessageError: there is no definition of the type, or none that can be read.
        MissingExtraError: rosbags is not installed.
    """
    name = ros_name(message_type.name)
    if not _NAME.fullmatch(name.replace("::", "/")):
        raise MessageError(
            f"expected the name of a ROS type such as sensor_msgs/msg/Imu, got {message_type.name!r:.200}"
        )
    ros1 = message_type.encoding == "ros1"
    known = _known_types(ros1)
    types = {**known, **_parsed(name, message_type)} if message_type.schema else known
    if name not in types and message_type.name.replace("::", "/") in types:
        name = message_type.name.replace("::", "/")  # of other systems on DDS, which have no "msg" in their names
    if name not in types:
        raise MessageError(
            f"expected a definition of {name:.200} with its messages, or a type that ROS comes with: record "
            f"the topic with definitions (MCAP does so)"
        )
    return _Shapes(types, ros1).structure(name, 0)


class _Shapes:
    """Makes shapes of parsed definitions; each type once."""

    def __init__(self, types: Mapping[str, Any], ros1: bool) -> None:
        self._types, self._ros1 = types, ros1
        self._made: dict[str, tuple[Structure, int]] = {}
        self._open: set[str] = set()

    def structure(self, name: str, level: int) -> Structure:
        if name in self._open or level > MOST_LEVELS:
            raise MessageError(
                f"expected a definition that ends, got {name:.200} inside itself or in {MOST_LEVELS} others"
            )
        if name in self._made:
            return self._made[name][0]
        if name not in self._types:
            raise MessageError(f"expected a definition of {name:.200} among those that came with the messages")
        self._open.add(name)
        fields = {}
        for field, kind in self._types[name][1]:
            if not _FIELD.fullmatch(field):
                raise MessageError(f"expected names of letters, digits and _ in the definition of {name:.200}")
            if not (self._ros1 and field == EMPTY_FIELD):
                fields[field] = self._shape(kind, level)
        if not fields and not self._ros1:
            fields[EMPTY_FIELD] = Number("B")
        self._open.discard(name)
        made = Structure(name, fields)
        self._made[name] = made, level
        return made

    def _shape(self, kind: Any, level: int) -> Shape:
        if kind[0] == BASE:
            base = kind[1][0]
            if base == "string":
                return Text()
            return Number(_LETTERS[base]) if base in _LETTERS else Unreadable(base)
        if kind[0] == STRUCTURE:
            if kind[1].endswith("/wstring"):  # rosbags takes it for a structure
                return Unreadable("wstring")
            return self.structure(kind[1], level + 1)
        item, count = kind[1]
        if kind[0] == ARRAY and not 0 <= count <= _MOST_COUNT:
            raise MessageError(f"expected lists of up to {_MOST_COUNT:,} elements, got a definition with more")
        return Many(self._shape(item, level), count if kind[0] == ARRAY else None)


def _parsed(name: str, message_type: MessageType) -> Mapping[str, Any]:
    """The types of the definition that came with the messages."""
    if len(message_type.schema) > MOST_DEFINITION_BYTES:
        size = len(message_type.schema)
        raise MessageError(f"expected a definition of up to {MOST_DEFINITION_BYTES:,} bytes, {name:.200} has {size:,}")
    from rosbags.typesys import TypesysError, get_types_from_msg

    try:
        text = message_type.schema.decode("utf-8", "replace").replace("\r\n", "\n")  # comments may be in Latin-1
        if message_type.schema_encoding not in ("ros2idl", "omgidl"):
            return dict(get_types_from_msg(_of_fair_size(_MSG_NOT_CODE.sub("", text), name), name))
        return types_of_idl(_IDL_HEAD.sub("", _of_fair_size(text, name)))
    except (TypesysError, RecursionError, ValueError, LookupError, AssertionError, TypeError, OverflowError) as error:
        what = "RecursionError" if isinstance(error, RecursionError) else first_line(error)
        raise MessageError(f"expected a definition of {name:.200} that can be parsed: {what:.200}") from error


def _of_fair_size(text: str, name: str) -> str:
    if len(text) > _MOST_CODE_BYTES:
        raise MessageError(
            f"expected a definition of up to {_MOST_CODE_BYTES:,} letters beside its comments, {name:.200} has "
            f"{len(text):,}"
        )
    return text


@lru_cache(maxsize=2)
def _known_types(ros1: bool) -> Mapping[str, Any]:
    try:
        from rosbags.typesys import get_types_from_msg
        from rosbags.typesys.stores import ros1_noetic, ros2_jazzy
    except ModuleNotFoundError as error:
        raise MissingExtraError("rosbags", "recordings", "reading messages of ROS") from error
    types: dict[str, Any] = dict((ros1_noetic if ros1 else ros2_jazzy).FIELDDEFS)
    for name, text in KNOWN.items():
        types.update(get_types_from_msg(text, name))
    return types

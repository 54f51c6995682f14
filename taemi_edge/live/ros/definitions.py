"""Finds the definition of the messages that a node publishes.

A node says the name of the type and the hash of its definition, not the definition itself. The definitions of ROS 2's
own types come with `rosbags`, for each of its releases: the one whose hash fits is right. Other types need a file.
"""

from __future__ import annotations

import logging
from pathlib import Path

from taemi_edge.errors import MessageError
from taemi_edge.live.ros.names import TopicKind
from taemi_edge.media.messages.definitions import MOST_DEFINITION_BYTES
from taemi_edge.media.messages.known_definitions import KNOWN
from taemi_edge.media.messages.readings import MessageType

log = logging.getLogger("taemi_edge.live")


def message_type(kind: TopicKind, file: str = "", trusts: bool = False) -> MessageType:
    """The type of a publisher's messages, with its definition.

    Args:
        kind: what the publisher says.
        file: a file with the definition; "" looks for it among those of ROS 2.
        trusts: whether the newest known definition is taken where none has the hash that the publisher says.

    Raises:
        MessageError: the file cannot be read, or no definition is known that fits.

    Example:
        >>> hash_of_image = "RIHS01_d31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb9582527d47"
        >>> message_type(TopicKind("sensor_msgs/msg/Image", hash_of_image)).schema.splitlines()[2]
        b'uint32 width'
    """
    if file:
        return _from_file(kind, Path(file))
    text, any_release = _known(kind)
    if text or (any_release and trusts):
        return MessageType(kind.type, "cdr", (text or any_release).encode(), "ros2msg")
    if kind.type in KNOWN:
        return MessageType(kind.type)
    if any_release:
        raise MessageError(
            f"{kind.type}: no release of ROS 2 that is known here has the definition it is published by: add "
            f"?type={kind.type}&definition=FILE.msg, or without definition to read it by the newest one"
        )
    raise MessageError(
        f"{kind.type} is no type of ROS 2 itself: add its definition by ?type={kind.type}&definition=FILE.msg"
    )


def hash_of(name: str) -> str:
    """The hash of the newest known definition of a type of ROS 2.

    >>> hash_of("std_msgs/msg/String")
    'RIHS01_df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18'
    """
    from rosbags.typesys import Stores, get_typestore

    return str(get_typestore(Stores.LATEST).hash_rihs01(name))


def _known(kind: TopicKind) -> tuple[str, str]:
    """The definition of a type that has this hash, and the newest one of any hash; "" where there is none."""
    from rosbags.typesys import Stores, get_typestore

    newest = ""
    releases = [store for store in Stores if store.name.startswith("ROS2_")]
    for store in (Stores.LATEST, *reversed(releases)):
        types = get_typestore(store)
        if kind.type not in types.fielddefs:
            continue
        text = str(types.generate_msgdef(kind.type)[0])
        newest = newest or text
        if not kind.hash or types.hash_rihs01(kind.type) == kind.hash:
            return text, newest
    return "", newest


def _from_file(kind: TopicKind, file: Path) -> MessageType:
    try:
        with file.open("rb") as stream:
            content = stream.read(MOST_DEFINITION_BYTES + 1)
    except OSError as error:
        raise MessageError(f"the definition {file}: cannot be read: {error.strerror}") from error
    if len(content) > MOST_DEFINITION_BYTES:
        raise MessageError(f"the definition {file}: expected up to {MOST_DEFINITION_BYTES:,} bytes, got more")
    if kind.hash and _hash_in(kind, content, file) not in ("", kind.hash):
        log.warning("%s is published by another definition than that of %s: its values may be wrong", kind.type, file)
    return MessageType(kind.type, "cdr", content, "ros2idl" if file.suffix == ".idl" else "ros2msg")


def _hash_in(kind: TopicKind, content: bytes, file: Path) -> str:
    """The hash of a definition in a file; "" where it cannot be told."""
    from rosbags.typesys import Stores, TypesysError, get_types_from_idl, get_types_from_msg, get_typestore

    types = get_typestore(Stores.LATEST)
    try:
        text = content.decode()
        parsed = get_types_from_idl(text) if file.suffix == ".idl" else get_types_from_msg(text, kind.type)
        types.fielddefs = {**types.fielddefs, **parsed}
        return str(types.hash_rihs01(kind.type))
    except (TypesysError, RecursionError, ValueError, LookupError, AssertionError, TypeError, OverflowError):
        return ""  # what is wrong with it is said where it is read

"""Finds the definition of the messages that a node publishes.

A node says the name of the type and the hash of its definition, not the definition itself. The definitions of ROS 2's
own types come with `rosbags`, for each of its releases: the one whose hash fits is right. Other types need a file.
"""

from __future__ import annotations

import logging
from pathlib import Path

from taemi_edge.errors import MessageError
from taemi_edge.live.ros.names import TopicKind
from taemi_edge.media.messages.readings import MessageType

log = logging.getLogger("taemi_edge.live")

_MOST_BYTES = 1 << 20


def message_type(kind: TopicKind, file: str = "") -> MessageType:
    """The type of a publisher's messages, with its definition.

    Args:
        kind: what the publisher says.
        file: a file with the definition; "" looks for it among those of ROS 2.

    Raises:
        MessageError: the file cannot be read or is no definition, or no definition is known that fits.

    Example:
        >>> hash_of_image = "RIHS01_d31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb9582527d47"
        >>> message_type(TopicKind("sensor_msgs/msg/Image", hash_of_image)).schema.splitlines()[2]
        b'uint32 width'
    """
    if file:
        return _from_file(kind, Path(file))
    found = _known(kind)
    if found:
        return MessageType(kind.type, "cdr", found.encode(), "ros2msg")
    if kind.hash and _known(TopicKind(kind.type)):
        raise MessageError(
            f"{kind.type} is published by a definition that no release of ROS 2 up to 2026 has ({kind.hash[:15]}...): "
            f"give it with ?type={kind.type}&definition=FILE.msg"
        )
    raise MessageError(
        f"{kind.type} is no type of ROS 2 itself: give its definition with ?type={kind.type}&definition=FILE.msg"
    )


def hash_of(name: str) -> str:
    """The hash of the newest known definition of a type of ROS 2.

    >>> hash_of("std_msgs/msg/String")
    'RIHS01_df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18'
    """
    from rosbags.typesys import Stores, get_typestore

    return str(get_typestore(Stores.LATEST).hash_rihs01(name))


def _known(kind: TopicKind) -> str:
    """The definition of a type that has this hash, or the newest where no hash is known; "" where there is none."""
    from rosbags.typesys import Stores, get_typestore

    releases = [store for store in Stores if store.name.startswith("ROS2_")]
    for store in (Stores.LATEST, *reversed(releases)):
        types = get_typestore(store)
        if kind.type in types.fielddefs and (not kind.hash or types.hash_rihs01(kind.type) == kind.hash):
            return str(types.generate_msgdef(kind.type)[0])
    return ""


def _from_file(kind: TopicKind, file: Path) -> MessageType:
    try:
        content = file.read_bytes()[: _MOST_BYTES + 1]
    except OSError as error:
        raise MessageError(f"the definition {file}: cannot be read: {error.strerror}") from error
    if len(content) > _MOST_BYTES:
        raise MessageError(f"the definition {file}: expected up to {_MOST_BYTES} bytes, got more")
    return MessageType(kind.type, "cdr", content, "ros2idl" if file.suffix == ".idl" else "ros2msg")

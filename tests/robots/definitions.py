"""Message types of ROS 2 for tests: those of Jazzy, and a few that only their packages define."""

from __future__ import annotations

import functools
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

#: Types of packages that a store does not know; the last one is of a robot that nobody else has.
EXTRA = {
    "audio_common_msgs/msg/AudioData": "uint8[] data",
    "audio_common_msgs/msg/AudioDataStamped": "std_msgs/Header header\naudio_common_msgs/AudioData audio",
    "foxglove_msgs/msg/CompressedVideo": (
        "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format"
    ),
    "my_robot_msgs/msg/Gripper": (
        "std_msgs/Header header\nuint8 OPEN=1\nuint8 state\nbool holds\nfloat32 force\nfloat64[2] fingers\n"
        "float32[] currents\nstring note"
    ),
}
_IDL_NAMES = {"float32": "float", "float64": "double", "bool": "boolean", "byte": "octet"}


@functools.cache
def types() -> Any:
    """A store of all of them."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for name, definition in EXTRA.items():
        store.register(get_types_from_msg(definition, name))
    return store


def message(name: str, /, **fields: Any) -> Any:
    """A message of a type; fields that are left out are zero, empty or False."""
    store = types()
    given = {field: fields.pop(field, None) for field, _ in store.fielddefs[name][1]}
    assert not fields, f"{name} has no {list(fields)}"
    filled = {
        field: _default(kind) if given[field] is None else given[field] for field, kind in store.fielddefs[name][1]
    }
    return store.types[name](**filled)


def cdr(made: Any) -> bytes:
    """The bytes of a message."""
    return bytes(types().serialize_cdr(made, made.__msgtype__))


def ros2msg(name: str) -> bytes:
    """The definition of a type and of those in it, as `ros2msg`."""
    text: str = types().generate_msgdef(name, ros_version=2)[0]
    return text.encode()


def ros2idl(name: str) -> bytes:
    """The same as `ros2idl`."""
    needed, waiting = dict[str, str](), [name]
    while waiting:
        one = waiting.pop()
        if one not in needed:
            needed[one] = _struct(one)
            waiting += [kind[1] for kind in map(_inner, (k for _, k in types().fielddefs[one][1])) if "/" in kind[1]]
    return "\n".join(f"{'=' * 80}\nIDL: {one}\n{text}" for one, text in needed.items()).encode()


def _default(kind: Any) -> Any:
    import numpy as np

    if kind[0] == Nodetype.BASE:
        name = kind[1][0]
        return "" if name == "string" else False if name == "bool" else 0.0 if name.startswith("float") else 0
    if kind[0] == Nodetype.NAME:
        return message(kind[1])
    inner, count = kind[1]
    many = count if kind[0] == Nodetype.ARRAY else 0
    if inner[0] == Nodetype.BASE and inner[1][0] != "string":
        return np.zeros(many, dtype=inner[1][0])
    return [_default(inner) for _ in range(many)]


def _inner(kind: Any) -> tuple[Any, str]:
    """The kind, and the name, of what a field holds one or several of."""
    if kind[0] in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        return _inner(kind[1][0])
    return kind[0], kind[1] if kind[0] == Nodetype.NAME else kind[1][0]


def _struct(name: str) -> str:
    package, _, short = name.partition("/msg/")
    types_before, members = [], []
    for field, kind in types().fielddefs[name][1]:
        inner = _inner(kind)[1]
        spelled = inner.replace("/", "::") if "/" in inner else _IDL_NAMES.get(inner, inner)
        if kind[0] == Nodetype.ARRAY:
            alias, count = f"{spelled.replace('::', '__')}__{kind[1][1]}", kind[1][1]
            types_before.append(f"    typedef {spelled} {alias}[{count}];")
            spelled = alias
        elif kind[0] == Nodetype.SEQUENCE:
            spelled = f"sequence<{spelled}>"
        members.append(f"      {spelled} {field};")
    aliases = "\n".join(dict.fromkeys(types_before))
    body = "\n".join(members)
    return f"module {package} {{\n  module msg {{\n{aliases}\n    struct {short} {{\n{body}\n    }};\n  }};\n}};\n"

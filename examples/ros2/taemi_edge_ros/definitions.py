"""Finds the definition of a message type in the packages that are installed, for types that nobody else knows."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

_FIELD = re.compile(r"^\s*([A-Za-z]\w*(?:/\w+)*)[\[<\s]")
_PLAIN = {
    *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
    *("bool", "byte", "char", "float32", "float64", "string", "wstring"),
}


def ros2msg_of(name: str, share: Callable[[str], str | Path]) -> bytes:
    """The definition of a type and of all types in it, as recordings keep them ("ros2msg").

    Args:
        name: of the type, such as "my_robot_msgs/msg/Gripper".
        share: gives the folder `share/PACKAGE` of a package, as `get_package_share_directory` does.

    Raises:
        OSError: one of the types is not installed.
        LookupError: one of the packages is not.
    """
    texts, waiting = dict[str, str](), [name]
    while waiting:
        one = waiting.pop()
        if one in texts:
            continue
        package, _, short = one.split("/")
        texts[one] = (Path(share(package)) / "msg" / f"{short}.msg").read_text(encoding="utf-8")
        waiting += [_full_name(kind, package) for kind in _kinds(texts[one])]
    parts = [texts.pop(name)]
    parts += [f"{'=' * 80}\nMSG: {one.replace('/msg/', '/')}\n{text}" for one, text in texts.items()]
    return "\n".join(parts).encode()


def _kinds(text: str) -> list[str]:
    """The types of the fields of a definition that are messages themselves."""
    found = (_FIELD.match(line) for line in text.splitlines())
    return [kind for match in found if match and (kind := match[1]) not in _PLAIN]


def _full_name(kind: str, package: str) -> str:
    parts = kind.split("/")
    if kind == "Header":  # as ROS 1 wrote it
        package = "std_msgs"
    return f"{parts[0] if len(parts) > 1 else package}/msg/{parts[-1]}"

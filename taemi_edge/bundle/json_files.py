"""JSON of the package's frozen data: indented text, and files that are written whole or not at all.

Streams of JSON lines are not made here: `runtime/json_lines.py` writes them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from taemi_edge.bundle.atomic import new_file


def to_json(value: Any, indent: int = 2) -> str:
    """Give frozen data, or dictionaries, lists and numbers, as JSON without a newline at its end.

    Args:
        value: what msgspec can encode.
        indent: spaces for each level; -1 writes one line without any space.

    Example:
        >>> from taemi_edge.bundle.spec import WindowSpec
        >>> print(to_json(WindowSpec(length_s=10.0, hop_s=0.5)))
        {
          "length_s": 10.0,
          "hop_s": 0.5
        }
    """
    return msgspec.json.format(msgspec.json.encode(value), indent=indent).decode()


def write_json(file: Path, value: Any, indent: int = 2) -> None:
    r"""Write a value as JSON and a newline; an older file is replaced only when the new one is complete.

    Args:
        file: where to write; its folder is made where it is missing.
        value: what msgspec can encode.
        indent: spaces for each level; -1 writes one line without any space, for files with long lists of numbers.

    Raises:
        OutputError: there is no room or no permission.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_json(Path(folder, "a.json"), {"clips": 64})
        ...     Path(folder, "a.json").read_text()
        '{\n  "clips": 64\n}\n'
    """
    with new_file(file) as draft:
        draft.write_text(to_json(value, indent) + "\n", encoding="utf-8")


def is_deep(value: object, levels: int) -> bool:
    """Whether decoded JSON is nested in more than so many levels. What is too deep cannot be encoded again.

    >>> is_deep({"a": [1, [2]]}, 3), is_deep({"a": [1, [2]]}, 2)
    (False, True)
    """
    row = [value]
    for _ in range(levels):
        row = [inner for outer in row for inner in _inner(outer) if isinstance(inner, (dict, list))]
        if not row:
            return False
    return True


def _inner(value: object) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()

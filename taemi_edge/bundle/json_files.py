"""JSON of the package's frozen data: indented text, and files that are written whole or not at all.

Streams of JSON lines are not made here: `runtime/json_lines.py` writes them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from taemi_edge.bundle.atomic import new_file
from taemi_edge.bundle.limits import MOST_INTEGER, MOST_JSON_DEPTH


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


def values_problem(value: object) -> str | None:
    """Say in words why decoded JSON or TOML cannot be right; None where it can.

    What is nested too deeply cannot be encoded again, and no number of ours needs more than 53 bits.

    >>> values_problem({"a": [1, [2]]}), values_problem([2**64])
    (None, 'expected numbers of at most 53 bits, got a larger one')
    >>> values_problem({"a": float("nan")})
    'expected finite numbers, got nan'
    """
    row = [value]
    for _ in range(MOST_JSON_DEPTH):
        for each in row:
            if isinstance(each, float) and not math.isfinite(each):
                return f"expected finite numbers, got {each}"
            if isinstance(each, int) and abs(each) > MOST_INTEGER:
                return "expected numbers of at most 53 bits, got a larger one"
        row = [inner for outer in row for inner in _inner(outer)]
        if not row:
            return None
    return f"expected at most {MOST_JSON_DEPTH} levels of lists and tables, got more"


def _inner(value: object) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()

"""Reads the docstrings of this project for the site.

A section `Example:` holds code, as `Examples:` does elsewhere. Where several arguments or attributes are explained
together (`width, height: in pixels.`), each of them is.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_TOGETHER = re.compile(r"^(?P<indent> +)(?P<names>\w+(?:, \w+)+): (?P<text>.*(?:\n(?P=indent) +\S.*)*)", re.MULTILINE)


class HouseStyle(griffe.Extension):
    """Makes of each docstring what griffe's reader of Google style knows."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = in_google_style(obj.docstring.value)


def in_google_style(text: str) -> str:
    """The text of a docstring as griffe reads it.

    >>> print(in_google_style("A size.\\n\\nArgs:\\n    width, height: in pixels."))
    A size.
    <BLANKLINE>
    Args:
        width: in pixels.
        height: in pixels.
    """
    text = re.sub(r"^(\s*)Example:$", r"\1Examples:", text, flags=re.MULTILINE)
    return _TOGETHER.sub(_each, text)


def _each(entry: re.Match[str]) -> str:
    return "\n".join(f"{entry['indent']}{name}: {entry['text']}" for name in entry["names"].split(", "))

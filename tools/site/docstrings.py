"""Reads the docstrings of this project for the site: a section `Example:` holds code, as `Examples:` does elsewhere."""

from __future__ import annotations

import re
from typing import Any

import griffe


class ExamplesAreCode(griffe.Extension):
    """Renames the section, so that its lines become code and no quotations."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = re.sub(r"^(\s*)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)

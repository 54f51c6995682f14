"""docs/reference/robot-messages.md names what can be read, all of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from taemi_edge.media.messages.numbers import USUAL
from taemi_edge.media.messages.pictures import ENCODINGS
from taemi_edge.media.messages.sound import FORMATS

#: What the page says depends on no interpreter.
pytestmark = pytest.mark.once

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "robot-messages.md").read_text(encoding="utf-8")


def test_the_page_names_every_encoding_of_pictures() -> None:
    named = set(re.findall(r"`([A-Za-z0-9_]+)`", PAGE))
    assert {encoding for encoding in ENCODINGS if not re.fullmatch(r"bayer_.*16", encoding)} <= named


def test_the_page_names_the_usual_numbers_of_every_type() -> None:
    for name, rows in USUAL.items():
        assert name.rpartition("/")[2] in PAGE
        for fields in rows.values():
            for field in fields.split(","):
                assert f"`{field}`" in PAGE, f"{name} reads {field}"


def test_the_page_names_every_format_of_sound() -> None:
    assert all(f"`{form}`" in PAGE for form in (*FORMATS, "mp3"))

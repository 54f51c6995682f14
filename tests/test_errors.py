"""Whatever a file holds, the message of an error is one line that a terminal can show."""

from __future__ import annotations

import pytest

from taemi_edge.errors import InputError, MissingExtraError, OptionError, TaemiError, in_one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a plain line with \u00fc and \u65e5\u672c", "a plain line with \u00fc and \u65e5\u672c"),
        ("two\nlines\r\nand\ta tab", "two lines  and a tab"),
        ("a colour \x1b[31m and a nul \0", "a colour \\x1b[31m and a nul \\x00"),
        ("a lone surrogate \udc8d", "a lone surrogate \\udc8d"),
        ("from right to left \u202e", "from right to left \\u202e"),
    ],
)
def test_a_message_is_one_printable_line(text: str, shown: str):
    assert str(InputError(text)) == shown
    assert str(OptionError("window_s", "--window", text)) == f"window_s {shown}"
    assert OptionError("window_s", "--window", text).flagged == f"--window {shown}"
    shown.encode()


@pytest.mark.parametrize("sign", ["a", "\x1b", "\n"])
def test_a_long_message_is_cut_in_its_middle(sign: str):
    shown = str(TaemiError(f"beginning {sign * 100_000} end"))
    assert len(shown) <= 2000
    assert shown.startswith("beginning")
    assert shown.endswith(" end")
    assert in_one_line(shown) == shown


def test_a_message_without_words_stays_empty():
    assert str(TaemiError()) == ""
    assert "pip install" in str(MissingExtraError("x", "y", "z"))

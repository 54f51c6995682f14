"""Texts of strangers as Markdown that shows them letter by letter.

A manifest may come from anybody. What it says is put into a card so that it cannot become a heading, a link, HTML, a
table's border or a sequence that moves the cursor of a terminal.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

#: A text of one line, and one of several paragraphs; what is longer loses its end.
MOST_IN_LINE, MOST_IN_PARAGRAPHS = 400, 20_000
_MARKUP = re.compile(r"([\\`*_{}\[\]|~$#!])")
_LIST_OR_HEADING = re.compile(r"^(\s*)([-+=]|\d{1,9}[.)](?=\s|$))")


def clean(text: str) -> str:
    r"""A text without what could act on a terminal or turn its letters around; line ends stay.

    >>> clean("red \x1b[31m and\r\nleft \u202e")
    'red [31m and\nleft '
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    return "".join(sign for sign in text if sign == "\n" or not (_acts(sign) or sign in _LINES))


#: Other signs that end a line.
_LINES = "\u2028\u2029"


def _acts(sign: str) -> bool:
    """Whether a sign is no letter but a control, a direction, half a letter, or nothing that is known."""
    return unicodedata.category(sign).startswith("C")


def in_line(text: str) -> str:
    r"""A text as Markdown of one line.

    >>> in_line("# a | <b>\n[x](y) `z`")
    '\\# a \\| &lt;b&gt; \\[x\\](y) \\`z\\`'
    """
    words = " ".join(clean(text).split())
    words = words if len(words) <= MOST_IN_LINE else f"{words[: MOST_IN_LINE - 1]}…"
    return _escaped(words)


def paragraphs(text: str) -> str:
    r"""A text as Markdown that keeps its paragraphs.

    >>> print(paragraphs("One.\n\n- two\nthree"))
    One.
    <BLANKLINE>
    \- two three
    """
    text = clean(text)
    text = text if len(text) <= MOST_IN_PARAGRAPHS else f"{text[: MOST_IN_PARAGRAPHS - 1]}…"
    return "\n\n".join(_escaped(" ".join(each.split())) for each in re.split(r"\n\s*\n", text) if each.strip())


def code(text: str) -> str:
    r"""A name as a piece of code, which is shown as it is; in a table too.

    >>> code("empathic_pain"), code("a`|b")
    ('`empathic_pain`', "`a'\\|b`")
    """
    words = " ".join(clean(text).split()).replace("`", "'").replace("|", "\\|")
    words = words if len(words) <= MOST_IN_LINE else f"{words[: MOST_IN_LINE - 1]}…"
    return f"`{words or ' '}`"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines: list[Sequence[str]] = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _escaped(words: str) -> str:
    words = words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    words = _MARKUP.sub(r"\\\1", words)
    return _LIST_OR_HEADING.sub(lambda found: f"{found[1]}{_escaped_start(found[2])}", words)


def _escaped_start(start: str) -> str:
    return f"{start[:-1]}\\{start[-1]}"

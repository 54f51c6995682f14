"""The addresses of this project's pages, for messages and help: a wheel has no docs/ that they could name."""

from __future__ import annotations

#: Where the site of this project is, as pyproject.toml says too.
SITE = "https://taemi-edge.github.io/taemi-edge/"
#: Where defects are reported.
ISSUES = "https://github.com/taemi-edge/taemi-edge/issues"
#: Where the files of this project are that no wheel has.
FILES = "https://raw.githubusercontent.com/taemi-edge/taemi-edge/main/"


def page(name: str, section: str = "") -> str:
    """The address of a page of the site.

    Args:
        name: the file of the page inside docs/, without its ending.
        section: the anchor of a heading.

    Example:
        >>> page("how-to/precision", "worth-it")
        'https://taemi-edge.github.io/taemi-edge/how-to/precision/#worth-it'
    """
    return f"{SITE}{name}/" + (f"#{section}" if section else "")

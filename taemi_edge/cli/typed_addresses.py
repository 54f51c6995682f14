"""Keeps the addresses that were typed out of what the command line says of errors, wherever an error comes from.

Messages of this package show of an address what `media/places.py` allows. Those of the option parser, and of what was
typed in a wrong place (an address as BUNDLE or `--device`), repeat words as they are: they pass through here.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

#: What a message may repeat of the beginning of an address that it cuts short.
_LEAST = 8


def without_addresses(text: str, words: Sequence[str]) -> str:
    """Show of typed addresses only what can hold no secret.

    Args:
        text: a message, which may repeat some of the words.
        words: of the command line.

    Example:
        >>> without_addresses("rtsp:/me:pw@cam/1: expected a bundle", ["run", "rtsp://me:pw@cam/1"])
        'rtsp://cam/1: expected a bundle'
        >>> without_addresses("--window: 'x=rtsp://me:pw@cam' is no number", ["run", "--window=x=rtsp://me:pw@cam"])
        "--window: 'x=rtsp://cam' is no number"
        >>> without_addresses("expected s3://BUCKET/FOLDER", ["extract", "--data", "s3://"])
        'expected s3://BUCKET/FOLDER'
        >>> without_addresses("--ray ray://head:1: no cluster answers", ["--ray", "ray://head:1"])
        '--ray ray://head:1: no cluster answers'
    """
    from taemi_edge.media.places import holds_address, shown_place

    for word in words:
        value = re.sub(r"^-{1,2}[A-Za-z0-9-]+=", "", word)  # --option=VALUE
        value = re.sub(r"^[A-Za-z0-9_.-]+=", "", value)  # NAME=SOURCE, KEY=VALUE
        if holds_address(value) and not re.fullmatch(r"[A-Za-z0-9]+:/*", value):  # a scheme alone hides nothing
            shown = shown_place(value)
            for form in _forms(value):
                text = text.replace(form, shown)
            text = _without_beginning(text, value, shown)
    return text


@contextmanager
def typed_addresses_hidden() -> Iterator[None]:
    """Let what is raised of wrong words inside the `with` block repeat of a typed address what can hold no secret."""
    try:
        yield
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "message"):  # of Click, which Typer may carry inside
            error.message = without_addresses(str(error.message), sys.argv[1:])
        raise


def _forms(value: str) -> list[str]:
    """How a message may write a value, the longest first."""
    forms = {value, repr(value)[1:-1], repr(repr(value))[1:-1], json.dumps(value)[1:-1], shlex.quote(value)}
    if "\0" not in value:
        path = Path(value)
        forms |= {str(path), str(path.absolute()), repr(str(path))[1:-1]}
    return sorted((form for form in forms if len(form) > 1), key=len, reverse=True)


def _without_beginning(text: str, value: str, shown: str) -> str:
    """Take out the beginning of a value that a message cuts short, where it says more than may be shown."""
    for form in (value, str(Path(value)) if "\0" not in value else value):
        least = max(_LEAST, len(shown.removesuffix("...")) + 1)
        for end in range(len(form) - 1, least - 1, -1):
            if form[:end] in text:
                return text.replace(form[:end], shown)
    return text

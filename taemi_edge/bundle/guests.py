"""What the toolkit asks when it meets a model or a data set that is not in a form of its own.

A guest is code that knows one model or one data set, such as TAEMI. It lies in a later room, so the rooms that open
sources cannot import it. Whoever puts the package together (`taemi_edge/__init__.py`) names the guest's function here,
and it is imported when it is first asked.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal

#: "model": takes a source (str), gives an artefact. "corpus": takes a folder (`corpora.corpus_folder.CorpusFolder`)
#: and how it is to be read, gives a corpus. Both give None for what is not theirs.
Subject = Literal["model", "corpus"]

_GUESTS: dict[Subject, list[str]] = {"model": [], "corpus": []}


def register_guest(subject: Subject, place: str) -> None:
    """Name a function that is asked from now on, after those that were named before.

    Args:
        subject: what it opens.
        place: "package.module:function".
    """
    if place not in _GUESTS[subject]:
        _GUESTS[subject].append(place)


def ask_guests(subject: Subject, source: Any, **options: Any) -> Any:
    """Ask one guest after the other to open a source.

    Returns:
        What the first one gives that knows the source; None where none does.

    Example:
        >>> ask_guests("model", "there/is/no/such/folder") is None
        True
    """
    for place in _GUESTS[subject]:
        module, _, function = place.partition(":")
        found = getattr(import_module(module), function)(source, **options)
        if found is not None:
            return found
    return None

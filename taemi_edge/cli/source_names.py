"""The names of live sources: those that were typed as NAME=SOURCE, and those that follow from addresses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def named_sources(sources: Sequence[str]) -> list[tuple[str, str]]:
    """The name and the address of each source; of those without a name that are shown alike, the second ends in -2."""
    from taemi_edge.live.capture.addresses import default_name, split_name

    split = [split_name(text) for text in sources]
    taken = {name for name, _ in split if name}
    named = []
    for name, address in split:
        own = default_name(address) if name is None else name
        number = 1
        while name is None and (free := own if number == 1 else f"{own[:96]}-{number}") in taken:
            number += 1
        if name is None:
            own = free
            taken.add(own)
        named.append((own, address))
    return named


def is_plain_name(source: str) -> bool:
    """Whether SOURCE only names a source whose streams come from places of their own."""
    return source.isidentifier() and not Path(source).exists()

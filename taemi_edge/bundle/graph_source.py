"""Finds the bundle of graphs that engines were built from: the CPU goes on with it, and other engines are built of it.

An engine bundle names that folder as it is seen from itself, so that both can be moved or renamed together. It also
keeps the hash of its manifest: another bundle that stands there by now is never taken for it.
"""

from __future__ import annotations

import os
from pathlib import Path

from taemi_edge.bundle.folder import MANIFEST, Bundle
from taemi_edge.bundle.limits import MOST_MANIFEST_BYTES
from taemi_edge.bundle.opened_folder import OpenedFolder
from taemi_edge.errors import BundleError


def seen_from(bundle: Path, source: Path) -> str:
    """The way from the folder of an engine bundle to that of its graphs; links are resolved first.

    >>> seen_from(Path("/srv/engines/m-orin"), Path("/srv/export/m"))
    '../../export/m'
    """
    return os.path.relpath(os.path.realpath(source), os.path.realpath(bundle))


def find_graphs(bundle: Bundle) -> Path:
    """Give the folder of the graphs that a bundle's engines were built from.

    It is looked for where the engine bundle says, then where it lay when the engines were built, and then beside the
    engine bundle under its own name.

    Raises:
        BundleError: the bundle holds no engines, or its graphs are at none of these places. The message says what was
            looked for and where.
    """
    record = bundle.manifest.engine
    if record is None:
        raise BundleError(f"{bundle.folder}: expected a bundle of engines")
    here = bundle.place or Path(os.path.realpath(bundle.folder))
    want = record.source_digests.get(MANIFEST, "")  # bundles that were built before it was kept have none
    named = here / record.source
    places = [named, *([Path(record.source_place)] if record.source_place else []), here.parent / named.name]
    seen: list[str] = []
    for place in dict.fromkeys(Path(os.path.normpath(place)) for place in places):
        problem = _problem(place, want)
        if problem is None:
            return place
        seen.append(f"{place} {problem}")
    what = f"a bundle whose {MANIFEST} has the sha256 {want[:12]}..." if want else "a bundle"
    raise BundleError(
        f"{bundle.folder}: expected the graphs that it was built from ({what}): {', '.join(seen)}: put them beside it, "
        f"or build the engines again"
    )


def _problem(place: Path, want: str) -> str | None:
    """Say in words why a folder is not the one that is looked for; None where it is."""
    try:
        with OpenedFolder(place) as files:
            found = files.digest(MANIFEST, MOST_MANIFEST_BYTES)
    except BundleError:
        return "is not there"
    return None if not want or found.sha256 == want else "is another bundle"

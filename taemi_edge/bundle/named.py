"""Finding a bundle by its name, where somebody types `run NAME` and not a folder.

What lies in the working directory comes before what a device keeps, and that before the bundles that ship with the
package. Of the working directory the most finished form is taken: engines, then calibrated graphs, then exported ones.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from taemi_edge.bundle.folder import MANIFEST, read_manifest
from taemi_edge.bundle.recipe import list_recipes
from taemi_edge.errors import BundleError, nearest

#: Where engines lie in a working directory, and then graphs, the most finished ones first.
_ENGINES, _GRAPHS = "engines", ("calibration", "export")
#: Where a device keeps what `pull` and `update` brought, as the documents have it: a bundle, or the folder of `update`.
_OF_DEVICE = Path("/var/lib/taemi-edge")
_OF_UPDATE = "current"
_SHIPPED = Path(__file__).parents[1] / "assets" / "bundles"


def find_bundle(named: str | Path, *, graphs: bool = False) -> Path:
    """Give the folder of a bundle that was given as a folder or by its name. A path that exists is always meant itself.

    Args:
        named: a path, or the name of a bundle: "mine" finds `engines/mine`, the verified engines `engines/mine-TARGET`
            for this machine, `calibration/mine`, `export/mine`, `/var/lib/taemi-edge/mine`, or a bundle that ships.
        graphs: whether a bundle of graphs is wanted, as to build engines of it: engines are taken only where there is
            nothing else of that name.

    Raises:
        BundleError: nothing of that name is there. The message has the command that makes it, or the nearest name.

    Example:
        >>> find_bundle("export/taemi-tiny").name, find_bundle("taemi-tiny").as_posix()
        ('taemi-tiny', 'export/taemi-tiny')
    """
    path = Path(named)
    if os.path.lexists(path) or not _is_name(str(named)):
        return path
    found = bundle_of_name(str(named), graphs=graphs)
    if found is None and re.search("[a-z]", path.suffix, re.IGNORECASE):
        return path  # the name of a file that is not there, such as talk.mp4
    if found is None:
        raise BundleError(_not_found(str(named)))
    return found


def bundle_of_name(name: str, *, graphs: bool = False) -> Path | None:
    """Give the folder of a bundle of that name; None where there is none, or where it is no name but a path.

    Args:
        name: of the bundle.
        graphs: as for `find_bundle`.

    Raises:
        BundleError: several engines of that name would run here, and somebody must choose.
    """
    if not _is_name(name) or os.path.lexists(name):
        return None
    of_graphs = (*(Path(folder, name) for folder in _GRAPHS), _OF_DEVICE / name / _OF_UPDATE, _OF_DEVICE / name)
    of_graphs = (*of_graphs, _SHIPPED / name)
    if graphs and (found := next(filter(_has_graphs, of_graphs), None)) is not None:
        return found
    return next(filter(_is_bundle, (Path(_ENGINES, name), *_engines_for(name), *of_graphs)), None)


def is_shipped(name: str) -> bool:
    """Whether a bundle of that name comes with the package.

    >>> is_shipped("mine")
    False
    """
    return _is_name(name) and _is_bundle(_SHIPPED / name)


def shipped_bundles() -> list[str]:
    """The names of the bundles that come with the package."""
    return sorted(place.parent.name for place in _SHIPPED.glob(f"*/{MANIFEST}"))


def _is_name(text: str) -> bool:
    """Whether a text could be a bundle's name: one part of a path.

    >>> _is_name("mine"), _is_name("export/mine"), _is_name("mine/"), _is_name(".."), _is_name("a.py:build")
    (True, False, False, False, False)
    """
    return text not in ("", "..") and text == Path(text).name and ":" not in text and "\0" not in text


def _is_bundle(place: Path) -> bool:
    return os.path.isfile(place / MANIFEST)  # unlike pathlib, it takes names that no file system has


def _has_graphs(place: Path) -> bool:
    """Whether a bundle lies there that is not known to be engines."""
    if not _is_bundle(place):
        return False
    try:
        return read_manifest(place).engine is None
    except BundleError:
        return True  # whoever opens it says what is wrong with it


def _engines_for(name: str) -> list[Path]:
    """The verified engines `engines/NAME-TARGET` for this machine: TensorRT's where it is installed, else a CPU's.

    Raises:
        BundleError: there are several.
    """
    found: dict[bool, list[Path]] = {True: [], False: []}
    for place in sorted(Path(_ENGINES).glob(f"{_escaped(name)}-*")):
        if (of_tensorrt := _verified_engines(place, name)) is not None:
            found[of_tensorrt].append(place)
    chosen = (found[True] if find_spec("tensorrt") is not None else []) or found[False]
    if len(chosen) > 1:
        both = " and ".join(map(str, chosen))
        raise BundleError(f"{name:.300}: expected one bundle of that name, got {both}: name one of these folders")
    return chosen


def _verified_engines(place: Path, name: str) -> bool | None:
    """Whether the engines at a place are TensorRT's; None where they are of another name or not verified.

    `engines/valve-left-cpu` is what `build-engine` writes for the bundle valve-left, and nothing that "valve" names.
    """
    try:
        manifest = read_manifest(place)
    except BundleError:
        return None
    if manifest.engine is None or not manifest.verified or place.name != f"{name}-{manifest.engine.target}":
        return None
    return any(part.file.endswith(".engine") for part in manifest.parts.values())


def _escaped(name: str) -> str:
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in name)


def _not_found(name: str) -> str:
    recipes = list_recipes("export")
    if name in recipes:
        return (
            f"{name}: expected a bundle's folder or name, and {name} was neither exported nor pulled here: make it "
            f"with `taemi-edge export {name}`"
        )
    known = sorted({*_known_here(), *recipes, *shipped_bundles()})
    hint = nearest(name, known) or f": known names: {', '.join(known)}"
    return f"{name:.300}: expected a bundle's folder or name, found none of that name{hint}"


def _known_here() -> Iterator[str]:
    """The names of bundles in the working directory."""
    for folder in (_ENGINES, *_GRAPHS):
        yield from (place.parent.name for place in Path(folder).glob(f"*/{MANIFEST}"))

"""Bundles that are given by their name: every command that takes BUNDLE finds them, and says which folder it took."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from taemi_edge.cli.options import note

#: How the help of a command calls a bundle that is given by its folder or name.
_METAVARS = ("BUNDLE", "[BUNDLE]", "BUNDLE|RECORDING")
#: Commands that make something of graphs. Engines of the same name, which one of them has made, are not meant.
_OF_GRAPHS = ("calibrate", "build-engine", "sign", "verify", "push")


def with_folders(command: str, parameters: Iterable[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a command, with the folder of every bundle that was given by its name.

    Args:
        command: its name.
        parameters: of the command, as Typer has them.
        values: by the name of the parameter.

    Raises:
        BundleError: there is no bundle of that name.
    """
    named = {parameter.name for parameter in parameters if getattr(parameter, "metavar", None) in _METAVARS}
    graphs = command in _OF_GRAPHS
    return {
        name: chosen_bundle(value, graphs=graphs) if name in named and isinstance(value, Path) else value
        for name, value in values.items()
    }


def chosen_bundle(named: Path, *, graphs: bool = False) -> Path:
    """The folder of a bundle that was given as a folder or by its name; what was found by name is said.

    Args:
        named: the folder or the name.
        graphs: see `taemi_edge.bundle.named.find_bundle`.

    Raises:
        BundleError: there is no bundle of that name.
    """
    from taemi_edge.bundle.named import find_bundle

    folder = find_bundle(named, graphs=graphs)
    if folder != named:
        _say(str(named), folder)
    return folder


def chosen_artefact(source: str, *, recipes: bool = False, graphs: bool = False) -> str:
    """What to open where a command takes a bundle, a checkpoint or a recipe: the folder of a bundle of that name.

    Args:
        source: what was given.
        recipes: whether the name of a recipe means the recipe, where PyTorch is installed. A bundle that ships is
            meant all the same: its recipe alone has no trained weights.
        graphs: see `taemi_edge.bundle.named.find_bundle`.

    Returns:
        `source` itself where it is a path, or where there is no bundle of that name.

    Raises:
        BundleError: several engines of that name would run here.
    """
    from taemi_edge.bundle.named import bundle_of_name, is_shipped
    from taemi_edge.bundle.recipe import list_recipes

    recipes = recipes and find_spec("torch") is not None
    if recipes and source in list_recipes("export") and not is_shipped(source):
        return source
    folder = bundle_of_name(source, graphs=graphs)
    if folder is None:
        return source
    _say(source, folder)
    return str(folder)


def _say(name: str, folder: Path) -> None:
    note(f"{name} is the bundle {folder}")

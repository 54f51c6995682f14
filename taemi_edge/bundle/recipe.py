"""A recipe name or TOML file in, a validated frozen recipe out.

A name is looked up first as a path, then among the recipes that ship with the package.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from taemi_edge.bundle.spec import Frozen
from taemi_edge.errors import RecipeError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Kind = Literal["export", "calibration", "engines"]
RecipeType = TypeVar("RecipeType", bound=Frozen)


def recipe_folders(kind: Kind) -> list[Path]:
    """Where recipes of a kind ship: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    return [folder for folder in (package / "recipes" / kind, package.parent / kind) if folder.is_dir()]


def list_recipes(kind: Kind) -> list[str]:
    """The names that `--help` and error messages offer."""
    return sorted({file.stem for folder in recipe_folders(kind) for file in folder.glob("*.toml")})


def find_recipe(kind: Kind, name: str) -> Path:
    """The file of a recipe given as a path or as the name of one that ships.

    Raises:
        RecipeError: neither exists; the message lists the names that do.
    """
    direct = Path(name)
    if direct.suffix == ".toml" and direct.is_file():
        return direct
    for folder in recipe_folders(kind):
        if (file := folder / f"{name}.toml").is_file():
            return file
    known = list_recipes(kind)
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known recipes: {', '.join(known)}"
    raise RecipeError(f"expected a recipe's name or a TOML file, got {name!r}: {hint}")


def load_recipe(
    kind: Kind, name: str, recipe_type: type[RecipeType], changes: Mapping[str, str] | None = None
) -> RecipeType:
    """Read and validate a recipe.

    Args:
        changes: values by dotted key that take the place of the file's ("fusion.kind": "concat"); written as in TOML,
            where a bare word is a string.

    Raises:
        RecipeError: not found, not TOML, a key that is unknown or missing, or a value of the wrong kind.

    Example:
        >>> load_recipe("export", "taemi-tiny", ModelRecipe).name
        'taemi-tiny'
    """
    file = find_recipe(kind, name)
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file}: expected TOML, got {error}") from error
    for key, value in (changes or {}).items():
        change_key(content, key, value)
    return recipe_from_mapping(content, recipe_type, str(file))


def recipe_from_mapping(content: object, recipe_type: type[RecipeType], where: str) -> RecipeType:
    """Validate what TOML or JSON gave; an unknown key is answered with the nearest known one."""
    try:
        return msgspec.convert(content, recipe_type)
    except msgspec.ValidationError as error:
        raise RecipeError(f"{where}: {_explain(str(error), recipe_type)}") from error


def recipe_hash(recipe: Frozen) -> str:
    """The sha256 of a recipe's values: comments and the order of keys do not count."""
    return hashlib.sha256(msgspec.json.encode(recipe, order="sorted")).hexdigest()


def change_key(content: dict[str, Any], key: str, value: str) -> None:
    """Set a dotted key; tables that are not there are made, so that an unknown one is named by the validation."""
    *tables, last = key.split(".")
    for table in tables:
        content = content.setdefault(table, {})
        if not isinstance(content, dict):
            raise RecipeError(f"--set {key}={value}: {table} is a value, not a table: it has no key of its own")
    try:
        content[last] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        content[last] = value


def _explain(message: str, recipe_type: type[Frozen]) -> str:
    """msgspec's words, with the nearest known key where one is unknown."""
    unknown = re.search(r"unknown field `([^`]*)`", message)
    if not unknown:
        return message
    path = re.search(r"`\$\.?([^`]*)`$", message)
    known: Any = recipe_type
    for step in path.group(1).split(".") if path and path.group(1) else []:
        known = next(f.type for f in msgspec.structs.fields(known) if f.name == step)
    keys = [field.name for field in msgspec.structs.fields(known)]
    near = difflib.get_close_matches(unknown.group(1), keys, 1)
    return f"{message}: did you mean `{near[0]}`?" if near else f"{message}: known keys are {', '.join(keys)}"

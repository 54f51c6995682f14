"""Finding and reading recipes: the TOML files in `export/`, `calibration/` and `engines/` that people edit.

A recipe's name is tried as a path first, then looked up among the recipes that ship with the package.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from taemi_edge.bundle.json_files import values_problem
from taemi_edge.bundle.limits import MOST_TOML_BYTES
from taemi_edge.bundle.values import Frozen
from taemi_edge.errors import RecipeError, expected_one_of, nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RecipeKind = Literal["export", "calibration", "engines"]
RecipeType = TypeVar("RecipeType", bound=Frozen)


def recipe_folders(kind: RecipeKind) -> list[Path]:
    """The folders that hold recipes of a kind: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    return [folder for folder in (package / "recipes" / kind, package.parent / kind) if folder.is_dir()]


def list_recipes(kind: RecipeKind) -> list[str]:
    """The names of all recipes that ship, sorted.

    >>> "taemi-tiny" in list_recipes("export")
    True
    """
    return sorted({file.stem for folder in recipe_folders(kind) for file in folder.glob("*.toml")})


def find_recipe(kind: RecipeKind, name: str) -> Path:
    """Find the file of a recipe.

    Args:
        kind: the folder of the recipe.
        name: the path of a TOML file, or the name of a recipe that ships.

    Raises:
        RecipeError: there is neither; the message names the recipes that exist.

    Example:
        >>> find_recipe("engines", "cpu").name
        'cpu.toml'
    """
    direct = Path(name)
    if direct.suffix == ".toml" and os.path.isfile(direct):  # unlike pathlib, it takes names that no file system has
        return direct
    for folder in recipe_folders(kind):
        if os.path.isfile(file := folder / f"{name}.toml"):
            return file
    known = list_recipes(kind)
    hint = nearest(name, known) or f": known recipes: {', '.join(known)}"
    raise RecipeError(f"expected a recipe's name or a TOML file, got {name!r:.300}{hint}")


def load_recipe(
    kind: RecipeKind, name: str, recipe_type: type[RecipeType], changes: Mapping[str, str] | None = None
) -> RecipeType:
    """Read and validate a recipe.

    Args:
        kind: the folder of the recipe.
        name: the path of a TOML file, or the name of a recipe that ships.
        recipe_type: the frozen class of this kind of recipe.
        changes: values by dotted key that replace those of the file ("fusion.kind": "concat"). They are written as in
            TOML; a bare word is a string.

    Raises:
        RecipeError: the recipe is not found or not TOML, a key is unknown or missing, or a value has the wrong type.

    Example:
        >>> class Clips(Frozen, frozen=True):
        ...     clips: int
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "mine.toml")
        ...     _ = file.write_text("clips = 64")
        ...     load_recipe("calibration", str(file), Clips, {"clips": "8"}).clips
        8
    """
    file = find_recipe(kind, name)
    content = read_toml(file)
    for key, value in (changes or {}).items():
        change_key(content, key, value)
    return recipe_from_mapping(content, recipe_type, str(file))


def read_toml(file: Path) -> dict[str, Any]:
    """Read a TOML file as plain values.

    Raises:
        RecipeError: it cannot be read, or is not TOML.
    """
    try:
        with file.open("rb") as stream:
            raw = stream.read(MOST_TOML_BYTES + 1)
        if len(raw) > MOST_TOML_BYTES:
            raise RecipeError(f"{file}: expected TOML of at most {MOST_TOML_BYTES:,} bytes, got more")
        content: dict[str, Any] = tomllib.loads(raw.decode("utf-8"))
    except OSError as error:
        raise RecipeError(f"{file}: expected a TOML file: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, thousands of digits or of brackets
        raise RecipeError(f"{file}: expected TOML, got {error!s:.200}") from error
    if problem := values_problem(content):
        raise RecipeError(f"{file}: {problem}")
    return content


def recipe_from_mapping(content: object, recipe_type: type[RecipeType], where: str) -> RecipeType:
    """Validate what was read from TOML or JSON.

    Args:
        content: the decoded values.
        recipe_type: the frozen class that they must fit.
        where: what the error message calls their place: a file, or a key of one.

    Raises:
        RecipeError: a key is unknown (the message names the nearest known one) or missing, or a value does not fit.
    """
    try:
        return msgspec.convert(content, recipe_type)
    except msgspec.ValidationError as error:
        raise RecipeError(f"{where}: {_explain(str(error), recipe_type)}") from error


def recipe_hash(recipe: Frozen) -> str:
    """Give the sha256 of a recipe's values as hexadecimal digits; comments and the order of keys do not count."""
    return hashlib.sha256(msgspec.json.encode(recipe, order="sorted")).hexdigest()


def change_key(content: dict[str, Any], key: str, value: str) -> None:
    """Set the value of a dotted key, as `--set KEY=VALUE` does.

    Missing tables are made: the validation that follows names those that are unknown.

    Args:
        content: the decoded TOML, which is changed.
        key: such as "fusion.kind".
        value: written as in TOML; what is not TOML is a string.

    Raises:
        RecipeError: a part of the key is a value, so it has no keys of its own.

    Example:
        >>> content = {"clips": 64}
        >>> change_key(content, "budget.pearson", "0.9")
        >>> content
        {'clips': 64, 'budget': {'pearson': 0.9}}
    """
    *tables, last = key.split(".")
    for table in tables:
        content = content.setdefault(table, {})
        if not isinstance(content, dict):
            raise RecipeError(f"--set {key}={value}: {table} is a value, not a table: it has no key of its own")
    try:
        content[last] = tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError, KeyError):
        content[last] = value
    if problem := values_problem(content[last]):
        raise RecipeError(f"--set {key}={value:.80}: {problem}")


def recipe_keys(recipe_type: type[Frozen], under: str = "") -> dict[str, Any]:
    """Give every dotted key that a recipe may have, with the type of its value; tables are keys, too.

    Args:
        recipe_type: the frozen class of the recipe.
        under: what stands before each key, with its dot.

    Example:
        >>> from taemi_edge.bundle.spec import WindowSpec
        >>> list(recipe_keys(WindowSpec))
        ['length_s', 'hop_s']
    """
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(recipe_type):
        kind = _inside(recipe_type, field.name)
        found[under + field.name] = kind
        if _is_frozen(kind):
            found |= recipe_keys(kind, f"{under}{field.name}.")
    return found


def _explain(message: str, recipe_type: type[Frozen]) -> str:
    """Give msgspec's message; where a key or a choice is unknown, add the known ones and the nearest of them.

    A key or a choice that is no word is not repeated: it may be an address with its password, in a wrong place.
    """
    path = re.search(r"`(key in )?\$\.?([^`]*)`$", message)
    known: Any = recipe_type
    for step in re.findall(r"\[[^]]*\]|[^.[]+", path.group(2)) if path else []:
        known = _inside(known, step)
    if path and path.group(1):
        known = next(iter(get_args(known)), None)
    if found := re.match(r"Invalid enum value (?:'(.*?)'|(\S+))(?= - at|$)", message, re.DOTALL):
        return _explain_choice(found[1] or found[2], path.group(2) if path else "", _choices(known))
    unknown = re.search(r"unknown field `(.*?)`(?= - at|$)", message, re.DOTALL)
    if not unknown:
        return message
    if not re.fullmatch(r"[\w.-]{1,60}", unknown[1]):
        message = message.replace(unknown[1], "...")
    if not _is_frozen(known):
        return message
    keys = [field.name for field in msgspec.structs.fields(known)]
    near = difflib.get_close_matches(unknown.group(1), keys, 1)
    return f"{message}: did you mean `{near[0]}`?" if near else f"{message}: known keys are {', '.join(keys)}"


def _explain_choice(word: str, key: str, choices: Sequence[str]) -> str:
    """Say which values a key may have, what came, and which one was probably meant."""
    if not choices:
        return f"{key or 'a value'}: expected another value"
    return f"{key} {expected_one_of(choices, word)}".lstrip()


def _choices(known: Any) -> tuple[str, ...]:
    """The values of a Literal, wherever it stands in a type: alone, beside None, or as what a list or a table holds.

    >>> _choices(Literal["a", "b"] | None)
    ('a', 'b')
    """
    if get_origin(known) is Literal:
        return tuple(choice for inner in get_args(known) for choice in (_choices(inner) or (str(inner),)))
    return tuple(choice for inner in get_args(known) for choice in _choices(inner))


def _inside(known: Any, step: str) -> Any:
    """The type at a step of msgspec's path: a field's name, or `[...]` for any value of a dictionary or list."""
    if step.startswith("["):
        inner = [kind for kind in get_args(known) if kind is not ...]
        found = inner[-1] if inner else None
    else:
        fields = msgspec.structs.fields(known) if _is_frozen(known) else ()
        found = next((field.type for field in fields if field.name == step), None)
    if isinstance(found, UnionType) or get_origin(found) is Union:
        kinds = [kind for kind in get_args(found) if kind not in (type(None), msgspec.UnsetType)]
        return kinds[0] if len(kinds) == 1 else found
    return found


def _is_frozen(known: Any) -> bool:
    return isinstance(known, type) and issubclass(known, Frozen)

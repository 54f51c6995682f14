"""The settings that a sweep tries: every combination of the values of its axes, or as many as are drawn at random.

A setting that the recipe does not allow, such as a width that the heads do not divide, is left out and told.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from typing import Any

import msgspec
import numpy as np

from taemi_edge.bundle.recipe import change_key, find_recipe, read_toml, recipe_from_mapping
from taemi_edge.errors import RecipeError, UsageError
from taemi_edge.taemi.recipe import ModelRecipe
from taemi_edge.taemi.sweep.axes import Axis

#: More runs than anybody waits for: such a grid is a slip.
MOST_RUNS = 10_000
#: So many draws are made for each setting before a sweep says that there are no more.
_DRAWS_A_SETTING = 50
#: A folder's name shows so much of its setting.
_SHOWN = 80


@dataclass(frozen=True)
class Setting:
    """A recipe with some of its values changed.

    Attributes:
        values: what each key of the sweep is set to, as the recipe holds it.
        recipe: the whole recipe.
    """

    values: dict[str, Any]
    recipe: ModelRecipe

    @property
    def folder(self) -> str:
        """The name of its runs' folder: the same wherever the same keys have the same values.

        Example:
            >>> plan_sweep("taemi-tiny", [Axis(key="fusion.dim", texts=("32",))]).settings[0].folder
            'dim=32_79cbc945'
        """
        key = sha256(msgspec.json.encode(self.values, order="sorted")).hexdigest()[:8]
        words = "_".join(f"{k.rpartition('.')[2]}={shown(v)}" for k, v in sorted(self.values.items())) or "recipe"
        return f"{re.sub(r'[^A-Za-z0-9.=+_-]', '-', words)[:_SHOWN]}_{key}"


@dataclass(frozen=True)
class Plan:
    """What a sweep trains.

    Attributes:
        base: the recipe that every setting changes.
        settings: what is tried.
        axes: what was asked for.
        seeds: how often each setting is trained; the first seed is the recipe's.
        left_out: why combinations are not tried, by their words.
    """

    base: ModelRecipe
    settings: tuple[Setting, ...]
    axes: tuple[Axis, ...]
    seeds: int
    left_out: dict[str, str]

    @property
    def varied(self) -> tuple[str, ...]:
        """The keys that settings differ in."""
        return tuple(axis.key for axis in self.axes if axis.varies)


def plan_sweep(recipe: str, axes: Sequence[Axis], seeds: int = 1, draws: int | None = None, seed: int = 0) -> Plan:
    """Make the settings of a sweep. All are validated before anything is trained.

    Args:
        recipe: a recipe's name or TOML file.
        axes: what is changed.
        seeds: how often each setting is trained.
        draws: how many settings are drawn at random; None takes every combination.
        seed: of the draw. More draws of the same seed begin with the same settings.

    Raises:
        UsageError: a key has two axes, nothing is to be drawn, a range without a draw, or too many runs.
        RecipeError: there is no such recipe, or a value fits in no combination.

    Example:
        >>> plan = plan_sweep("taemi-tiny", [Axis(key="fusion.dim", texts=("16", "32"))])
        >>> [setting.values for setting in plan.settings]
        [{'fusion.dim': 16}, {'fusion.dim': 32}]
    """
    _check(axes, seeds, draws)
    file = find_recipe("export", recipe)
    content = read_toml(file)
    base = recipe_from_mapping(content, ModelRecipe, str(file))
    if draws is None:
        found, left_out = _grid(content, axes, str(file))
    else:
        found, left_out = _drawn(content, axes, draws, seed, str(file))
    return Plan(base, tuple(found), tuple(axes), seeds, left_out)


def shown(value: Any) -> str:
    """A value of a recipe in few letters, as a table shows it.

    >>> shown(0.001), shown(True), shown(["audio", "text"]), shown("concat")
    ('0.001', 'true', '["audio","text"]', 'concat')
    """
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def in_words(values: Mapping[str, Any], keys: Iterable[str] | None = None) -> str:
    """A setting in words; where nothing is changed, it is the recipe as it is.

    >>> in_words({"fusion.dim": 16, "fusion.kind": "concat"})
    'fusion.dim=16 fusion.kind=concat'
    """
    return " ".join(f"{key}={shown(values[key])}" for key in (values if keys is None else keys)) or "the recipe"


def _check(axes: Sequence[Axis], seeds: int, draws: int | None) -> None:
    if seeds < 1:
        raise UsageError(f"expected at least one seed, got {seeds}")
    keys = [axis.key for axis in axes]
    for axis in axes:
        if keys.count(axis.key) > 1:
            raise UsageError(f"--set {axis.key}: expected it once, with all of its values, got it twice")
        if axis.key in ("seed", "name"):
            raise UsageError(
                f"--set {axis.key}: expected a key to compare models in: --seeds sets how many seeds there are"
            )
        if axis.span is not None and draws is None:
            raise UsageError(f"--set {axis.key}: a range needs --random N, or give values with commas between them")
    if draws is not None and not any(axis.varies for axis in axes):
        raise UsageError("--random: expected a range to draw from, such as --set training.learning_rate=1e-4..1e-2")
    if draws is not None and draws < 1:
        raise UsageError(f"--random: expected at least one setting, got {draws}")
    settings = math.prod(len(axis.texts) for axis in axes) if draws is None else draws
    if settings * seeds > MOST_RUNS:
        raise UsageError(
            f"{settings:,} settings with {seeds} seeds are {settings * seeds:,} runs, and a sweep makes at most "
            f"{MOST_RUNS:,}: give fewer values, or draw some of them with --random N"
        )


def _grid(content: Mapping[str, Any], axes: Sequence[Axis], where: str) -> tuple[list[Setting], dict[str, str]]:
    """Every combination, and why some are left out. A value that is in no combination is refused."""
    found: list[Setting] = []
    left_out: dict[str, str] = {}
    problems: dict[tuple[str, str], RecipeError] = {}
    used: set[tuple[str, str]] = set()
    for texts in product(*(axis.texts for axis in axes)):
        chosen = {axis.key: text for axis, text in zip(axes, texts, strict=True)}
        try:
            found.append(_setting(content, chosen, where))
            used |= set(chosen.items())
        except RecipeError as error:
            left_out[in_words(chosen)] = str(error)
            for item in chosen.items():
                problems.setdefault(item, error)
    for (key, text), problem in problems.items():
        if (key, text) not in used:
            raise RecipeError(f"--set {key}={text}: {problem}") from problem
    return found, left_out


def _drawn(
    content: Mapping[str, Any], axes: Sequence[Axis], draws: int, seed: int, where: str
) -> tuple[list[Setting], dict[str, str]]:
    """As many different settings as are asked for; a draw that the recipe does not allow is made again."""
    found: dict[str, Setting] = {}
    problem: RecipeError | None = None
    for chosen in _draws(axes, seed, draws * _DRAWS_A_SETTING):
        try:
            setting = _setting(content, chosen, where)
            found.setdefault(setting.folder, setting)
        except RecipeError as error:
            problem = error
        if len(found) == draws:
            return list(found.values()), {}
    if not found:
        raise RecipeError(f"--random: no draw is a setting that the recipe allows: {problem}") from problem
    few = "no more different settings were found" + (f"; the last that was refused: {problem}" if problem else "")
    return list(found.values()), {f"{draws - len(found)} of {draws} draws": few}


def _draws(axes: Sequence[Axis], seed: int, most: int) -> Iterator[dict[str, str]]:
    random = np.random.default_rng(seed)
    for _ in range(most):
        drawn = {axis.key: axis.draw(random) for axis in sorted(axes, key=lambda axis: axis.key)}
        yield {axis.key: drawn[axis.key] for axis in axes}


def _setting(content: Mapping[str, Any], chosen: Mapping[str, str], where: str) -> Setting:
    changed = deepcopy(dict(content))
    for key, text in chosen.items():
        change_key(changed, key, text)
    recipe = recipe_from_mapping(changed, ModelRecipe, where)
    values = msgspec.to_builtins(recipe)
    return Setting({key: _found(values, key) for key in chosen}, recipe)


def _found(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values

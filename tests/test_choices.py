"""A wrong value of a fixed set names all values, and the one that was probably meant: typed, and in TOML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest
import typer

from taemi_edge.bundle.recipe import recipe_from_mapping
from taemi_edge.bundle.values import Frozen
from taemi_edge.calibration.recipe import CalibrationRecipe
from taemi_edge.cli.help_pages import choices_of, is_argument
from taemi_edge.cli.main import app
from taemi_edge.engines.recipe import TargetRecipe
from taemi_edge.errors import RecipeError
from taemi_edge.live.config import LiveConfig

#: What people write as TOML, where nothing but a device's packages is needed to read it.
ROOTS: tuple[type[Frozen], ...] = (CalibrationRecipe, TargetRecipe, LiveConfig)


def _roots() -> tuple[type[Frozen], ...]:
    try:
        from taemi_edge.export.onnx_model import OnnxModelFile
        from taemi_edge.taemi.recipe import ModelRecipe
    except ImportError:
        return ROOTS
    return (*ROOTS, ModelRecipe, OnnxModelFile)


def _choices(kind: Any) -> list[str]:
    if get_origin(kind) is Literal:
        return [found for inner in get_args(kind) for found in (_choices(inner) or [inner])]
    return []


def _wrongly_spelled(word: str) -> str:
    """A word that is near to another and no choice itself."""
    return f"{word[:-1]}{'x' if word[-1] != 'x' else 'y'}" if len(word) > 3 else f"{word}{word[-1]}"


def _mistakes(kind: Any, depth: int = 0) -> Iterator[tuple[Any, list[str], str]]:
    """Values of a type with one wrong choice in them, the choices, and the word that stands there."""
    if (found := _choices(kind)) and all(isinstance(choice, str) for choice in found):
        longest = max(found, key=len)
        if longest:
            yield _wrongly_spelled(longest), found, longest
        return
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and depth < 6:
        for field in msgspec.structs.fields(kind):
            for value, choices, word in _mistakes(field.type, depth + 1):
                yield {field.name: value}, choices, word
        return
    inner, origin = get_args(kind), get_origin(kind)
    if origin in (list, tuple, set, frozenset):
        for value, choices, word in _mistakes(inner[0], depth + 1):
            yield [value], choices, word
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        for value, choices, word in _mistakes(inner[1], depth + 1):
            yield {"eye": value}, choices, word
        for value, choices, word in _mistakes(inner[0], depth + 1):
            yield {value: 1}, choices, word
    elif inner:
        structs = [part for part in inner if part is not type(None) and part is not msgspec.UnsetType]
        if len(structs) == 1:
            yield from _mistakes(structs[0], depth + 1)


def _cases() -> list[Any]:
    return [
        pytest.param(root, *case, id=f"{root.__name__}-{re.sub('[^a-z0-9_]+', '.', str(case[0]).lower())}")
        for root in _roots()
        for case in _mistakes(root)
    ]


@pytest.mark.parametrize(("root", "content", "choices", "meant"), _cases())
def test_a_wrong_choice_in_toml_names_all_and_the_nearest(root, content, choices, meant: str):
    with pytest.raises(RecipeError) as caught:
        recipe_from_mapping(content, root, "mine.toml")
    said = str(caught.value)
    assert said.startswith("mine.toml: ")
    assert all(choice in said for choice in choices), said
    assert f"did you mean {meant!r}?" in said


def test_there_are_such_keys():
    assert len(_cases()) > 15


def _typed_choices() -> list[Any]:
    group: Any = typer.main.get_command(app)
    return [
        pytest.param(name, parameter.opts[0], choices_of(parameter), id=f"{name} {parameter.opts[0]}")
        for name, command in group.commands.items()
        for parameter in command.params
        if not is_argument(parameter) and choices_of(parameter)
    ]


@pytest.mark.parametrize(("command", "flag", "choices"), _typed_choices())
def test_a_wrong_choice_that_is_typed_names_all_and_the_nearest(cli_here, command: str, flag: str, choices):
    meant = max(choices, key=len)
    done = cli_here(command, flag, _wrongly_spelled(meant))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert all(choice in done.stderr for choice in choices), done.stderr
    assert f"did you mean {meant!r}?" in done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("bench b --against openvno", "did you mean 'openvino'?"),
        ("calibrate b --data d --also bf61", "expected bf16 or fp8"),
        ("build-engine b --target jetson-orin-nan", "did you mean 'jetson-orin-nano'?"),
        ("build-engine b --target cpu --set backend=tensort", "did you mean 'tensorrt'?"),
        ("build-engine b --target cpu --set bakend=tensorrt", "did you mean `backend`?"),
        ("export taemi-moble", "did you mean 'taemi-mobile'?"),
        ("init taemi-moble", "did you mean 'taemi-mobile'?"),
        ("train taemi-tiny --data d --set fusion.kind=concatt", "did you mean 'concat'?"),
        ("train taemi-tiny --data d --set training.los=mse", "did you mean `loss`?"),
        ("sweep taemi-tiny --data d --log tensorbord", "did you mean 'tensorboard'?"),
        ("ablate --variant fulll --output a.md", "did you mean 'full'?"),
        ("evaluate m --data d --split tests", "did you mean 'test'?"),
        ("extract m --data d --output o --split trian", "did you mean 'train'?"),
        ("run b --config {toml}", "did you mean 'tensorrt'?"),
        ("run b a.mp4 --set device=tensort", "did you mean 'tensorrt'?"),
        ("run b a.mp4 --set devise=cpu", "did you mean `device`?"),
        ("rum b", "did you mean 'run'?"),
        ("run b --devise cpu", "did you mean '--device'?"),
    ],
)
def test_words_of_other_sets(cli_here, tmp_path, words: str, expected: str):
    if words.split()[0] in ("calibrate", "export", "init", "train", "sweep", "ablate"):
        pytest.importorskip("torch", reason="these commands need the extra `export` before they read a word")
    (tmp_path / "b").mkdir()
    (tmp_path / "a.mp4").touch()
    (tmp_path / "live.toml").write_text('device = "tensort"')
    typed = words.format(toml=tmp_path / "live.toml").split()
    done = cli_here(*typed, cwd=tmp_path)
    assert done.returncode == 2
    assert expected in done.stderr.splitlines()[-1]

"""Imports the function of a user's own that declares a model: `file.py:function` or `package.module:function`.

This is the only place that runs code of the user's, and only because the command names it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from taemi_edge.errors import ContractError, TaemiError
from taemi_edge.export.contract import Model


def names_a_function(argument: str) -> bool:
    """Whether an argument is written as `file.py:function` or `package.module:function`.

    >>> names_a_function("mine.py:build"), names_a_function("export/taemi-tiny")
    (True, False)
    """
    place, colon, function = argument.rpartition(":")
    is_module = all(piece.isidentifier() for piece in place.split("."))
    return bool(colon) and function.isidentifier() and (place.endswith(".py") or is_module)


def load_model(argument: str) -> Model:
    """Import a function, call it without arguments, and return the model that it declares.

    Args:
        argument: `file.py:function`, whose folder is put on the path, or `package.module:function`.

    Raises:
        ContractError: there is no such file, module or function, the code raises, or what it gives is no `Model`.
    """
    place, _, name = argument.rpartition(":")
    module = _imported(place, argument)
    function = getattr(module, name, None)
    if not callable(function):
        known = [
            key
            for key, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", "") == module.__name__
        ]
        raise ContractError(f"{argument}: expected a function {name!r} in {place}, found {', '.join(known) or 'none'}")
    model = _run(function, argument, f"{name}() raised")
    if not isinstance(model, Model):
        raise ContractError(f"{argument}: expected {name}() to return a taemi_edge.Model, got a {type(model).__name__}")
    return model


def _imported(place: str, argument: str) -> ModuleType:
    if not place.endswith(".py"):
        _put_on_path(Path.cwd())
        module: ModuleType = _run(lambda: importlib.import_module(place), argument, "importing it raised")
        return module
    file = Path(place).resolve()
    if not file.is_file():
        raise ContractError(f"{argument}: expected a Python file at {place}, found nothing there")
    _put_on_path(file.parent)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ContractError(f"{argument}: expected a Python file at {place}")
    found = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = found  # dataclasses and pickle look their module up by name
    _run(lambda: spec.loader.exec_module(found), argument, "importing it raised")
    return found


def _put_on_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _run(call: Any, argument: str, what: str) -> Any:
    """Run code of the user's; whatever it raises becomes one sentence that names the line."""
    try:
        return call()
    except TaemiError as error:
        raise ContractError(f"{argument}: {error}") from error
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        where = f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else "unknown place"
        if isinstance(error, SyntaxError) and error.filename:
            where = f"{Path(error.filename).name}, line {error.lineno}"
        said = (str(error).splitlines() or [""])[0][:200]
        raise ContractError(f"{argument}: {what} {type(error).__name__}: {said} ({where})") from error

"""Imports a function of the user's own: `file.py:function` or `package.module:function`.

This is the only place that imports code of the user's, and only because the command names it.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from taemi_edge.errors import ContractError
from taemi_edge.export.contract import Model
from taemi_edge.export.guarded import run_guarded


def names_a_function(argument: str) -> bool:
    """Whether an argument is written as `file.py:function` or `package.module:function`.

    >>> names_a_function("mine.py:build"), names_a_function("export/taemi-tiny")
    (True, False)
    """
    place, colon, function = argument.rpartition(":")
    is_module = all(piece.isidentifier() for piece in place.split("."))
    return bool(colon) and function.isidentifier() and (place.endswith(".py") or is_module)


def load_function(argument: str) -> Callable[..., Any]:
    """Import a file or a module, and give one of its functions.

    Args:
        argument: `file.py:function`, whose folder is put on the path, or `package.module:function`.

    Raises:
        ContractError: there is no such file, module or function, or the code raises while it is imported.

    Example:
        >>> load_function("statistics:median")([1, 2, 9])
        2
    """
    if not names_a_function(argument):
        raise ContractError(f"expected FILE.py:FUNCTION or PACKAGE.MODULE:FUNCTION, got {argument!r}")
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
    found: Callable[..., Any] = function
    return found


def load_model(argument: str) -> Model:
    """Import a function, call it without arguments, and return the model that it declares.

    Args:
        argument: see `load_function`.

    Raises:
        ContractError: there is no such function, it wants arguments or raises, or what it gives is no `Model`.
    """
    function, name = load_function(argument), argument.rpartition(":")[2]
    if wanted := _arguments_of(function):
        raise ContractError(f"{argument}: expected a function without arguments, {name} wants {', '.join(wanted)}")
    model = run_guarded(function, argument, f"{name}() raised")
    if not isinstance(model, Model):
        what = "nothing" if model is None else f"a {type(model).__name__}"
        raise ContractError(f"{argument}: expected {name}() to return a taemi_edge.Model, got {what}")
    return model


def _arguments_of(function: Callable[..., Any]) -> list[str]:
    """The arguments that a function cannot be called without."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # functions of C
        return []
    many = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is inspect.Parameter.empty and p.kind not in many]


def _imported(place: str, argument: str) -> ModuleType:
    what = "importing it raised"
    if not place.endswith(".py"):
        _put_on_path(Path.cwd())
        return run_guarded(lambda: importlib.import_module(place), argument, what)
    file = Path(place).resolve()
    if not file.is_file():
        raise ContractError(f"{argument}: expected a Python file at {place}, found nothing there")
    _put_on_path(file.parent)
    name = f"taemi_edge_user_{file.stem}"  # so that a file called `metrics.py` hides no module of that name
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ContractError(f"{argument}: expected a Python file at {place}")
    loader, module = spec.loader, importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up by name
    try:
        run_guarded(lambda: loader.exec_module(module), argument, what)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _put_on_path(folder: Path) -> None:
    """What lies beside the user's code can be imported by it, also while it runs."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

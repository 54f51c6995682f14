"""Loading a function that the user names on the command line; nothing else ever imports the user's code."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from taemi_edge.errors import UsageError


def load_function(place: str) -> Callable[..., Any]:
    """Import a file or a module, and give one of its functions.

    Args:
        place: `FILE.py:FUNCTION` or `PACKAGE.MODULE:FUNCTION`.

    Raises:
        UsageError: there is no such file, module or function, or the user's code raises while it is imported.

    Example:
        >>> load_function("statistics:median")([1, 2, 9])
        2
    """
    where, _, name = place.rpartition(":")
    if not where or not name.isidentifier():
        raise UsageError(f"expected FILE.py:FUNCTION or PACKAGE.MODULE:FUNCTION, got {place!r}")
    module = _import(where)
    found = getattr(module, name, None)
    if not callable(found):
        raise UsageError(f"{where}: expected a function {name!r}, found none")
    function: Callable[..., Any] = found
    return function


def _import(where: str) -> ModuleType:
    file = Path(where)
    if file.suffix == ".py" and not file.is_file():
        raise UsageError(f"{where}: expected a Python file, found none")
    beside = str(file.parent.resolve()) if file.suffix == ".py" else str(Path.cwd())
    sys.path.insert(0, beside)  # what lies beside the user's file can be imported by it
    try:
        return _import_file(file) if file.suffix == ".py" else importlib.import_module(where)
    except Exception as error:
        raise UsageError(f"{where}: importing it raised {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(beside)


def _import_file(file: Path) -> ModuleType:
    name = f"taemi_edge_user_{file.stem}"  # so that a file called `metrics.py` hides no module of that name
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{file}: expected a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module

"""Loads a file of an example as its users do: its folder comes first on the path, and its name does not stay."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

EXAMPLES = Path(__file__).parents[2] / "examples"


def load_example(name: str, file: str = "model.py") -> ModuleType:
    """The module of a file of `examples/NAME`. Several examples have a `model.py`, so none stays in `sys.modules`."""
    path = EXAMPLES / name / file
    spec = importlib.util.spec_from_file_location(f"examples_{name.replace('-', '_')}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
        sys.modules.pop("model", None)
    return module

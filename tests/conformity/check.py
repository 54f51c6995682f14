"""Holds the project's source against versions of a library: python -m tests.conformity.check < JSON > JSON.

What is read is a list of versions: the name of the module to import, the folder that it lies in, and the stub libraries
that it is linked to. Each is imported in a child of this process, since they have one name. The source is read once.
"""

from __future__ import annotations

import ctypes
import importlib
import inspect
import json
import sys
import warnings
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.conformity.interpreter import interpret
from tests.conformity.program import Program, read_program
from tests.conformity.pycuda_source import module_from_source
from tests.conformity.warnings_of import warning_of

#: The name by which the project's source calls the library of a module.
_LIBRARIES = {"tensorrt_bindings": "tensorrt", "tensorrt_rtx_bindings": "tensorrt", "cuda.bindings.driver": "cuda"}
_program: Program


def main() -> None:
    global _program
    versions = json.load(sys.stdin)
    _program = read_program()
    with get_context("fork").Pool(2, maxtasksperchild=1) as pool:
        json.dump(pool.map(_checked, versions, chunksize=1), sys.stdout)


def _checked(version: dict[str, Any]) -> dict[str, Any]:
    warnings.simplefilter("error")
    if version["module"] == "pycuda.driver":
        name, module = "pycuda", module_from_source(Path(version["folder"]))
    else:
        name, module = _LIBRARIES[version["module"]], _imported(version)
    tables = interpret(_program, {name: module})
    problems = list(tables.problems)
    if name == "tensorrt":
        problems += _warned(module, tables.used)
    used = sorted(tables.used)
    return {"version": getattr(module, "__version__", ""), "problems": problems, "used": used, "guards": tables.guards}


def _imported(version: dict[str, Any]) -> ModuleType:
    if version["folder"]:
        sys.path.insert(0, version["folder"])
    for library in version["stubs"]:
        ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
    return importlib.import_module(version["module"])


def _warned(module: ModuleType, used: set[str]) -> list[str]:
    """What the project uses of a version and that version warns of."""
    found = []
    for whole in sorted(used):
        owner, _, name = whole.partition(".")
        kind = getattr(module, owner, None)
        if inspect.isclass(kind) and not hasattr(kind, "__members__") and not name.startswith("__"):
            said = warning_of(module, kind, name)
            found += [f"{whole} warns: {said}"] if said else []
    return found


if __name__ == "__main__":
    main()

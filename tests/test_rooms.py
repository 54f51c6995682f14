"""The order of rooms: which package may import which, and which of them may import PyTorch.

`ROOMS` is the one table of the order; ARCHITECTURE.md shows the same table to people, and a test compares the two.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "taemi_edge"

#: A module imports only modules of its own room and of rooms before it, whether at its top or inside a function.
ROOMS = (
    "errors",
    "pages",
    "progress",
    "palette",
    "pictures",
    "bundle",
    "media",
    "runtime",
    "parity",
    "live",
    "loaded_model",
    "corpora",
    "export",
    "calibration",
    "engines",
    "fleet",
    "scale",
    "taemi",
    "bench",
    "cli",
)
#: Libraries that a device does not have.
HEAVY = {"torch", "transformers", "onnx", "matplotlib", "faster_whisper", "espeakng_loader"}
#: Rooms whose modules may import them at their top; `bench` has contenders that are made of PyTorch.
WORKSHOP_ROOMS = {"export", "calibration", "taemi"}
WORKSHOP_MODULES = {"taemi_edge.bench.torch_model", "taemi_edge.bench.costs"}


def _modules() -> dict[str, ast.Module]:
    """Every module of the package by its dotted name."""
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(file.read_text(encoding="utf-8"))
    return found


MODULES = _modules()


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _statements(tree: ast.AST, lazily: bool) -> list[ast.stmt]:
    """The import statements of a module: all of them, or only those that run when it is imported."""
    found: list[ast.stmt] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found.append(node)
        elif lazily or not (isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or _is_type_checking(node)):
            found += _statements(node, lazily)
    return found


def _imported(name: str, lazily: bool = True) -> set[str]:
    """The modules that a module imports; a name that is no module stands for the module that it comes from."""
    names: set[str] = set()
    for node in _statements(MODULES[name], lazily):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {
                full if (full := f"{node.module}.{alias.name}") in MODULES else node.module for alias in node.names
            }
    return names - {name}


def _room(module: str) -> str:
    """The room of a module of ours, "" for the package's own front door."""
    return module.split(".")[1] if "." in module else ""


def _own(modules: set[str]) -> set[str]:
    return {module for module in modules if module.partition(".")[0] == "taemi_edge"}


def test_every_module_lies_in_a_room():
    outside = {name for name in MODULES if _room(name) not in (*ROOMS, "", "__main__")}
    assert outside == set(), "a module lies in no room: put it into one, or add the room to ROOMS"


def test_a_room_imports_only_rooms_before_it():
    wrong = {
        (name, other)
        for name in MODULES
        if _room(name) in ROOMS
        for other in _own(_imported(name))
        if _room(other) in ROOMS and ROOMS.index(_room(other)) > ROOMS.index(_room(name))
    }
    assert wrong == set()


def test_no_module_imports_itself_in_a_circle():
    # the front door imports what it offers only when a name is first used
    inside = set(MODULES) - {"taemi_edge"}
    imports = {name: _own(_imported(name)) & inside for name in inside}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name)) if name in path else ""
        if name not in done:
            for other in sorted(imports[name]):
                visit(other, (*path, name))
            done.add(name)

    for name in sorted(inside):
        visit(name, ())


def _reached_at_import(name: str) -> set[str]:
    """Everything that importing a module imports, ours and others', as far as our own sources tell."""
    reached, waiting = {name}, [name]
    while waiting:
        for other in _imported(waiting.pop(), lazily=False):
            packages = {other.rsplit(".", up)[0] for up in range(other.count(".") + 1)}
            for each in (packages & set(MODULES) or {other.partition(".")[0]}) - reached:
                reached.add(each)
                waiting += [each] if each in MODULES else []
    return reached


DEVICE_MODULES = sorted(
    name
    for name in MODULES
    if _room(name) not in WORKSHOP_ROOMS and name not in {*WORKSHOP_MODULES, "taemi_edge.__main__"}
)


def test_device_rooms_import_nothing_heavy():
    assert len(DEVICE_MODULES) > 80
    heavy = {name: found for name in DEVICE_MODULES if (found := _reached_at_import(name) & HEAVY)}
    assert heavy == {}


@pytest.mark.skipif(find_spec("torch") is None, reason="nothing heavy is installed here that could be imported")
def test_device_rooms_import_nothing_heavy_in_a_fresh_interpreter():
    optional = {
        "prometheus_client",
        "starlette",
        "uvicorn",
        "paho",
        "gi",
        "oras",
        "requests",
        "urllib3",
        "triton_python_backend_utils",  # only the stub of Triton's Python backend has it
    }  # of extras: they may be missing
    script = (
        "import importlib, sys\n"
        f"for name in {DEVICE_MODULES!r}:\n"
        "    try: importlib.import_module(name)\n"
        "    except ModuleNotFoundError as error:\n"
        f"        assert error.name.partition('.')[0] in {optional!r}, error\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & HEAVY


def test_the_architecture_page_has_the_same_table():
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("\n## Rooms\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z_]+)(?:\.py|/)` \|", page, re.MULTILINE)
    assert tuple(rows) == ROOMS

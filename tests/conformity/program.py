"""The project's own source: its modules, functions and classes, and what its annotations name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Where the project may meet a library: the package, and the tools that measure on a GPU.
_FOLDERS = (ROOT / "taemi_edge", ROOT / "tools")
#: Modules that imitate a library: that a name is theirs too does not make it the project's own.
_IMITATIONS = ("taemi_edge.bench.host.idle_device",)
#: A module that imports one of these may hold an object of a library.
_BEGINNINGS = ("taemi_edge.runtime.tensorrt", "taemi_edge.engines.compiler")
_LIBRARIES = ("tensorrt", "tensorrt_rtx", "pycuda", "cuda")
#: Where a module may import a library.
_IMPORT = re.compile(rf"(?:import|from|import_module\(\"?)\s*(?:{'|'.join(_LIBRARIES)})\b")
#: What a module defines: functions, classes, annotated names and attributes.
_DEFINED = re.compile(r"^\s*(?:def|class) (\w+)|^\s*(\w+): |\bself\.(\w+)(?:: [^=\n]+)? = ", re.MULTILINE)


@dataclass
class Function:
    """A function or a method.

    Attributes:
        name: with its module and its class.
        module: that it lies in.
        owner: the class of a method, by its full name.
    """

    name: str
    module: Module
    node: ast.FunctionDef
    owner: str = ""

    @property
    def is_property(self) -> bool:
        return any(isinstance(d, ast.Name) and d.id == "property" for d in self.node.decorator_list)

    @property
    def is_public(self) -> bool:
        return not self.node.name.startswith("_") or self.node.name.endswith("__")

    @property
    def is_static(self) -> bool:
        return any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in self.node.decorator_list)


@dataclass
class Module:
    """One file of the package.

    Attributes:
        names: what a name of the module stands for, by its full name.
        aliases: the right-hand sides of assignments at the top of the module.
        libraries: the names under which the module imports a library for its annotations.
    """

    name: str
    file: Path
    tree: ast.Module
    names: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, ast.expr] = field(default_factory=dict)
    libraries: dict[str, str] = field(default_factory=dict)


@dataclass
class Program:
    """Every module in which an object of a library may turn up."""

    modules: dict[str, Module] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    classes: dict[str, ast.ClassDef] = field(default_factory=dict)
    class_modules: dict[str, Module] = field(default_factory=dict)
    #: Every attribute, function and method that the project itself defines.
    own_names: set[str] = field(default_factory=set)


def read_program(*folders: Path) -> Program:
    """Read the source, and find what may meet a library."""
    program = Program()
    for file, name in _files(folders):
        text = file.read_text(encoding="utf-8")
        if name not in _IMITATIONS:
            program.own_names |= {name for names in _DEFINED.findall(text) for name in names if name}
        if not name.startswith(_BEGINNINGS) and not any(beginning in text for beginning in _BEGINNINGS):
            continue  # most files need not be parsed
        tree = ast.parse(text)
        if name.startswith(_BEGINNINGS) or any(found.startswith(_BEGINNINGS) for found in _imported(tree)):
            program.modules[name] = _module(name, file, tree)
    for module in program.modules.values():
        _add_definitions(program, module)
    return program


def meeting_places(*folders: Path) -> dict[str, set[str]]:
    """The modules that import a library by its name, and which."""
    found: dict[str, set[str]] = {}
    for file, name in _files(folders):
        text = file.read_text(encoding="utf-8")
        if _IMPORT.search(text):
            imported = _imported(ast.parse(text))
            met = {library for library in _LIBRARIES for i in imported if i == library or i.startswith(f"{library}.")}
            found |= {name: met} if met else {}
    return found


def _files(folders: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """The modules in folders, each with its full name."""
    for folder in folders or _FOLDERS:
        for file in sorted(folder.rglob("*.py")):
            parts = file.relative_to(folder.parent).with_suffix("").parts
            yield file, ".".join(parts).removesuffix(".__init__")


def _imported(tree: ast.Module) -> list[str]:
    """The modules that a module imports, at its top, in a function, or by `importlib.import_module`."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            found += [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    return found


def _module(name: str, file: Path, tree: ast.Module) -> Module:
    module = Module(name, file, tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("taemi_edge"):
            module.names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        if isinstance(node, ast.Import):
            known = [alias for alias in node.names if alias.name in _LIBRARIES]
            module.libraries |= {alias.asname or alias.name: alias.name for alias in known}
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            module.names[node.name] = f"{name}.{node.name}"
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            module.aliases[node.targets[0].id] = node.value
    return module


def _add_definitions(program: Program, module: Module) -> None:
    for node in module.tree.body:
        if isinstance(node, ast.FunctionDef):
            name = f"{module.name}.{node.name}"
            program.functions[name] = Function(name, module, node)
        if isinstance(node, ast.ClassDef):
            owner = f"{module.name}.{node.name}"
            program.classes[owner], program.class_modules[owner] = node, module
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef):
                    name = f"{owner}.{inner.name}"
                    program.functions[name] = Function(name, module, inner, owner)

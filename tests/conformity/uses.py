"""Uses of a library in the project's source: each is looked up in the library itself."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from tests.conformity.program import Function, Module, Program
from tests.conformity.values import (
    ORDINARY,
    Instance,
    Many,
    Method,
    OurCallable,
    Ours,
    Real,
    Several,
    Value,
    one,
    signatures_of,
)

#: What is called on the `base` of a NumPy array, which the library made: no value leads there.
_BY_HAND = {"get_device_pointer"}
Names = dict[str, Value]
#: What a value is known of: "attribute", "parameter" or "result", and the names of its class or function. Under
#: "reached" are the functions that something refers to.
Key = tuple[str, ...]


@dataclass
class Tables:
    """What is known of the whole program.

    Each pass over the source reads what the pass before it found, and writes its own. What an early pass takes for
    ordinary is known better later.

    Attributes:
        known: the values of attributes, parameters and results that the pass before found.
        found: those that this pass finds.
        used: what is used of the library, "Class.name".
        guards: what each `hasattr` and each `getattr` with a default said, by its place.
        telling: names that belong to classes of the library alone.
    """

    known: dict[Key, Value] = field(default_factory=dict)
    found: dict[Key, Value] = field(default_factory=dict)
    problems: dict[str, None] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    guards: dict[str, bool] = field(default_factory=dict)
    telling: frozenset[str] = frozenset()

    def join(self, key: Key, value: Value) -> None:
        self.found[key] = self.found.get(key, frozenset()) | value

    def next_pass(self) -> bool:
        """Begin the next pass; False where the last one found nothing new."""
        if self.found == self.known:
            return False
        self.known, self.found = self.found, {}
        for kept in (self.problems, self.used, self.guards):
            kept.clear()
        return True


class Uses:
    """The uses of a library in one function.

    Args:
        program: the source.
        libraries: the library that is held against, by its name; others are ordinary.
        tables: what is known so far.
        function: in which they are.
        names: the values of its local names.
    """

    def __init__(
        self, program: Program, libraries: dict[str, ModuleType], tables: Tables, function: Function, names: Names
    ) -> None:
        self.program, self.libraries, self.tables, self.function, self.names = (
            program, libraries, tables, function, names,
        )  # fmt: skip
        self.module: Module = function.module

    def problem(self, node: ast.AST, words: str) -> None:
        place = f"{self.module.file.relative_to(self.module.file.parents[self.module.name.count('.')])}"
        self.tables.problems[f"{place}:{getattr(node, 'lineno', 0)}: {words}"] = None

    def attribute(self, value: Value, name: str, node: ast.AST, required: bool = True) -> Value:
        """The attribute of a value; one that this version lacks is a problem, if it is `required`."""
        found: Value = frozenset()
        for atom in value:
            if isinstance(atom, Real):
                found |= self._of_class(atom.content, name, node, required)
            elif isinstance(atom, Instance):
                found |= self._of_instance(atom.kind, name, node, required)
            elif isinstance(atom, Ours):
                found |= self._of_ours(atom.kind, name)
            elif isinstance(atom, OurCallable):
                found |= one(OurCallable(f"{atom.name}.{name}"))
            elif value == ORDINARY and name in self.tables.telling:
                self.problem(node, f".{name} is called on something that this test cannot follow")
        return found or ORDINARY

    def _of_class(self, owner: Any, name: str, node: ast.AST, required: bool) -> Value:
        if not hasattr(owner, name):
            if required:
                self.problem(node, f"{getattr(owner, '__name__', owner)} has no {name}")
            return frozenset()
        if inspect.isclass(owner) or inspect.ismodule(owner):
            self.tables.used.add(f"{owner.__name__.rpartition('.')[2]}.{name}")
        return one(Real(getattr(owner, name)))

    def _of_instance(self, owner: type, name: str, node: ast.AST, required: bool) -> Value:
        if not hasattr(owner, name):
            if required:
                self.problem(node, f"{owner.__name__} has no {name}")
            return frozenset()
        self.tables.used.add(f"{owner.__name__}.{name}")
        member = inspect.getattr_static(owner, name)
        if isinstance(member, property):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and member.fset is None:
                self.problem(node, f"{owner.__name__}.{name} cannot be set")
            [signature, *_] = [*signatures_of(member.fget, "", bound=True), None]
            return ORDINARY if signature is None else self.written(signature.returns)
        return one(Method(owner, name))

    def _of_ours(self, owner: str, name: str) -> Value:
        function = self.program.functions.get(f"{owner}.{name}")
        if function is not None:
            self.tables.join(("reached", function.name), ORDINARY)
            if function.is_property:
                return self.tables.known.get(("result", function.name), ORDINARY)
            return one(OurCallable(function.name))
        return self.tables.known.get(("attribute", owner, name), ORDINARY)

    def written(self, text: str) -> Value:
        """What a library's own signature says that comes back, such as "tensorrt_bindings.tensorrt.ILayer"."""
        many = text.lower().startswith(("list[", "tuple["))
        name = text.rstrip("]").rpartition(".")[2]
        for library in self.libraries.values():
            kind = getattr(library, name, None)
            if inspect.isclass(kind):
                of = one(Instance(kind))
                return one(Many(of)) if many else of
        return ORDINARY

    def annotated(self, node: ast.expr | None, module: Module) -> Value:
        """What an annotation of the project says that a name holds."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return self.annotated(ast.parse(node.value, mode="eval").body, module)
        if isinstance(node, ast.Name):
            full = module.names.get(node.id, "")
            if full in self.program.classes:
                return one(Ours(full))
            owner = self.program.modules.get(full.rpartition(".")[0], module)
            alias = owner.aliases.get(node.id)
            return self.annotated(alias, owner) if isinstance(alias, (ast.BinOp, ast.Name)) else ORDINARY
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            library = self.libraries.get(module.libraries.get(node.value.id, ""))
            kind = getattr(library, node.attr, None)
            return one(Instance(kind)) if inspect.isclass(kind) else ORDINARY
        if isinstance(node, ast.BinOp):
            return self.annotated(node.left, module) | self.annotated(node.right, module)
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "tuple" and isinstance(node.slice, ast.Tuple):
            if not any(ast.unparse(element) == "..." for element in node.slice.elts):
                return one(Several(tuple(self.annotated(element, module) for element in node.slice.elts)))
            return one(Many(self.annotated(node.slice.elts[0], module)))
        if isinstance(node, ast.Subscript):
            inner = node.slice.elts[-1] if isinstance(node.slice, ast.Tuple) and node.slice.elts else node.slice
            return one(Many(self.annotated(inner, module)))
        return ORDINARY

    def _call_of_library(self, node: ast.Call, function: Any, kind: Any, name: str, bound: bool) -> Value:
        if inspect.isclass(kind):
            return self._construct(node, kind)
        signatures = signatures_of(function, name, bound)
        problems = [signature.problem(node) for signature in signatures]
        if problems and None not in problems:
            self.problem(node, f"{name} {problems[0]}")
        fitting = [s for s, problem in zip(signatures, problems, strict=True) if problem is None]
        return self.written(fitting[0].returns) if fitting else ORDINARY

    def _construct(self, node: ast.Call, kind: type) -> Value:
        signatures = signatures_of(kind.__init__, "__init__", bound=True)
        problems = [signature.problem(node) for signature in signatures]
        if problems and None not in problems:
            self.problem(node, f"{kind.__name__} {problems[0]}")
        return one(Instance(kind))


def telling_names(libraries: dict[str, ModuleType], program: Program) -> frozenset[str]:
    """The names of the libraries' methods that nothing else has: whatever they are called on is the library's."""
    names = {
        name
        for library in libraries.values()
        for kind in vars(library).values()
        if inspect.isclass(kind)
        for name in vars(kind)
        if not name.startswith("_") and "_" in name
    }
    ordinary = {name for kind in (str, bytes, list, dict, set, int, float, object, bytearray) for name in dir(kind)}
    return frozenset(names - program.own_names - ordinary - _BY_HAND)

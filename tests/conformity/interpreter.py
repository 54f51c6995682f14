"""Walks the project's source once for each function, taking only the branches that one version of a library takes.

What `hasattr` says is known, since the library itself is there. So a name that a version lacks is a problem where that
version would come to it, and none behind a guard.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Sequence
from types import ModuleType

from tests.conformity.expressions import Expressions
from tests.conformity.program import Function, Program
from tests.conformity.uses import Names, Tables, telling_names
from tests.conformity.values import ORDINARY, Constant, Many, Ours, Real, Value, elements, one, signatures_of, truth

_MOST_PASSES = 12


def interpret(program: Program, libraries: dict[str, ModuleType]) -> Tables:
    """Walk the whole program until nothing new is found."""
    tables = Tables(telling=telling_names(libraries, program))
    for _ in range(_MOST_PASSES):
        for name in program.classes:
            _declare(program, libraries, tables, name)
        for name, function in program.functions.items():
            if function.is_public or ("reached", name) in tables.known:
                FunctionWalk(program, libraries, tables, function, {}).run()
        if not tables.next_pass():
            return tables
    raise AssertionError(f"nothing settled after {_MOST_PASSES} passes")


def _declare(program: Program, libraries: dict[str, ModuleType], tables: Tables, owner: str) -> None:
    """Take the annotations of a class for its attributes."""
    module = program.class_modules[owner]
    nowhere = Function("", module, ast.FunctionDef("", ast.arguments([], [], None, [], [], None, []), []))
    expressions = Expressions(program, libraries, tables, nowhere, {})
    for node in program.classes[owner].body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            tables.join(("attribute", owner, node.target.id), expressions.annotated(node.annotation, module))


class FunctionWalk(Expressions):
    """The statements of one function.

    Args:
        names: what a nested function sees of the function around it.
    """

    def __init__(
        self, program: Program, libraries: dict[str, ModuleType], tables: Tables, function: Function, names: Names
    ) -> None:
        super().__init__(program, libraries, tables, function, {**names})
        self._returned: Value = frozenset()

    def run(self) -> Value:
        """Walk the function; its value is what it returns."""
        arguments = self.function.node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        for argument in every:
            known = self.annotated(argument.annotation, self.module)
            handed = self.tables.known.get(("parameter", self.function.name, argument.arg), frozenset())
            self.names[argument.arg] = (known if known != ORDINARY else handed) or ORDINARY
        if self.function.owner and every and not self.function.is_static:
            self.names[every[0].arg] = one(Ours(self.function.owner))
        if arguments.vararg:
            handed = self.tables.known.get(("parameter", self.function.name, arguments.vararg.arg), frozenset())
            self.names[arguments.vararg.arg] = one(Many(handed or ORDINARY))
        for default in (*arguments.defaults, *arguments.kw_defaults):
            self.value(default)
        self.block(self.function.node.body)
        declared = self.annotated(self.function.node.returns, self.module)
        returned = declared if declared != ORDINARY and not self._returned - ORDINARY else self._returned
        if self.function.owner or self.function.name in self.program.functions:
            self.tables.join(("result", self.function.name), returned or ORDINARY)
        return returned or ORDINARY

    def block(self, statements: Sequence[ast.stmt]) -> bool:
        """Walk statements; False where none after them is reached."""
        return all(self.statement(statement) for statement in statements)

    def statement(self, node: ast.stmt) -> bool:
        """Walk one statement; False where it ends the block."""
        if isinstance(node, (ast.Return, ast.Raise, ast.Continue, ast.Break)):
            self._end(node)
            return False
        walk = getattr(self, f"_walk_{type(node).__name__.lower()}", None)
        if walk is not None:
            goes_on: bool = walk(node)
            return goes_on
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.value(child)
            elif isinstance(child, (ast.stmt, ast.match_case, ast.excepthandler)):
                self.problem(node, f"this test cannot follow a statement of the kind {type(node).__name__}")
                return True
        return True

    def _end(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Return):
            self._returned |= self.value(node.value) if node.value is not None else one(Constant(None))
        if isinstance(node, ast.Raise):
            self.value(node.exc)
            self.value(node.cause)

    def _walk_expr(self, node: ast.Expr) -> bool:
        if isinstance(node.value, (ast.Yield, ast.YieldFrom)):
            value = self.value(node.value.value)
            self._returned |= one(Many(value)) if isinstance(node.value, ast.Yield) else value
        else:
            self.value(node.value)
        return True

    def _walk_assign(self, node: ast.Assign) -> bool:
        value = self.value(node.value)
        for target in node.targets:
            self.store(target, value)
        return True

    def _walk_annassign(self, node: ast.AnnAssign) -> bool:
        declared, value = self.annotated(node.annotation, self.module), self.value(node.value)
        known = declared - ORDINARY
        self.store(node.target, (known | (value - ORDINARY)) or ORDINARY)
        return True

    def _walk_if(self, node: ast.If) -> bool:
        true = truth(self.value(node.test))
        before, ends, reached = self.names, [], False
        for body, when in ((node.body, True), (node.orelse, False)):
            if true in (None, when):
                self.names = dict(before)
                if self.block(body):
                    reached = True
                    ends.append(self.names)
        self.names = _joined(ends) if ends else before
        return reached

    def _walk_for(self, node: ast.For) -> bool:
        self.store(node.target, elements(self.value(node.iter)))
        return self._loop(node.body, node.orelse)

    def _walk_while(self, node: ast.While) -> bool:
        self.value(node.test)
        return self._loop(node.body, node.orelse)

    def _loop(self, body: list[ast.stmt], orelse: list[ast.stmt]) -> bool:
        before = dict(self.names)
        for _ in range(2):  # what the end of a turn leaves is there in the next one
            self.block(body)
            self.names = _joined([before, self.names])
        self.block(orelse)
        return True

    def _walk_with(self, node: ast.With) -> bool:
        for item in node.items:
            value = self.value(item.context_expr)
            entered = frozenset().union(*(self._entered(atom) for atom in value)) if value else ORDINARY
            if item.optional_vars is not None:
                self.store(item.optional_vars, entered or ORDINARY)
        return self.block(node.body)

    def _entered(self, atom: object) -> Value:
        if isinstance(atom, Many):  # a generator with @contextmanager
            return atom.of
        if isinstance(atom, Ours):
            return self.tables.known.get(("result", f"{atom.kind}.__enter__"), one(atom))
        return ORDINARY

    def _walk_try(self, node: ast.Try) -> bool:
        before = dict(self.names)
        reached = self.block(node.body) and self.block(node.orelse)
        ends = [self.names] if reached else []
        middle = _joined([before, self.names])
        for handler in node.handlers:
            self.names = dict(middle)
            self.value(handler.type)
            if handler.name:
                self.names[handler.name] = ORDINARY
            if self.block(handler.body):
                reached = True
                ends.append(self.names)
        self.names = _joined(ends) if ends else middle
        return self.block(node.finalbody) and reached

    def _walk_functiondef(self, node: ast.FunctionDef) -> bool:
        inner = Function(f"{self.function.name}.{node.name}", self.module, node)
        FunctionWalk(self.program, self.libraries, self.tables, inner, self.names).run()
        self.names[node.name] = ORDINARY
        return True

    def _walk_classdef(self, node: ast.ClassDef) -> bool:
        for base in node.bases:
            for atom in self.value(base):
                if isinstance(atom, Real) and inspect.isclass(atom.content):
                    self._overrides(node, atom.content)
        for inner in node.body:
            if isinstance(inner, ast.FunctionDef):
                self._walk_functiondef(inner)
        self.names[node.name] = ORDINARY
        return True

    def _overrides(self, node: ast.ClassDef, base: type) -> None:
        """Compare the methods of a class with those of a library's class that it is derived from."""
        for inner in node.body:
            if not isinstance(inner, ast.FunctionDef) or inner.name == "__init__":
                continue
            self.tables.used.add(f"{base.__name__}.{inner.name}")
            if not hasattr(base, inner.name):
                self.problem(inner, f"{base.__name__} has no {inner.name} to be overridden")
                continue
            names = [argument.arg for argument in inner.args.args[1:]]
            wanted = signatures_of(getattr(base, inner.name), inner.name, bound=True)
            if wanted and all(len(signature.parameters) != len(names) for signature in wanted):
                expected = ", ".join(wanted[0].parameters)
                self.problem(
                    inner, f"{base.__name__}.{inner.name} is called with {expected}, and takes {', '.join(names)}"
                )


def _joined(ends: Sequence[Names]) -> Names:
    every = {name for names in ends for name in names}
    return {name: frozenset().union(*(names.get(name, frozenset()) for names in ends)) for name in every}

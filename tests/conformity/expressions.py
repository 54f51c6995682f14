"""Evaluates the project's expressions as far as a library's objects are concerned."""

from __future__ import annotations

import ast
import inspect

from tests.conformity.program import Function
from tests.conformity.uses import Uses
from tests.conformity.values import (
    ORDINARY,
    Constant,
    Instance,
    Many,
    Method,
    Ordinary,
    OurCallable,
    Ours,
    Real,
    Several,
    Value,
    elements,
    is_none,
    is_of_a_library,
    one,
    signatures_of,
    truth,
)

#: Which library the function gives that imports it by a name it is handed.
_IMPORTERS = {"load_library": "tensorrt", "load_cuda": "pycuda", "load_driver": "cuda"}
#: What takes an object of a library and keeps nothing of it.
_HARMLESS = {
    "int",
    "str",
    "bool",
    "bytes",
    "float",
    "len",
    "isinstance",
    "id",
    "repr",
    "print",
    "hasattr",
    "type",
    "super",
}
#: What gives back the elements of what it takes.
_PASSING = {
    *("list", "tuple", "sorted", "reversed", "set", "iter", "dict", "enumerate", "zip"),
    *("next", "filter", "max", "min", "sum", "any", "all"),
}


class Expressions(Uses):
    """The expressions of one function."""

    def value(self, node: ast.expr | None) -> Value:
        """The value of an expression; everything that is used on the way is checked."""
        if node is None:
            return ORDINARY
        evaluate = getattr(self, f"_{type(node).__name__.lower()}", None)
        if evaluate is not None:
            found: Value = evaluate(node)
            return found
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.value(child)
        return ORDINARY

    def _constant(self, node: ast.Constant) -> Value:
        return one(Constant(node.value))

    def _name(self, node: ast.Name) -> Value:
        if node.id in self.names:
            return self.names[node.id]
        if (library := self.module.libraries.get(node.id)) in self.libraries:
            return one(Real(self.libraries[str(library)]))
        full = self.module.names.get(node.id, "")
        if full in self.program.functions or full in self.program.classes:
            self.tables.join(("reached", full), ORDINARY)
            return one(OurCallable(full))
        return ORDINARY

    def _attribute(self, node: ast.Attribute) -> Value:
        return self.attribute(self.value(node.value), node.attr, node)

    def _call(self, node: ast.Call) -> Value:
        if (
            isinstance(node.func, ast.Name)
            and node.func.id in ("hasattr", "getattr")
            and node.func.id not in self.names
        ):
            return self._asked(node, node.func.id)
        if ast.unparse(node.func).endswith("import_module"):
            name = _IMPORTERS.get(self.function.node.name, "")
            return one(Real(self.libraries[name])) if name in self.libraries else ORDINARY
        called = self.value(node.func)
        given = [self.value(a.value if isinstance(a, ast.Starred) else a) for a in node.args]
        named = {k.arg: self.value(k.value) for k in node.keywords}
        found: Value = frozenset()
        for atom in called:
            if isinstance(atom, Real):
                found |= self._call_of_library(
                    node, atom.content, atom.content, getattr(atom.content, "__name__", ""), False
                )
            elif isinstance(atom, Method):
                member = inspect.getattr_static(atom.kind, atom.name)
                found |= self._call_of_library(node, member, None, atom.name, True)
            elif isinstance(atom, OurCallable):
                found |= self._call_of_ours(node, atom.name, given, named)
            elif called == ORDINARY:
                found |= self._call_of_others(node, given, named)
        return found or ORDINARY

    def _asked(self, node: ast.Call, asks: str) -> Value:
        owner, [_, name, *default] = self.value(node.args[0]), node.args
        fallback = self.value(default[0]) if default else frozenset()
        if not isinstance(name, ast.Constant):
            self.value(name)
            return ORDINARY
        if not any(isinstance(atom, (Real, Instance)) for atom in owner):
            nothing = owner == one(Constant(None))
            return fallback if nothing and default else ORDINARY
        found = self.attribute(owner, name.value, node, required=asks == "getattr" and not default)
        there = any(
            hasattr(a.content if isinstance(a, Real) else a.kind, name.value)
            for a in owner
            if isinstance(a, (Real, Instance))
        )
        if asks == "hasattr" or default:
            self.tables.guards[f"{self.module.name}:{name.value}"] = there
        if asks == "hasattr":
            return one(Constant(there))
        return found if there else fallback

    def _call_of_ours(self, node: ast.Call, name: str, given: list[Value], named: dict[str | None, Value]) -> Value:
        owner = name if name in self.program.classes else ""
        function = self.program.functions.get(f"{name}.__init__" if owner else name)
        if function is not None:
            self._hand_over(function, given, named)
        elif owner:
            for statement, value in zip(
                (s for s in self.program.classes[owner].body if isinstance(s, ast.AnnAssign)), given, strict=False
            ):
                self.tables.join(("attribute", owner, ast.unparse(statement.target)), value)
        elif any(map(is_of_a_library, (*given, *named.values()))):
            self.problem(node, f"{name} is handed an object of the library, and this test cannot follow it there")
        if owner:
            return one(Ours(owner))
        return ORDINARY if function is None else self.tables.known.get(("result", function.name), ORDINARY)

    def _hand_over(self, function: Function, given: list[Value], named: dict[str | None, Value]) -> None:
        """Join the arguments of a call into what is known of a function's parameters."""
        arguments = function.node.args
        names = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
        names = names[1:] if function.owner and not function.is_static else names
        everything = [*zip(names, given, strict=False), *((name, value) for name, value in named.items() if name)]
        if arguments.vararg:
            everything += [(arguments.vararg.arg, value) for value in given[len(names) :]]
        for name, value in everything:
            kept = frozenset(Ordinary() if isinstance(atom, Constant) else atom for atom in value)
            self.tables.join(("parameter", function.name, name), kept)

    def _call_of_others(self, node: ast.Call, given: list[Value], named: dict[str | None, Value]) -> Value:
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name in _HARMLESS:
            return ORDINARY
        if name == "map" and isinstance(node.func, ast.Name):
            return one(Many(self._returned_by(given[0])))
        handed = [value for value in (*given, *named.values()) if is_of_a_library(value)]
        if name in _PASSING and isinstance(node.func, ast.Name):
            return self._passed(name, given, handed) if handed else ORDINARY
        if name in ("append", "callback", "partial", "enter_context", "setdefault", "get", "cast", "closing"):
            return self._kept(node, name, given)
        if handed:
            self.problem(node, f"{name} is handed an object of the library, and this test cannot follow it there")
        if isinstance(node.func, ast.Attribute):  # a method of a collection gives what lies in it
            inside = elements(self.value(node.func.value))
            if inside != ORDINARY and name == "items":
                return one(Many(one(Several((ORDINARY, inside)))))
            return (one(Many(inside)) | inside) if inside != ORDINARY and name in ("values", "pop") else ORDINARY
        return ORDINARY

    def _passed(self, name: str, given: list[Value], handed: list[Value]) -> Value:
        """What a function gives of the elements that it takes; pairs are kept apart."""
        if name == "zip":
            return one(Many(one(Several(tuple(map(elements, given))))))
        if name == "enumerate":
            return one(Many(one(Several((ORDINARY, elements(given[0]))))))
        inside: Value = frozenset().union(*map(elements, handed))
        if name == "dict":
            pairs = [atom.each[1] for atom in inside if isinstance(atom, Several) and len(atom.each) == 2]
            return one(Many(frozenset().union(*pairs) if pairs else inside))
        return inside if name == "next" else one(Many(inside))

    def _returned_by(self, function: Value) -> Value:
        """What a function gives whose arguments nobody sees here."""
        found: Value = frozenset()
        for atom in function:
            if isinstance(atom, OurCallable):
                owned = one(Ours(atom.name)) if atom.name in self.program.classes else frozenset()
                found |= owned or self.tables.known.get(("result", atom.name), ORDINARY)
            elif isinstance(atom, Real) and inspect.isclass(atom.content):
                found |= one(Instance(atom.content))
            elif isinstance(atom, Method):
                ways = signatures_of(inspect.getattr_static(atom.kind, atom.name), atom.name, bound=True)
                found = found.union(*(self.written(way.returns) for way in ways))
        return found or ORDINARY

    def _kept(self, node: ast.Call, name: str, given: list[Value]) -> Value:
        if name == "append" and isinstance(node.func, ast.Attribute):
            self.store(node.func.value, one(Many(given[0])))
        if name == "partial":
            return given[0]
        if name in ("enter_context", "closing"):
            return given[0]
        if name == "cast":
            return given[-1]
        return (
            elements(self.value(node.func.value))
            if isinstance(node.func, ast.Attribute) and name == "get"
            else ORDINARY
        )

    def store(self, target: ast.expr, value: Value) -> None:
        """Assign to a name, an attribute, a tuple or an element."""
        if isinstance(target, ast.Name):
            self.names[target.id] = value
        elif isinstance(target, (ast.Tuple, ast.List)):
            several = [atom.each for atom in value if isinstance(atom, Several) and len(atom.each) == len(target.elts)]
            for index, element in enumerate(target.elts):
                parts = frozenset().union(*(each[index] for each in several)) if several else elements(value)
                self.store(element, parts)
        elif isinstance(target, ast.Attribute):
            self._store_attribute(target, value)
        elif isinstance(target, ast.Subscript):
            self.value(target.slice)
            self.store_inside(target.value, value)
        elif isinstance(target, ast.Starred):
            self.store(target.value, one(Many(elements(value))))

    def store_inside(self, collection: ast.expr, value: Value) -> None:
        """Assign to an element of a collection."""
        if not is_of_a_library(value) and not any(isinstance(atom, Ours) for atom in value):
            self.value(collection)
        elif isinstance(collection, ast.Name):
            self.names[collection.id] = self.names.get(collection.id, frozenset()) | one(Many(value))
        else:
            self.store(collection, one(Many(value)))

    def _store_attribute(self, target: ast.Attribute, value: Value) -> None:
        owner = self.value(target.value)
        kept = frozenset(Ordinary() if isinstance(atom, Constant) else atom for atom in value)
        ours = [atom for atom in owner if isinstance(atom, Ours)]
        for atom in ours:
            self.tables.join(("attribute", atom.kind, target.attr), kept)
        if not ours and any(isinstance(atom, (Instance, Real)) for atom in owner):
            self.attribute(owner, target.attr, target)
        elif not ours and is_of_a_library(value):
            self.problem(
                target, f"an object of the library is kept in {ast.unparse(target)}, where this test cannot follow it"
            )

    def _ifexp(self, node: ast.IfExp) -> Value:
        true = truth(self.value(node.test))
        chosen = [n for n, when in ((node.body, True), (node.orelse, False)) if true in (None, when)]
        return frozenset().union(*map(self.value, chosen))

    def _boolop(self, node: ast.BoolOp) -> Value:
        ends = isinstance(node.op, ast.Or)
        found: Value = frozenset()
        for operand in node.values:
            value = self.value(operand)
            known = truth(value)
            if known is ends:
                return found | value
            found |= value if known is None or operand is node.values[-1] else frozenset()
        return found

    def _unaryop(self, node: ast.UnaryOp) -> Value:
        known = truth(self.value(node.operand))
        return one(Constant(not known)) if isinstance(node.op, ast.Not) and known is not None else ORDINARY

    def _compare(self, node: ast.Compare) -> Value:
        left, *rest = [self.value(n) for n in (node.left, *node.comparators)]
        if len(rest) == 1 and rest[0] == one(Constant(None)) and isinstance(node.ops[0], (ast.Is, ast.IsNot)):
            none = is_none(left)
            return ORDINARY if none is None else one(Constant(none is isinstance(node.ops[0], ast.Is)))
        return ORDINARY

    def _tuple(self, node: ast.Tuple) -> Value:
        if any(isinstance(element, ast.Starred) for element in node.elts):
            return one(Many(frozenset().union(*(self._element(e) for e in node.elts))))
        return one(Several(tuple(map(self.value, node.elts))))

    def _list(self, node: ast.List | ast.Set) -> Value:
        return one(Many(frozenset().union(*map(self._element, node.elts)))) if node.elts else ORDINARY

    _set = _list

    def _element(self, node: ast.expr) -> Value:
        return elements(self.value(node.value)) if isinstance(node, ast.Starred) else self.value(node)

    def _dict(self, node: ast.Dict) -> Value:
        for key in node.keys:
            self.value(key)
        inside = frozenset().union(
            *(
                self.value(v) if k is not None else elements(self.value(v))
                for k, v in zip(node.keys, node.values, strict=True)
            )
        )
        return one(Many(inside)) if inside else ORDINARY

    def _subscript(self, node: ast.Subscript) -> Value:
        self.value(node.slice)
        value = self.value(node.value)
        if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, int):
            at = node.slice.value
            each = [
                atom.each[at] for atom in value if isinstance(atom, Several) and -len(atom.each) <= at < len(atom.each)
            ]
            if each:
                return frozenset().union(*each)
        return elements(value)

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> Value:
        outer, self.names = self.names, dict(self.names)
        for generator in node.generators:
            self.store(generator.target, elements(self.value(generator.iter)))
            for condition in generator.ifs:
                self.value(condition)
        if isinstance(node, ast.DictComp):
            self.value(node.key)
        inside = self.value(node.value if isinstance(node, ast.DictComp) else node.elt)
        self.names = outer
        return one(Many(inside))

    _listcomp = _setcomp = _generatorexp = _dictcomp = _comprehension

    def _namedexpr(self, node: ast.NamedExpr) -> Value:
        value = self.value(node.value)
        self.store(node.target, value)
        return value

    def _lambda(self, node: ast.Lambda) -> Value:
        outer, self.names = self.names, {**self.names, **{a.arg: ORDINARY for a in node.args.args}}
        self.value(node.body)
        self.names = outer
        return ORDINARY

    def _starred(self, node: ast.Starred) -> Value:
        return elements(self.value(node.value))

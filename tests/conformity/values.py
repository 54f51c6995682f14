"""What an expression of the project's source may be, as far as a library's objects are concerned.

A value is a set of atoms, since a name may hold one thing or another. `ORDINARY` is what no library gave.
"""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Real:
    """An object of the library itself: its module, a class, a function, a member of an enum."""

    content: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Real) and self.content is other.content

    def __hash__(self) -> int:  # what pybind11 makes is not always hashable
        return id(self.content)


@dataclass(frozen=True)
class Instance:
    """An instance of a class of the library."""

    kind: type


@dataclass(frozen=True)
class Method:
    """A method of an instance."""

    kind: type
    name: str


@dataclass(frozen=True)
class Ours:
    """An instance of one of the project's classes."""

    kind: str


@dataclass(frozen=True)
class OurCallable:
    """A function or a class of the project, or a method of an instance, by its full name."""

    name: str


@dataclass(frozen=True)
class Many:
    """A collection of values."""

    of: Value


@dataclass(frozen=True)
class Several:
    """A tuple, each of whose elements is known."""

    each: tuple[Value, ...]


@dataclass(frozen=True)
class Constant:
    """A constant of the source, or what `hasattr` says of this version."""

    content: Any


@dataclass(frozen=True)
class Ordinary:
    """Anything that no library gave."""


Atom = Real | Instance | Method | Ours | OurCallable | Many | Several | Constant | Ordinary
Value = frozenset[Atom]
ORDINARY: Value = frozenset({Ordinary()})


def one(atom: Atom) -> Value:
    return frozenset({atom})


def is_of_a_library(value: Value) -> bool:
    """Whether a value may be, or hold, an object of a library on which more may be called."""
    for atom in value:
        if isinstance(atom, (Instance, Method)) or (isinstance(atom, Real) and inspect.ismodule(atom.content)):
            return True
        if isinstance(atom, Many) and is_of_a_library(atom.of):
            return True
        if isinstance(atom, Several) and any(map(is_of_a_library, atom.each)):
            return True
    return False


def truth(value: Value) -> bool | None:
    """Whether a value is true; None where this is not known."""
    known = {bool(a.content) if isinstance(a, Constant) else True if isinstance(a, Real) else None for a in value}
    return next(iter(known)) if len(known) == 1 else None


def is_none(value: Value) -> bool | None:
    """Whether a value is None; what a library returns may be None at any time."""
    if value == one(Constant(None)):
        return True
    return False if value and all(isinstance(atom, Real) for atom in value) else None


def elements(value: Value) -> Value:
    """What a loop over a value gives."""
    found: Value = frozenset()
    for atom in value:
        if isinstance(atom, Many):
            found |= atom.of
        if isinstance(atom, Several):
            found = found.union(*atom.each)
    return found or ORDINARY


@dataclass(frozen=True)
class Signature:
    """One way in which a function of a library may be called.

    Attributes:
        parameters: their names, without `self`.
        required: how many of them have no default.
        returns: as the library writes it.
        kinds: the types of those without a default, as the library writes them.
    """

    parameters: tuple[str, ...]
    required: int
    returns: str
    kinds: tuple[str, ...] = ()

    def problem(self, call: ast.Call) -> str | None:
        """Why a call does not fit; None where it does."""
        if any(isinstance(argument, ast.Starred) for argument in call.args):
            return None  # how many there are is known only when it runs
        named = [keyword.arg for keyword in call.keywords if keyword.arg is not None]
        given = [*self.parameters[: len(call.args)], *named]
        if len(call.args) > len(self.parameters):
            return f"takes {len(self.parameters)} arguments, got {len(call.args)}"
        if unknown := [name for name in named if name not in self.parameters]:
            return f"has no argument {unknown[0]!r}: {', '.join(self.parameters)}"
        if missing := [name for name in self.parameters[: self.required] if name not in given]:
            return None if len(named) < len(call.keywords) else f"wants {missing[0]!r}"
        return None


def signatures_of(function: Any, name: str, bound: bool) -> list[Signature]:
    """All ways in which a function may be called, from what pybind11 wrote into its docstring; empty where unknown.

    Args:
        bound: whether the first parameter is `self`.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (ValueError, TypeError):
        lines = (getattr(function, "__doc__", None) or "").splitlines()
        # newer versions of pybind11 write the signatures of all overloads below `name(*args, **kwargs)`
        pattern = re.compile(rf"^(?:\d+\. )?(?:{re.escape(name)})?\((.*)\)(?: -> (.*))?$")
        found = [match for match in map(pattern.match, lines) if match and match[1] != "*args, **kwargs"]
        return [_written(match[1], match[2] or "None", bound) for match in found]
    parameters = parameters[1:] if bound else parameters
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        return []
    required = sum(p.default is p.empty for p in parameters)
    returns = inspect.signature(function).return_annotation
    return [Signature(tuple(p.name for p in parameters), required, f".{returns}" if isinstance(returns, str) else "")]


def _written(text: str, returns: str, bound: bool) -> Signature:
    depth, parts = 0, [""]
    for sign in text:
        depth += (sign in "[(<{") - (sign in "])>}")
        if sign == "," and not depth:
            parts.append("")
        else:
            parts[-1] += sign
    parts = [part.strip() for part in parts if part.strip()][1 if bound else 0 :]
    names = tuple(re.split(r"[:=]", part)[0].strip() for part in parts)
    kinds = tuple(part.partition(":")[2].strip() for part in parts if "=" not in part)
    return Signature(names, len(kinds), returns, kinds)

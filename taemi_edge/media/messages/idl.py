"""Structures of definitions in OMG IDL, which a few ROS 2 packages write their messages in.

Only what says how bytes lie in a message is read: structures, typedefs, enums and array bounds. The parser of `rosbags`
reads the whole language, and takes minutes for `const long X = (((1)));`, which a recording from anybody may hold.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

#: A field as `rosbags` has it: its kind, and the base or the name of it, or the element and the count of a list.
Kind: TypeAlias = tuple[int, Any]
BASE, STRUCTURE, ARRAY, SEQUENCE = 1, 2, 3, 4

_TOKEN = re.compile(
    r"""(?P<blank>\s+|//[^\n]*|/\*(?:.*?\*/|.*\Z)|\#[^\n]*)|(?P<string>"(?:\\.|[^"\\])*(?:"|\Z)|'(?:\\.|[^'\\])')"""
    r"""|(?P<word>[A-Za-z_][A-Za-z0-9_]*(?:::[A-Za-z_][A-Za-z0-9_]*)*|::[A-Za-z_][A-Za-z0-9_:]*)"""
    r"""|(?P<number>[0-9][A-Za-z0-9_.+-]*)|(?P<sign>[@(){}\[\]<>,;=:|&^%~*/+.-])""",
    re.DOTALL,
)
_BASES = {
    "short": "int16",
    "unsigned short": "uint16",
    "long": "int32",
    "unsigned long": "uint32",
    "long long": "int64",
    "unsigned long long": "uint64",
    "float": "float32",
    "double": "float64",
    "long double": "float128",
    "boolean": "bool",
    "octet": "octet",
    "char": "char",
    "wchar": "wchar",
    "wstring": "wstring",
    "string": "string",
    **{name: name for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")},
}
_LONG = ("unsigned", "long", "short", "double")
_MOST_MODULES = 16
_ENUM: Kind = (BASE, ("uint32", 0))


def types_of_idl(text: str) -> Mapping[str, tuple[list[Any], list[tuple[str, Kind]]]]:
    """The structures of a definition by name, each with an empty list and its fields, as `rosbags` gives them.

    Raises:
        ValueError: the text is no IDL, or has what no message of ROS has: unions, arrays of arrays, calculations.

    Example:
        >>> types_of_idl("module a { module msg { struct B { float x; sequence<octet> y; }; }; };")
        {'a/msg/B': ([], [('x', (1, ('float32', 0))), ('y', (4, ((1, ('octet', 0)), 0)))])}
    """
    reader = _Reader(_tokens(text))
    while reader.here is not None:
        reader.definition()
    return {name: ([], reader.fields_of(name)) for name in reader.structures}


def _tokens(text: str) -> list[str]:
    found: list[str] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"expected IDL, got {text[at : at + 20]!r}")
        if match.lastgroup != "blank":
            found.append('""' if match.lastgroup == "string" else match[0])
        at = match.end()
    return found


class _Reader:
    """Reads tokens. Names are resolved when everything was read: they may stand for what comes later."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens, self._at = tokens, 0
        self._scope: list[str] = []
        self._typedefs: dict[str, tuple[str, Kind]] = {}
        self._constants: dict[str, int] = {}
        self._enums: set[str] = set()
        self.structures: dict[str, list[tuple[str, Kind]]] = {}

    @property
    def here(self) -> str | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def definition(self) -> None:
        """Read a definition, and all those inside a module."""
        self._skip_annotations()
        word = self._take()
        if word == "module":
            self._module()
        elif word == "struct":
            self._structure()
        elif word == "typedef":
            kind = self._type()
            name, kind = self._declared(kind)
            self._typedefs[self._inside(name)] = "/".join(self._scope), kind
        elif word == "enum":
            self._enums.add(self._inside(self._take()))
            self._skip_to("}")
        elif word == "const":
            self._constant()
        elif word != ";":
            raise ValueError(f"expected a module, struct, typedef, enum or const, got {word!r:.60}")
        if word != ";":
            self._expect(";")

    def fields_of(self, name: str) -> list[tuple[str, Kind]]:
        """The fields of a structure, without names of typedefs."""
        return [(field, self._resolved(kind, name, 0)) for field, kind in self.structures[name]]

    def _module(self) -> None:
        self._scope.append(self._take())
        if len(self._scope) > _MOST_MODULES:
            raise ValueError(f"expected up to {_MOST_MODULES} modules in each other")
        self._expect("{")
        while self.here != "}":
            self.definition()
        self._expect("}")
        self._scope.pop()

    def _structure(self) -> None:
        name = self._inside(self._take())
        self._expect("{")
        fields = self.structures[name] = []
        while self.here != "}":
            self._skip_annotations()
            kind = self._type()
            fields.append(self._declared(kind))
            while self.here == ",":
                self._take()
                fields.append(self._declared(kind))
            self._expect(";")
        self._expect("}")

    def _constant(self) -> None:
        self._type()
        name = self._inside(self._take())
        self._expect("=")
        value = self._take()
        if self.here == ";" and value.isdigit():
            self._constants[name] = int(value)
        self._at = self._place_of(";")

    def _declared(self, kind: Kind) -> tuple[str, Kind]:
        """A name, and the kind of it: an array where a number follows in brackets."""
        name = self._take()
        if self.here != "[":
            return name, kind
        self._take()
        count = self._count()
        self._expect("]")
        return name, (ARRAY, (kind, count))

    def _type(self) -> Kind:
        word = self._take()
        while word.split()[-1] in _LONG and self.here in _LONG:
            word = f"{word} {self._take()}"
        if word == "sequence":
            self._expect("<")
            item = self._type_of_element()
            count = 0
            if self.here == ",":
                self._take()
                count = self._count()
            self._expect(">")
            return SEQUENCE, (item, count)
        if word in ("string", "wstring") and self.here == "<":
            self._take()
            self._count()
            self._expect(">")
        return (BASE, (_BASES[word], 0)) if word in _BASES else (STRUCTURE, word)

    def _type_of_element(self) -> Kind:
        if self.here == "sequence":
            raise ValueError("expected no lists of lists")
        return self._type()

    def _count(self) -> int:
        word = self._take()
        if word.isdigit():
            return int(word)
        for place in self._places(word, "/".join(self._scope)):
            if place in self._constants:
                return self._constants[place]
        raise ValueError(f"expected a number, got {word!r:.60}")

    def _resolved(self, kind: Kind, inside: str, level: int) -> Kind:
        if level > _MOST_MODULES:
            raise ValueError("expected names that do not stand for each other")
        if kind[0] in (ARRAY, SEQUENCE):
            item = self._resolved(kind[1][0], inside, level + 1)
            if item[0] in (ARRAY, SEQUENCE):
                raise ValueError("expected no lists of lists")
            return kind[0], (item, kind[1][1])
        if kind[0] == BASE:
            return kind
        for place in self._places(kind[1], inside):
            if place in self._typedefs:
                scope, meant = self._typedefs[place]
                return self._resolved(meant, scope, level + 1)
            if place in self._enums:
                return _ENUM
            if place in self.structures:
                return STRUCTURE, place
        return STRUCTURE, kind[1].strip(":").replace("::", "/")

    def _places(self, name: str, inside: str) -> list[str]:
        """Where a name may be defined: in the same module, and in those around it."""
        plain = name.strip(":").replace("::", "/")
        if name.startswith("::"):
            return [plain]
        around = inside.split("/")
        return ["/".join([*around[:length], plain]) for length in range(len(around), -1, -1)]

    def _inside(self, name: str) -> str:
        if not name.isidentifier():
            raise ValueError(f"expected a name, got {name!r:.60}")
        return "/".join([*self._scope, name])

    def _skip_annotations(self) -> None:
        while self.here == "@":
            self._at += 2
            if self.here == "(":
                self._skip_to(")")

    def _skip_to(self, sign: str) -> None:
        self._at = self._place_of(sign) + 1

    def _place_of(self, sign: str) -> int:
        try:
            return self._tokens.index(sign, self._at)
        except ValueError:
            raise ValueError(f"expected {sign!r} before the end") from None

    def _expect(self, sign: str) -> None:
        word = self._take()
        if word != sign:
            raise ValueError(f"expected {sign!r}, got {word!r:.60}")

    def _take(self) -> str:
        if self._at >= len(self._tokens):
            raise ValueError("expected more, got the end")
        self._at += 1
        return self._tokens[self._at - 1]

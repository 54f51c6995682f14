"""Definitions in IDL give the structures that `rosbags` has of the same messages."""

from __future__ import annotations

from typing import Any

import pytest

from taemi_edge.media.messages.idl import types_of_idl
from tests.media.messages import ARRAY, BASE, SEQUENCE, STRUCTURE

_NAMES = {
    "bool": "boolean",
    "byte": "octet",
    "char": "uint8",
    "int16": "short",
    "uint16": "unsigned short",
    "int32": "long",
    "uint32": "unsigned  long",
    "int64": "long long",
    "uint64": "unsigned long long",
    "float32": "float",
    "float64": "double",
}


def idl_of(name: str, fields: list[tuple[str, Any]], constants: list[Any]) -> str:
    """A definition as ROS 2 generates it of a message."""
    *modules, own = name.split("/")
    lines = [
        f"// generated from {name}",
        '#include "some/msg/Other.idl"',
        *(f"module {module} {{" for module in modules),
    ]
    members = []
    for field, kind in fields:
        if kind[0] == ARRAY:
            base = _type_name(kind[1][0])
            alias = f"{base.replace(' ', '_').replace('::', '__')}__{kind[1][1]}"
            lines.append(f"typedef {base} {alias}[{kind[1][1]}];")
            members.append(f'    @unit (value="m/s")\n    {alias} {field};')
        elif kind[0] == SEQUENCE:
            bound = f", {kind[1][1]}" if kind[1][1] else ""
            members.append(f"    sequence<{_type_name(kind[1][0])}{bound}> {field};")
        else:
            members.append(f"    {_type_name(kind)} {field};")
    lines += [
        f"module {own}_Constants {{",
        *(f"const long {constant[0]} = -(1 << 2) * 3;" for constant in constants),
        "};",
    ]
    lines += ['@verbatim (language="comment", text=', '  "a struct { of things };" "\\n"', '  "more \\" of it")']
    lines += [f"struct {own} {{", *members, "};", *("};" for _ in modules)]
    return "\n".join(lines)


def _type_name(kind: Any) -> str:
    if kind[0] == STRUCTURE:
        return str(kind[1].replace("/", "::"))
    base, length = kind[1]
    return f"string<{length}>" if base == "string" and length else _NAMES.get(base, base)


def plain(kind: Any) -> Any:
    if kind[0] in (ARRAY, SEQUENCE):
        return int(kind[0]), (plain(kind[1][0]), kind[1][1])
    return (BASE, {"byte": "octet", "char": "uint8"}.get(kind[1][0], kind[1][0])) if kind[0] == BASE else (2, kind[1])


def test_every_type_of_ros_has_the_same_fields_in_idl() -> None:
    stores = pytest.importorskip("rosbags.typesys.stores.ros2_jazzy")
    for name, (constants, fields) in stores.FIELDDEFS.items():
        found = types_of_idl(idl_of(name, fields, constants))
        assert [(field, plain(kind)) for field, kind in found[name][1]] == [
            (field, plain(kind)) for field, kind in fields
        ], name


def test_rosbags_reads_the_same_in_what_is_short_enough_for_it() -> None:
    typesys = pytest.importorskip("rosbags.typesys")
    text = (
        "module a { module msg { typedef double double__3[3]; struct C { float x; };\n"
        "struct B { C c; a::msg::C d; double__3 e; sequence<C> f; sequence<string, 4> g; long h, i; string<9> j; };};};"
    )
    theirs, mine = typesys.get_types_from_idl(text), types_of_idl(text)
    assert {name: [(field, plain(kind)) for field, kind in of[1]] for name, of in theirs.items()} == {
        name: [(field, plain(kind)) for field, kind in of[1]] for name, of in mine.items()
    }


def test_names_are_found_in_the_modules_around_and_enums_are_numbers() -> None:
    text = """
    module a {
      enum Mode { OFF, ON };
      const unsigned long COUNT = 4;
      typedef sequence<Mode> Modes;
      module msg {
        typedef a::Mode Alias;
        struct Inner { short x[COUNT]; };
        struct Outer { @key Alias mode; Modes all; ::a::msg::Inner inner[2]; b::msg::Far far; };
      };
    };
    """
    number = (BASE, ("uint32", 0))
    assert types_of_idl(text)["a/msg/Outer"][1] == [
        ("mode", number),
        ("all", (SEQUENCE, (number, 0))),
        ("inner", (ARRAY, ((STRUCTURE, "a/msg/Inner"), 2))),
        ("far", (STRUCTURE, "b/msg/Far")),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "module",
        "module a {",
        "module a { struct B { float x } };",
        "module a { union B { float x; }; };",
        "module a { struct B { float x[2][3]; }; };",
        "module a { struct B { sequence<sequence<float> > x; }; };",
        "module a { typedef sequence<float> A; struct B { sequence<A> x; }; };",
        "module a { struct B { float x[2 * 3]; }; };",
        "module a { struct B { float x[NONE]; }; };",
        "module a { struct 1B { float x; }; };",
        "module a { typedef A A; struct B { A x; }; };",
        "module a { typedef C A; typedef A C; struct B { A x; }; };",
        "struct B { float x; }; §",
        "module a { " * 40,
        "@",
        "enum",
        "const long X = ",
    ],
)
def test_what_is_no_message_in_idl_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        types_of_idl(text)

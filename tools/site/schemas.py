"""Writes docs/reference/schemas/ and its page from the package's types: `python -m tools.site.schemas [--check]`.

A schema has the fields, types and defaults of the msgspec types by which taemi-edge itself reads and writes the file.
What a field means is taken from the docstrings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import griffe
import msgspec

from taemi_edge.bundle.outputs import DescribedClasses
from taemi_edge.pages import SITE
from taemi_edge.runtime import prediction
from tools.site.docstrings import in_google_style
from tools.site.schema_catalog import CATALOG, Direction, Entry
from tools.site.written import write_or_check

DOCS = Path(__file__).parent.parent.parent / "docs"
FOLDER = DOCS / "reference" / "schemas"
PAGE = DOCS / "reference" / "schemas.md"
ADDRESS = f"{SITE.rstrip('/')}/reference/schemas/"
_REF = "#/$defs/{name}"


def schema_files() -> dict[Path, str]:
    """The text of every schema and of the page, by its file."""
    files = {FOLDER / f"{entry.name}.schema.json": _text(schema_of(entry)) for entry in CATALOG}
    return {**files, PAGE: _page()}


def schema_of(entry: Entry) -> dict[str, Any]:
    """One schema as plain values."""
    if entry.name == "prediction":
        body, definitions = _prediction_line()
    else:
        body, definitions = _of_types([_type_of(name) for name in entry.types], entry.direction)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{ADDRESS}{entry.name}.schema.json",
        "title": entry.name,
        "description": f"{entry.what} {entry.files[0].upper()}{entry.files[1:]}.".replace("`", ""),
        **body,
        "$defs": definitions,
    }


def _type_of(name: str) -> type[msgspec.Struct]:
    module, _, attribute = name.partition(":")
    found: type[msgspec.Struct] = getattr(import_module(f"taemi_edge.{module}"), attribute)
    return found


def _of_types(kinds: list[type[msgspec.Struct]], direction: Direction) -> tuple[dict[str, Any], dict[str, Any]]:
    schemas, definitions = msgspec.json.schema_components(kinds, ref_template=_REF)
    structs = _structs_by_name(kinds)
    for name, definition in definitions.items():
        if name in structs:
            _explain(definition, structs[name])
            if direction == "written" and not structs[name].__struct_config__.omit_defaults:
                definition["required"] = _always_there(definition, structs[name])
    body = dict(schemas[0]) if len(schemas) == 1 else {"anyOf": list(schemas)}
    return body, dict(definitions)


def _always_there(definition: Mapping[str, Any], kind: type[msgspec.Struct]) -> list[str]:
    """The fields that are written whatever they hold: all but those that may be unset."""
    absent = {field.encode_name for field in msgspec.structs.fields(kind) if field.default is msgspec.UNSET}
    return [name for name in definition["properties"] if name not in absent]


def _prediction_line() -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of a `Prediction`, with each group of outputs under its own name in the place of `outputs`."""
    body, definitions = _of_types([prediction.Prediction], "written")
    line = definitions["Prediction"]
    del line["properties"]["outputs"]
    line["required"] = [name for name in line["properties"] if name not in prediction.ONLY_WHERE_SET]
    (classes,), of_outputs = msgspec.json.schema_components([DescribedClasses], ref_template=_REF)
    numbers = {"type": "object", "additionalProperties": {"type": "number"}}
    line["additionalProperties"] = {
        "description": "A group of outputs: numbers by name, or classes; null where there is no prediction.",
        "anyOf": [numbers, classes, {"type": "null"}],
    }
    return body, {**definitions, **of_outputs}


def _structs_by_name(kinds: list[type[msgspec.Struct]]) -> dict[str, type[msgspec.Struct]]:
    """Every struct that the types are made of, by the name of its definition."""
    found: dict[str, type[msgspec.Struct]] = {}

    def walk(part: Any) -> None:
        if isinstance(part, msgspec.inspect.StructType) and part.cls.__name__ not in found:
            found[part.cls.__name__] = part.cls
        elif isinstance(part, msgspec.inspect.StructType):
            return
        for name in getattr(part, "__struct_fields__", ()):
            value = getattr(part, name)
            for inner in value if isinstance(value, tuple) else (value,):
                if isinstance(inner, (msgspec.inspect.Type, msgspec.inspect.Field)):
                    walk(inner)

    for kind in kinds:
        walk(msgspec.inspect.type_info(kind))
    return found


def _explain(definition: dict[str, Any], kind: type[msgspec.Struct]) -> None:
    """Puts what the docstring says to the type and its fields."""
    said = _docstring(kind)
    definition["description"] = said.pop("", "")
    encoded = dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    properties = definition.get("properties", {})
    for name, meaning in said.items():
        if (field := encoded.get(name, name)) in properties:
            described = re.sub(r"\bNone\b", "null", meaning)
            properties[field] = {**properties[field], "description": described}


def _docstring(kind: type[msgspec.Struct]) -> dict[str, str]:
    """The first paragraph of a docstring under "", and what it says of each attribute."""
    said: dict[str, str] = {}
    text = kind.__dict__.get("__doc__") or ""
    for section in griffe.Docstring(in_google_style(text)).parse("google", warnings=False):
        if section.kind is griffe.DocstringSectionKind.text and "" not in said:
            said[""] = " ".join(section.value.split("\n\n")[0].split())
        if section.kind is griffe.DocstringSectionKind.attributes:
            said |= {each.name: " ".join(each.description.split()) for each in section.value}
    return said


def _text(schema: Mapping[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _page() -> str:
    rows = {"written": "", "read": ""}
    for entry in CATALOG:
        rows[entry.direction] += (
            f"| [{entry.name}](schemas/{entry.name}.schema.json) | {entry.what} | {entry.files} |\n"
        )
    return _PAGE.format(address=ADDRESS, **rows)


_PAGE = """# JSON Schemas

A [JSON Schema](https://json-schema.org) for each file that other programs read or that people write. They are made from
the types by which taemi-edge reads and writes these files, by `python -m tools.site.schemas`, and the tests hold what
the commands write against them. All are of draft 2020-12.

```sh
pip install check-jsonschema
taemi-edge parity engines/taemi-mobile-cpu --json parity.json
check-jsonschema --schemafile {address}parity.schema.json parity.json
```

A file of JSON lines is checked line by line.

## What commands write

All fields are there, unless a schema does not require them.

| schema | what it describes | where it is |
|---|---|---|
{written}
## What taemi-edge reads

| schema | what it describes | where it is |
|---|---|---|
{read}
An editor that knows [Taplo](https://taplo.tamasfe.dev) (in Visual Studio Code, Even Better TOML) completes and checks a
TOML file whose first line names its schema:

```toml
#:schema {address}live.schema.json
```
"""


if __name__ == "__main__":
    write_or_check(schema_files(), "python -m tools.site.schemas")

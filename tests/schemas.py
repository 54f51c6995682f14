"""Holds what commands write against the published JSON Schemas; every command that a test runs is checked so."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "docs" / "reference" / "schemas"
#: The schema of what `--json F` holds, by command.
OF_JSON = {
    "parity": "parity",
    "bench": "bench",
    "evaluate": "evaluation",
    "calibrate": "calibration",
    "build-engine": "engines",
    "inspect": "inspect",
    "extract": "extraction",
    "ablate": "ablation",
    "sweep": "sweep",
    "update": "update",
    "replay": "replay",
}
#: The schema of each line of `--output F.jsonl`.
OF_LINES = {"run": "prediction", "replay": "replay-line"}
#: What of a long file is checked.
_MOST_LINES = 40


@functools.cache
def _validator(name: str) -> Any:
    """The validator of a schema; None on the interpreters of devices, which lack the package."""
    try:
        from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it has no stubs
    except ImportError:
        return None
    schema = json.loads((FOLDER / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def require_fits(name: str, value: Any) -> None:
    """Fails where a value does not fit a schema, with the place in it."""
    if validator := _validator(name):
        from jsonschema.exceptions import best_match  # type: ignore[import-untyped]  # alike

        error = best_match(validator.iter_errors(value))
        assert error is None, f"{name}.schema.json: {error.json_path}: {error.message:.300}"


def require_lines_fit(name: str, lines: Sequence[str]) -> None:
    """The same for lines of JSON."""
    for line in lines[:_MOST_LINES]:
        require_fits(name, json.loads(line))


def check_written(words: Sequence[str], cwd: Path | None) -> list[str]:
    """Checks the files that a command line named; gives the names of the schemas that were used."""
    used = []
    for name, file in _named(words, cwd or Path.cwd()):
        if not file.is_file():
            continue
        text = file.read_text(encoding="utf-8")
        used.append(name)
        if name in (*OF_LINES.values(), "event"):
            require_lines_fit(name, text.splitlines())
        else:
            require_fits(name, json.loads(text))
    return used


def _named(words: Sequence[str], cwd: Path) -> Iterator[tuple[str, Path]]:
    command = words[0] if words else ""
    given = dict(itertools.pairwise(words))
    if "--json" in given and command in OF_JSON:
        name = OF_JSON[command]
        kind = next((f"bench-{word[2:]}" for word in ("--host", "--sweep") if word in words), name)
        yield (kind if command == "bench" else name), cwd / given["--json"]
    if command in OF_LINES and given.get("--output", "").endswith(".jsonl"):
        yield OF_LINES[command], cwd / given["--output"]
    if "--events" in given:
        yield "event", cwd / given["--events"]
    if "--output" in given and command in ("export", "calibrate", "build-engine", "pull"):
        yield "manifest", cwd / given["--output"] / "manifest.json"

"""Files and functions stay small enough to read on one screen."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from taemi_edge.cli.main import COMMANDS

#: What they hold depends on no interpreter.
pytestmark = pytest.mark.once

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    file for folder in ("taemi_edge", "tests", "tools", "benchmarks") for file in (ROOT / folder).rglob("*.py")
)
MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_FUNCTION, MOST_PARAMETERS = 400, 50, 7


def _is_command(file: Path, function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether it is a command of the command line: its parameters are the command's options."""
    module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
    return any((command.__module__, command.__name__) == (module, function.name) for command in COMMANDS.values())


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    names = [a.arg for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_can_be_read_in_small_pieces(file: Path):
    text = file.read_text(encoding="utf-8")
    found = [f"{text.count(chr(10))} lines"] if text.count("\n") > MOST_LINES_OF_A_FILE else []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = node.end_lineno - node.lineno + 1
            if lines > MOST_LINES_OF_A_FUNCTION:
                found.append(f"line {node.lineno}: {node.name} has {lines} lines")
            if _parameters(node) > MOST_PARAMETERS and not _is_command(file, node):
                found.append(f"line {node.lineno}: {node.name} has {_parameters(node)} parameters")
    assert not found

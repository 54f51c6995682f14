"""One word for one thing: help, messages and tables do not use words that the glossary has another one for."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from taemi_edge.cli.help_pages import first_paragraph
from taemi_edge.cli.help_texts import EXAMPLES
from taemi_edge.cli.main import COMMANDS, app

pytestmark = pytest.mark.once
ROOT = Path(__file__).parent.parent
GLOSSARY = ROOT / "docs" / "concepts" / "glossary.md"
#: What is no longer written, and what is written in its place.
REPLACED = {
    r"what came of it": "say what happened",
    r"(?:was|were|is|are|be|been) (?:not )?told\b": "say who says what to whom",
    r"unless told": "name the option",
    r"asked for\b": "chosen, given, or wanted",
    r"\bleav(?:e|es|ing) (?:it |them |one )?away\b|\bleft away\b": "leave out",
    r"gone on with": "continued",
    r"comes? along\b": "ships with the package",
    r"just the same": "the same",
    r"held against": "compared with",
    r"\bmend(?:ed|s)?\b": "repair",
    r"\bthe way works?\b|\bthe way working\b|try the way\b": "every step works",
    r"\bartifacts?\b": "artefact",
    r"\bflavors?\b": "flavour",
    r"golden outputs": "golden feeds",
    r"missing tokens\b(?! )": "missing-modality tokens",
    r"engine folder": "bundle of engines",
    r"\bdear\b": "costly",
}
#: What a synthetic voice says; captions of a page of the paper's ablations, whose names stand in recorded figures.
NOT_OURS = ("taemi/synthetic/clip_plan.py", "taemi/ablation.py", "taemi/ablation_report.py")


def _shown_strings(file: Path) -> Iterator[tuple[int, str]]:
    """Every text of a module that is no docstring and no comment."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value.value = ""  # a docstring: `walk` comes to it after its statement


def _wrong(text: str) -> list[str]:
    return [f"{found[0]!r}: {use}" for word, use in REPLACED.items() if (found := re.search(word, text, re.IGNORECASE))]


@pytest.mark.parametrize("folder", sorted({file.parent for file in (ROOT / "taemi_edge").rglob("*.py")}), ids=str)
def test_messages_use_the_words_of_the_glossary(folder: Path):
    wrong = [
        f"{file.relative_to(ROOT)}:{line}: {found}"
        for file in sorted(folder.glob("*.py"))
        if not str(file).endswith(NOT_OURS)
        for line, text in _shown_strings(file)
        for found in _wrong(text)
    ]
    assert wrong == []


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_in_whole_plain_sentences(name: str):
    group: Any = typer.main.get_command(app)
    command = group.commands[name]
    texts = [command.help or "", *(parameter.help or "" for parameter in command.params)]
    texts += [example.does for example in EXAMPLES[name]]
    assert [found for text in texts for found in _wrong(text)] == []
    assert first_paragraph(command.help)[0].isupper()
    assert first_paragraph(command.help).endswith(".")
    for parameter in command.params:
        assert parameter.help, (name, parameter.opts)
        assert len((parameter.help or "").split("  [default")[0]) > 15, (name, parameter.opts, parameter.help)


def test_the_glossary_has_every_term_once_with_a_sentence_and_a_link():
    text = GLOSSARY.read_text(encoding="utf-8")
    terms = re.findall(r"^### (.+)\n\n((?:.+\n)+)", text, re.MULTILINE)
    names = [name for name, _ in terms]
    assert len(names) == len(set(names)) > 30
    for needed in ("bundle", "stream", "encoder", "head", "part", "hop", "window", "presence", "presence pattern"):
        assert needed in names
    for needed in (
        "missing-modality token",
        "recipe",
        "flavour",
        "target",
        "engine",
        "artefact",
        "golden feeds",
        "parity",
    ):
        assert needed in names
    for name, said in terms:
        assert re.search(r"\]\([\w./#-]+\)", said), name
        assert said[0].isupper(), name
    for heading in text.split("\n## ")[1:]:
        found = re.findall(r"^### (.+)$", heading, re.MULTILINE)
        assert found == sorted(found), heading.splitlines()[0]

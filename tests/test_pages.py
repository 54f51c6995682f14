"""Pages that code and help name are in docs/, with the sections that they name."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from taemi_edge.cli.help_texts import GLOSSARY, PAGES
from taemi_edge.pages import ISSUES, SITE, page

pytestmark = pytest.mark.once
ROOT = Path(__file__).parent.parent


def _sections(name: str) -> set[str]:
    """The anchors of a page, as mkdocs makes them of headings."""
    text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    given = set(re.findall(r"\{#([\w-]+)\}|id=\"([\w-]+)\"", text))
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)|`", r"\1", head) for head in heads]
    slugs = {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", head).strip().lower()) for head in plain}
    return slugs | {name for pair in given for name in pair}


def _named() -> list[tuple[str, str]]:
    """The page and section of every call of `page` in the package."""
    found = [(name, "") for name in (*PAGES.values(), GLOSSARY)]
    for file in (ROOT / "taemi_edge").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        if "page(" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "page":
                words = [word.value for word in node.args if isinstance(word, ast.Constant)]
                if len(words) == len(node.args) and words[0]:
                    found.append((words[0], words[1] if len(words) > 1 else ""))
    return sorted(set(found))


@pytest.mark.parametrize(("name", "section"), _named())
def test_a_page_that_is_named_is_there(name: str, section: str):
    assert (ROOT / "docs" / f"{name}.md").is_file()
    assert not section or section in _sections(name)


def test_the_site_is_the_one_of_the_package():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'Documentation = "{SITE}"' in text
    assert f'Issues = "{ISSUES}"' in text


def test_an_address():
    assert page("how-to/live", "config") == f"{SITE}how-to/live/#config"

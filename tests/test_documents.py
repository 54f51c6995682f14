"""What the documents name is there: files, folders, links, modules and make targets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import SLOW

#: What they hold depends on no interpreter.
pytestmark = pytest.mark.once

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md"), ROOT / "llms.txt"]
)
#: Pages that a newcomer or an assistant finds the way with: every path in them is checked, wherever it stands.
MAPS = [ROOT / name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "AGENTS.md", "llms.txt")]
#: Where a path in a document may start, besides the top of the tree.
PLACES = (ROOT, ROOT / "taemi_edge", ROOT / "docs")
ENDINGS = "py|md|toml|txt|sh|json|png|cu|ptx|html|js|css"


def _ids(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("page", DOCUMENTS, ids=_ids)
def test_links_lead_somewhere(page: Path):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    dead = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not dead


@pytest.mark.parametrize("page", MAPS, ids=_ids)
def test_paths_in_the_maps_exist(page: Path):
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`([\w./-]+/|[\w./-]+\.(?:" + ENDINGS + r"))`", text)
    assert named or page.name == "llms.txt"
    made = {".venv/"}  # by make
    dead = [
        name
        for name in named
        if name not in made
        and not re.search(r"[A-Z]{4}", name)
        and not any((place / name).exists() for place in PLACES)
    ]
    assert not dead


@pytest.mark.parametrize("page", DOCUMENTS, ids=_ids)
def test_make_targets_exist(page: Path):
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z][\w-]*)", page.read_text(encoding="utf-8")))
    assert named <= targets


@pytest.mark.parametrize("page", DOCUMENTS, ids=_ids)
def test_lines_fit_into_120_columns(page: Path):
    lines = page.read_text(encoding="utf-8").splitlines()
    long = [n for n, line in enumerate(lines, 1) if len(line) > 120 and not line.startswith("|") and "://" not in line]
    assert not long


def test_the_list_of_slow_tests_names_what_is_there():
    assert [name for name in SLOW if not (ROOT / "tests" / name).exists()] == []

"""What pages tell people to type is what the program takes, and stands in code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from taemi_edge.cli.help_texts import PAGES
from taemi_edge.cli.main import app

pytestmark = pytest.mark.once

ROOT = Path(__file__).parent.parent.parent
DOCUMENTS = sorted(
    file
    for file in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md"))
    if file.name != "CHANGELOG.md"
)
NOTEBOOKS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
_CODE = re.compile(r"`(taemi-edge [^`]+)`")


def _ids(file: Path) -> str:
    return str(file.relative_to(ROOT))


def _text(file: Path) -> str:
    """A document, or the sources of a notebook: shell cells as code."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        return text
    cells = ["".join(cell["source"]) for cell in json.loads(text)["cells"]]
    return "\n".join(f"```\n{cell}\n```\n" if cell.startswith("%%sh") else cell for cell in cells)


def _commands(text: str) -> Iterator[str]:
    """Every call of taemi-edge in blocks and in the running text."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for line in joined.splitlines():
        found = re.match(r"(?:    )?(?:[\w$./-]+ \| )?(?:sudo (?:-u \S+ )?)?\S*\btaemi-edge (?=[a-z-])(.*)", line)
        if found and (line.startswith("    ") or "`" not in line):
            yield found.group(1)
    for span in _CODE.findall(re.sub(r"\s*\n\s*", " ", joined)):
        yield span.removeprefix("taemi-edge ")


def _taken() -> dict[str, set[str]]:
    """The options of each command."""
    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group has them
    return {
        name: {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for name, command in commands.items()
    }


def _wrong(command: str, taken: dict[str, set[str]]) -> str | None:
    """What the program would not take of a command, if anything."""
    name, _, rest = command.partition(" ")
    if not re.fullmatch(r"[a-z-]+", name) or name.startswith("-"):
        return None
    if name not in taken:
        return f"no command {name}"
    rest = re.sub(r"\s#\s.*| [|>] .*", "", rest)
    options = re.findall(r"(?<![\w-])--[a-z][\w-]*", re.sub(r"'[^']*'|\"[^\"]*\"", "", rest))
    return next((f"{name} has no {option}" for option in options if option not in taken[name] | {"--help"}), None)


@pytest.mark.parametrize("page", [*DOCUMENTS, *NOTEBOOKS], ids=_ids)
def test_commands_and_options_exist(page: Path):
    taken = _taken()
    wrong = {command: said for command in _commands(_text(page)) if (said := _wrong(command, taken))}
    assert not wrong


@pytest.mark.parametrize("page", DOCUMENTS, ids=_ids)
def test_commands_stand_in_code(page: Path):
    outside, fenced = [], False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and re.match(r"(taemi-edge|pip install|make) [\w-]+ [^ ]*[/.-]", line):
            outside.append(number)
    assert not outside


def test_the_help_of_a_command_leads_to_more_than_itself():
    """A page of the site that explains, and not the list that is made of the same help."""
    assert [name for name, page in PAGES.items() if page == "reference/commands"] == []

"""The page of evidence: every figure comes out of a file under benchmarks/, and says how it was made."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from taemi_edge.bench.provenance import provenance, write_report

#: What they hold depends on no interpreter.
pytestmark = pytest.mark.once

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "benchmarks").glob("*.json"))
TEXTS = sorted((ROOT / "benchmarks" / "evidence").glob("*.md"))
#: A number with its unit, as in "31.4 ms" or "2.3 times": what no text may hold outside of braces.
_TYPED = re.compile(r"(?<![\w.])\d[\d.,]*\s?(?:%|(?:ms|s|us|MB|GB|TB|kB|W|times|microseconds|seconds|minutes)\b)")


def _tool():
    spec = importlib.util.spec_from_file_location("evidence_page", ROOT / "tools" / "evidence_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


tool = _tool()


def test_the_committed_page_is_what_the_files_give():
    assert tool.PAGE.read_text(encoding="utf-8") == tool.page(ROOT / "benchmarks"), "run python tools/evidence_page.py"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_says_command_machine_versions_and_date(file: Path):
    made = tool.provenance_of(file.name, json.loads(file.read_text(encoding="utf-8")))
    assert made.command
    assert made.machine
    assert made.versions
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", made.date)


def test_provenance_that_was_looked_up_says_where():
    with (ROOT / "benchmarks" / "provenance.toml").open("rb") as stream:
        entries = tool.tomllib.load(stream)
    assert entries.keys() <= {file.name for file in FILES}
    assert all(entry["source"] for entry in entries.values())


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.name)
def test_no_figure_is_typed(text: Path):
    found = []
    for line in text.read_text(encoding="utf-8").splitlines():
        prose = re.sub(r"\{\{.*?\}\}", "", line)
        prose = re.sub(r"^\| [^|]*\|", "|", prose)  # the first cell of a table says what is measured, or the goal
        found += _TYPED.findall(re.sub(r"`[^`]*`|Student's 95 % interval", "", prose))
    assert not found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one file of figures and a text about it."""
    (tmp_path / "evidence").mkdir()
    (tmp_path / "provenance.toml").write_text("")
    report = {"command": "python a.py", "machine": "a desk", "date": "2026-01-02", "hop_ms": 2.55}
    (tmp_path / "a.json").write_text(json.dumps(report))
    (tmp_path / "evidence" / "1.md").write_text("# A\n\n@provenance a.json\n\nA hop: {{a/hop_ms | .1f}} ms.\n")
    return tmp_path


def test_figures_and_provenance_are_filled_in(folder: Path):
    page = tool.page(folder)
    assert "A hop: 2.6 ms." in page
    assert "2026-01-02. Machine: a desk. Versions: not written down." in page
    assert "python a.py" in page


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{{a/hop}}", "1.md, line 5: expected a value at a/hop, found nothing at 'hop'"),
        ("{{a/command | .1f}}", "expected a value to be written as '.1f' at a/command, got 'python a.py'"),
        ("@provenance b.json", "expected the name of a JSON file under benchmarks/, got b.json"),
    ],
)
def test_a_figure_without_its_place_is_refused(folder: Path, line: str, said: str):
    (folder / "evidence" / "1.md").write_text(f"# A\n\n@provenance a.json\n\n{line}\n")
    with pytest.raises(tool.EvidenceError, match=re.escape(said)):
        tool.page(folder)


def test_a_file_that_no_text_speaks_of_is_on_the_page_all_the_same(folder: Path):
    shutil.copy(folder / "a.json", folder / "b.json")
    page = tool.page(folder)
    assert "## Files that no text speaks of yet\n\n### b\n" in page
    assert "| hop_ms | 2.55 |" in page


@pytest.mark.parametrize("missing", ["command", "machine", "date"])
def test_a_file_that_does_not_say_how_it_was_made_is_refused(folder: Path, missing: str):
    report = json.loads((folder / "a.json").read_text())
    del report[missing]
    (folder / "a.json").write_text(json.dumps(report))
    with pytest.raises(tool.EvidenceError, match=f"to say its {missing}, found nothing"):
        tool.page(folder)


def test_new_reports_say_all_of_it_themselves(folder: Path):
    write_report(folder / "a.json", {"hop_ms": 1.0}, "pytest")
    made = tool.provenance_of("a.json", json.loads((folder / "a.json").read_text()), folder)
    assert made.date == provenance()["date"]
    assert "pytest" in made.versions
    assert "CPython" in made.versions
    assert "cores" in made.machine
    assert made.source == ""
    assert "A hop: 1.0 ms." in tool.page(folder)


def test_check_says_when_the_page_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    assert tool.main(["--check"]) == 0
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setattr(tool, "PAGE", tmp_path / "index.md")
    (tmp_path / "index.md").write_text("31.4 ms\n")
    assert tool.main(["--check"]) == 1
    assert "run `python tools/evidence_page.py`" in capsys.readouterr().out


BY_HAND = [
    ROOT / "docs" / "evidence" / f"{name}.md"
    for name in ("engines", "live", "precision", "runtime", "servers", "training")
]


@pytest.mark.parametrize("page", BY_HAND, ids=lambda page: page.stem)
def test_figures_that_were_copied_say_when_and_from_what(page: Path):
    """A section with figures says that a person recorded them, or where those of a file are."""
    sections = re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    silent = [
        section.splitlines()[0]
        for section in sections
        if _TYPED.search(section) and not re.search(r"[Rr]ecorded by hand, 20\d\d-\d\d-\d\d|\]\(index\.md#", section)
    ]
    assert not silent

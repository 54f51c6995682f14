"""What is published: the wheel and the source archive, their description, the citation and the release note."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import taemi_edge
from tools.release_note import release_note

pytest.importorskip("hatchling", reason="the extra `dev` builds wheels")
#: A published file is the same whatever interpreter builds it.
pytestmark = [pytest.mark.once, pytest.mark.slow]

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def archives(tmp_path_factory) -> Path:
    """A folder with the wheel and the source archive."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def test_the_index_takes_them(archives):
    files = [str(file) for file in sorted(archives.iterdir())]
    assert len(files) == 2
    command = [sys.executable, "-m", "twine", "check", "--strict", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_the_wheel_says_of_itself(archives):
    with zipfile.ZipFile(next(archives.glob("*.whl"))) as wheel:
        metadata = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        said = Parser().parsestr(wheel.read(metadata).decode())
    urls = dict(line.split(", ", 1) for line in said.get_all("Project-URL", []))
    assert {"Documentation", "Repository", "Issues", "Changelog"} <= set(urls)
    assert said["Author"]
    assert said["License-Expression"] == "Apache-2.0"
    assert said["Description-Content-Type"] == "text/markdown"


def test_the_description_links_to_addresses(archives):
    """An index shows the description alone: what it links to must have an address of its own."""
    with zipfile.ZipFile(next(archives.glob("*.whl"))) as wheel:
        metadata = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        said = Parser().parsestr(wheel.read(metadata).decode())
    links = re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", str(said.get_payload()))
    assert [link for pair in links for link in pair if link and not re.match(r"https://|#", link)] == []


def test_the_source_archive_builds_the_same_wheel(archives, tmp_path):
    with tarfile.open(next(archives.glob("*.tar.gz"))) as source:
        source.extractall(tmp_path, filter="data")
    folder = next(tmp_path.iterdir())
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(tmp_path), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]

    def content(file: Path) -> dict[str, int]:
        with zipfile.ZipFile(file) as wheel:
            return {entry.filename: entry.CRC for entry in wheel.infolist()}

    assert content(next(tmp_path.glob("*.whl"))) == content(next(archives.glob("*.whl")))


def test_the_citation_is_of_this_version():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {taemi_edge.__version__}\n" in citation


def test_a_release_note_is_what_stands_under_its_version():
    newest = "## 0.2.0 (2026-12-01)\n\n- A [page](docs/how-to/live.md#a), a [file](x/y.py).\n"
    changelog = f"# Changelog\n\n{newest}\n## 0.1.0\n\n- B\n"
    note = release_note("0.2.0", changelog)
    assert note == (
        "- A [page](https://taemi-edge.github.io/taemi-edge/how-to/live/#a), "
        "a [file](https://github.com/taemi-edge/taemi-edge/blob/v0.2.0/x/y.py).\n"
    )
    with pytest.raises(ValueError, match=r"expected one of 0\.2\.0, 0\.1\.0, got 3"):
        release_note("3", changelog)


def test_this_version_has_a_release_note():
    note = release_note(taemi_edge.__version__, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    assert note.startswith("- ")
    assert not re.search(r"\]\((?!https://)", note)

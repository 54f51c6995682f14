"""Every tutorial runs from its first cell to its last, and shows what it gave."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

pytest.importorskip("nbclient", reason="tutorials are run with the extra `docs`")
pytest.importorskip("torch", reason="tutorials export models")
pytest.importorskip("matplotlib", reason="tutorials draw")

import nbformat

from tests.examples.loading import load_example
from tools.run_tutorials import FOLDER, faults, kinds, notebooks, run_notebook

pytestmark = [pytest.mark.once, pytest.mark.slow]
NAMES = [path.stem for path in notebooks()]


@pytest.fixture
def ready(path: Path) -> None:
    """What the tutorial at `path` downloads or starts can be had; without that the test is skipped."""
    text = path.read_text(encoding="utf-8")
    if "docker-registry" in text and shutil.which("docker-registry") is None:
        pytest.skip("needs docker-registry, from tools/install_test_servers.sh")
    try:
        if "digits_data" in text:
            load_example("digits", "digits_data.py").load_digits("test")
        if "speaker" in text:
            load_example("faces", "speaker.py").speaker_clip()
    except ConnectionError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize("path", notebooks(), ids=NAMES)
def test_it_runs_and_its_committed_outputs_are_of_this_kind(path, tmp_path):
    new = run_notebook(path, tmp_path)
    assert not list(faults(new))
    committed = nbformat.read(path, as_version=4)
    assert kinds(new) == kinds(committed), f"run `python tools/run_tutorials.py {path.stem}` and commit the notebook"
    left = [found.name for found in (tmp_path / "runs" / "tutorials").glob("*")]
    assert not left, "the last cell removes what the notebook wrote"


@pytest.mark.parametrize("path", notebooks(), ids=NAMES)
def test_what_is_committed_can_be_shown(path):
    committed = nbformat.read(path, as_version=4)
    nbformat.validate(committed)
    assert not list(faults(committed))
    assert committed.cells[0].source.startswith("# "), "the first cell is the title"
    for cell in committed.cells:
        assert len(cell.source.splitlines()) <= 45, "cells are short"
        assert max(map(len, cell.source.splitlines())) <= 120
        links = re.findall(r"\]\(([^)#\s]+)", cell.source) if cell.cell_type == "markdown" else []
        assert [link for link in links if "://" not in link and not (path.parent / link).exists()] == []


def test_a_refusal_for_another_reason_is_of_another_kind():
    """A cell that shows a refusal of a check must not pass where the disk was full and nothing was checked."""
    both = [
        nbformat.v4.new_notebook(
            cells=[
                nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("stream", text=f"refused\nexit {code}\n")])
            ]
        )
        for code in (1, 2)
    ]
    assert kinds(both[0]) != kinds(both[1])


def test_each_is_named_on_the_page_of_tutorials():
    page = (notebooks()[0].parent / "index.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\(([a-z0-9-]+)\.ipynb\)", page)) == sorted(NAMES)


def test_links_of_a_notebook_lead_to_pages_of_the_site():
    mkdocs_files = pytest.importorskip("mkdocs.structure.files", reason="the site's tools need the extra `docs`")
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

    from tools.site.notebook_links import on_page_content

    config = MkDocsConfig()
    config.load_dict({"site_name": "x", "repo_url": "https://example.org/repo", "docs_dir": str(FOLDER.parent)})
    config.validate()
    files = mkdocs_files.get_files(config)
    page = Page(None, mkdocs_files.File("tutorials/fleet.ipynb", str(FOLDER.parent), "site", True), config)
    html = (
        '<a href="../how-to/updates.md#the-folder">a</a><a href="../../examples/faces/model.py">b</a><a href="#c">c</a>'
    )
    found = re.findall(r'href="([^"]*)"', on_page_content(html, page, config, files))
    assert found[1:] == ["https://example.org/repo/blob/main/examples/faces/model.py", "#c"]
    assert found[0].endswith("how-to/updates/#the-folder")
    assert ".md" not in found[0]

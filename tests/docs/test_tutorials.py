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
from tools.run_tutorials import faults, kinds, notebooks, run_notebook

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


def test_each_is_named_on_the_page_of_tutorials():
    page = (notebooks()[0].parent / "index.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\(([a-z-]+)\.ipynb\)", page)) == sorted(NAMES)

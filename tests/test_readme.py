"""The README: short, the same on GitHub and on PyPI, and what it links to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from taemi_edge.pages import SITE

#: What they hold depends on no interpreter.
pytestmark = pytest.mark.once

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
LINKS = re.findall(r"\]\(([^)\s]+)\)", TEXT)
FILES = "https://github.com/taemi-edge/taemi-edge/blob/main/"
IMAGES = "https://raw.githubusercontent.com/taemi-edge/taemi-edge/main/"


def _source_of(link: str) -> Path | None:
    """The file of the tree that a link leads to; None for other places."""
    for start in (FILES, IMAGES):
        if link.startswith(start):
            return ROOT / link.removeprefix(start)
    if not link.startswith(SITE):
        return None
    name = link.removeprefix(SITE).partition("#")[0].rstrip("/")
    pages = (ROOT / "docs" / name / "index.md", ROOT / "docs" / f"{name}.md")
    return next((page for page in pages if page.is_file()), pages[-1])


@pytest.mark.parametrize("link", LINKS)
def test_a_link_is_an_address_that_leads_somewhere(link: str):
    """PyPI shows the text alone, so a link cannot be relative."""
    assert link.startswith("https://")
    source = _source_of(link)
    assert source is None or source.is_file()


def test_its_picture_moves_and_is_light():
    image = pytest.importorskip("PIL.Image")
    [address] = re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", TEXT)
    assert address.startswith(IMAGES)
    file = _source_of(address)
    assert file is not None
    assert file.stat().st_size < 1_500_000
    with image.open(file) as picture:
        assert picture.format == "GIF"
        assert picture.is_animated
        assert picture.info["loop"] == 0


def test_two_commands_set_it_up_on_the_first_screen():
    first_screen = TEXT.splitlines()[:45]
    assert sorted(re.findall(r"^make (\w+)", TEXT, re.MULTILINE)) == ["demo", "test"]
    assert {"demo", "test"} == {found[1] for line in first_screen if (found := re.match(r"make (\w+)", line))}
    assert any("synthetic" in line for line in first_screen)


def test_it_is_short():
    assert TEXT.count("\n") <= 90


def test_pypi_renders_it():
    pytest.importorskip("comrak", reason="readme_renderer[md] is what PyPI renders with")
    from readme_renderer import markdown

    page = markdown.render(TEXT)
    assert page is not None
    assert f'src="{IMAGES}docs/images/demo.gif"' in page
    assert page.count("<table>") == 1
    assert "<code>taemi-edge doctor</code>" in page

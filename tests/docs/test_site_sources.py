"""The sources of the site: every page has its place, and what is made from the program is as the program says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mkdocs", reason="the site's tools need the extra `docs`")

import yaml

import taemi_edge
from tools.site import commands, hooks
from tools.site.written import differing

pytestmark = pytest.mark.once

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(str(file.relative_to(DOCS)) for kind in ("*.md", "*.ipynb") for file in DOCS.rglob(kind))


class _Loader(yaml.SafeLoader):
    """Reads mkdocs.yml without making the objects that it names."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)


def _config() -> dict[str, Any]:
    return yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506  a SafeLoader


def _pages_of(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [page for part in parts for page in _pages_of(part)]


def test_every_page_has_one_place_in_the_navigation():
    placed = [page for page in _pages_of(_config()["nav"]) if "://" not in page]
    assert sorted(placed) == PAGES


@pytest.mark.parametrize("page", [page for page in PAGES if page.endswith(".md")])
def test_a_page_begins_with_what_it_is_for(page: str):
    """A sentence stands below the title: no code, no table, and no heading."""
    text = re.sub(r"<!--.*?-->\n*", "", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    below = re.sub(r"^# .+\n\n", "", text)
    assert re.match(r"[A-Z`*\[a-z]", below), below[:80]
    assert not below.startswith("```"), below[:80]


def test_the_index_of_a_section_says_what_each_of_its_pages_is_for():
    missing = []
    for section in _config()["nav"]:
        [(name, parts)] = section.items()
        index, *pages = _pages_of(parts)
        assert index.endswith("index.md"), name
        text = (DOCS / index).read_text(encoding="utf-8")
        missing += [page for page in pages if not re.search(rf"\]\([^)]*{re.escape(Path(page).name)}[^)]*\)", text)]
    assert missing == []


def test_commands_are_as_typer_knows_them():
    assert differing({commands.PAGE: commands.commands_page()}) == [], "run `python -m tools.site.commands`"


def test_every_environment_variable_that_the_package_reads_is_explained():
    named = set()
    for file in (ROOT / "taemi_edge").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        named |= set(re.findall(r"\"(TAEMI_EDGE_[A-Z_]+)\"", text))
        named |= set(re.findall(r"environ(?:\.get\(|\[|\.setdefault\()\"([A-Z_]+)\"", text))
    inner = {"NNCF_CI", "PYTHONPATH", "ALSA_CONFIG_PATH", "RAY_NUM_REDIS_GET_RETRIES", "RAY_USAGE_STATS_ENABLED"}
    assert named - inner <= set(commands.VARIABLES)


def test_every_public_name_of_the_package_is_explained():
    text = (DOCS / "reference" / "python-api.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^::: taemi_edge\.(\w+)$", text, re.MULTILINE)) | {"bench", "__version__"}
    assert "::: taemi_edge.bench.compare.run_bench" in text
    assert explained == set(taemi_edge.__all__)


def test_links_out_of_the_documents_lead_to_the_repository():
    link = hooks._LINK.search("see [the map](../../ARCHITECTURE.md#rooms) and")
    assert hooks._outside("concepts/design.md", link["target"]) == "ARCHITECTURE.md"
    assert hooks._outside("index.md", "how-to/live.md") is None
    assert hooks._outside("how-to/live.md", "https://example.org/x.md") is None
    assert hooks._outside_code("a\n```sh\nb\n```\nc\n", str.upper) == "A\n```sh\nb\n```\nC\n"

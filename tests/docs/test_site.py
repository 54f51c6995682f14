"""The site as it is built: complete, and in a real Chromium searchable, readable and reachable for everybody."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="the site is built with the extra `docs`")
pytest.importorskip("websockets", reason="Chromium is driven by the extra `serve`")

from taemi_edge.pages import SITE
from tests.live.browser import CHROMIUM, Browser
from tools.site.axe import axe_script
from tools.site.looking import look_at
from tools.site.serving import served_site

pytestmark = pytest.mark.once

ROOT = Path(__file__).parent.parent.parent
#: Pages that differ in what they are made of; `make docs-check` looks at all, in both schemes and at both widths.
ON_SCREEN = ("how-to/live/", "nothing-is-here/")
ON_PHONE = ("tutorials/own-model/",)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: tools/install_test_servers.sh")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built once, where a dead link or anchor ends the build."""
    folder = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def url(site: Path) -> Iterator[str]:
    with served_site(site) as found:
        yield found


@pytest.fixture
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        opened.watch_requests()
        yield opened


def test_what_a_host_of_pages_needs_is_there(site: Path):
    for name in ("404.html", "sitemap.xml", "llms.txt", "objects.inv", "reference/schemas/manifest.schema.json"):
        assert (site / name).is_file(), name
    home = (site / "index.html").read_text(encoding="utf-8")
    assert f'<link rel="canonical" href="{SITE}">' in home
    assert "https://github.com/taemi-edge/taemi-edge" in home
    assert f"{SITE}how-to/live/" in (site / "sitemap.xml").read_text(encoding="utf-8")


def test_links_of_llms_txt_lead_to_pages_of_the_site(site: Path):
    links = re.findall(r"\]\(([^)]+)\)", (site / "llms.txt").read_text(encoding="utf-8"))
    assert all("://" in link for link in links)
    inner = [link.removeprefix(SITE).partition("#")[0] for link in links if link.startswith(SITE)]
    assert [link for link in inner if not (site / link / "index.html").is_file()] == []
    assert len(inner) > 20


def test_words_in_angle_brackets_are_shown(site: Path):
    """A browser takes `<model>` of a default for an element that it does not know, and shows nothing."""
    page = (site / "reference" / "commands" / "index.html").read_text(encoding="utf-8")
    assert "Default: checkpoints/&lt;model&gt;." in page
    assert "<model" not in page


def test_every_picture_is_there_also_those_from_outside_the_documents(site: Path):
    missing, outside = [], 0
    for page in site.rglob("index.html"):
        for picture in re.findall(r'<img[^>]+src="([^"]+)"', page.read_text(encoding="utf-8")):
            if not picture.startswith("data:") and not (page.parent / picture).is_file():
                missing.append(f"{page.relative_to(site)}: {picture}")
            outside += "images/repository/benchmarks/" in picture
    assert missing == []
    assert outside


def test_no_page_names_a_script_style_or_picture_of_another_host(site: Path):
    """Also where Chromium would not ask for it at once, as for a script that only some pages need."""
    loading = r"<(?:script|img|iframe|source|video)\b[^>]*\bsrc=[\"']?(https?:)?//|<link\b(?![^>]*canonical)[^>]*href=[\"']?https?://"
    outside = []
    for page in site.rglob("*.html"):
        tags = [tag for tag in re.finditer(loading, page.read_text(encoding="utf-8")) if SITE not in tag[0]]
        outside += [f"{page.relative_to(site)}: {tag[0]}" for tag in tags]
    assert outside == []


@needs_chromium
def test_the_search_finds_a_page(url: str, browser: Browser):
    browser.resize(1280, 800)
    browser.load(url)
    browser.evaluate("document.querySelector('.md-search__input').focus()")
    browser.call("Input.insertText", text="frozen picture")
    browser.wait_for("document.querySelector('.md-search-result__link[href*=\"how-to/live/\"]')")
    browser.evaluate("document.querySelector('.md-search-result__link[href*=\"how-to/live/\"]').click()")
    browser.wait_for("location.pathname.endsWith('/how-to/live/')")
    assert browser.problems == []


@needs_chromium
def test_the_menu_of_a_phone_opens_by_keyboard(url: str, browser: Browser):
    browser.resize(360, 740, mobile=True)
    browser.load(url + "how-to/live/")
    menu = "document.querySelector('.md-sidebar--primary')"
    browser.wait_for(f"getComputedStyle({menu}).visibility === 'hidden'")
    browser.evaluate("document.querySelector('label.md-header__button[for=__drawer] [role=button]').focus()")
    browser.press("Enter", 13)
    browser.wait_for(f"getComputedStyle({menu}).visibility === 'visible'")
    browser.wait_for(f"{menu}.getBoundingClientRect().left >= 0")


@needs_chromium
def test_dark_colours_follow_the_system_and_code_can_be_copied(url: str, browser: Browser):
    scheme = "document.body.dataset.mdColorScheme"
    for preferred, expected in (("light", "default"), ("dark", "slate"), ("light", "default")):
        browser.prefer(preferred)
        browser.load(url + "how-to/files/")
        browser.wait_for(f"{scheme} === '{expected}'")
    browser.wait_for("document.querySelector('.md-code__button[data-md-type=copy]')")


@needs_chromium
def test_nothing_keeps_people_out_and_nothing_is_asked_of_other_hosts(url: str, browser: Browser):
    try:
        axe = axe_script()
    except ConnectionError as error:
        pytest.skip(str(error))
    on_screen = look_at(browser, [url + page for page in ON_SCREEN], axe, schemes=["light"], widths_px=[1280])
    on_phone = look_at(browser, [url + page for page in ON_PHONE], axe, schemes=["dark"], widths_px=[360])
    wrong = [*on_screen.wrong, *on_phone.wrong]
    assert [line for line in wrong if "status of 404" not in line] == []  # of the page that is not there


def test_what_leads_nowhere_ends_the_build(tmp_path: Path):
    """A dead link, a dead anchor, a file that the repository does not have, and a page without a place."""
    docs = tmp_path / "docs"
    docs.mkdir()
    text = "# A\n\n[page](gone.md) [section](other.md#gone) [file](../gone.py) [map](../ARCHITECTURE.md)\n"
    (docs / "index.md").write_text(text)
    (docs / "other.md").write_text("# B\n")
    (docs / "lost.md").write_text("# C\n")
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").replace("tools/site/", f"{ROOT}/tools/site/")
    nav = config.index("nav:\n"), config.index("# A link or an anchor")
    config = config[: nav[0]] + "nav:\n  - index.md\n  - other.md\n\n" + config[nav[1] :]
    (tmp_path / "mkdocs.yml").write_text(config, encoding="utf-8")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    for words in ("'gone.md'", "'#gone'", "'../gone.py', which is not there", "lost.md"):
        assert words in done.stderr, done.stderr
    assert "ARCHITECTURE" not in done.stderr

"""`make docs-check`: every page of the built site, and the live page, as axe-core and a keyboard see them in Chromium.

    python -m tools.site.check --output benchmarks/accessibility.json

Exit code 1 where anything is wrong; the JSON says what.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from taemi_edge.bench.provenance import write_report
from taemi_edge.pages import SITE
from tests.live.browser import CHROMIUM, Browser
from tests.live.running import LiveRun
from tests.live.servers import free_port
from tools.site.axe import TAGS, VERSION, axe_script
from tools.site.looking import SCHEMES, WIDTHS_PX, Findings, look_at
from tools.site.serving import served_site

ROOT = Path(__file__).parent.parent.parent
_ASSETS = ROOT / "taemi_edge" / "assets"
_READY = "document.documentElement.dataset.pictures >= 2 && document.documentElement.dataset.hops >= 2"


def site_pages(folder: Path) -> list[str]:
    """Every page of the site, as its sitemap has them, below the site's address; and one that is not there."""
    tree = ElementTree.parse(folder / "sitemap.xml")  # noqa: S314  made by mkdocs a moment ago
    found = [str(node.text).removeprefix(SITE) for node in tree.iter() if node.tag.endswith("}loc")]
    return [*sorted(found), "nothing-is-here/"]


def look_at_site(folder: Path, axe: str) -> Findings:
    """Look at every page of the built site."""
    with served_site(folder) as url, Browser() as browser:
        found = look_at(browser, [url + page for page in site_pages(folder)], axe)
    found.problems = [line for line in found.problems if "404" not in line]  # of the page that is not there
    return found


def look_at_live_page(bundle: Path, axe: str) -> Findings:
    """Look at the page of a live run of two sources, one of which has neither picture nor sound."""
    port = free_port()
    words = (f"talk={_ASSETS / 'demo.mp4'}", f"again={_ASSETS / 'demo.mp4'}", "--loop", "--serve", f"127.0.0.1:{port}")
    with tempfile.TemporaryDirectory() as folder, LiveRun(Path(folder), bundle, *words) as run, Browser() as browser:
        run.wait_until(lambda: len(run.predictions) >= 4)
        return look_at(browser, [f"http://127.0.0.1:{port}/"], axe, ready=lambda: browser.wait_for(_READY))


def main() -> int:
    """Look at everything, write the JSON, and print what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--site", type=Path, default=ROOT / "site", help="the built site")
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle that the live page runs")
    parser.add_argument("--output", type=Path, required=True, help="the JSON to write")
    given = parser.parse_args()
    axe = axe_script()
    found = {"site": look_at_site(given.site, axe), "live_page": look_at_live_page(given.bundle, axe)}
    write_report(given.output, report(found), "mkdocs-material")
    wrong = [line for findings in found.values() for line in findings.wrong]
    sys.stdout.write("".join(f"{line}\n" for line in wrong))
    for name, findings in found.items():
        sys.stdout.write(
            f"{name}: {findings.pages} pages, {findings.looks} looks, {len(findings.wrong)} things wrong\n"
        )
    return 1 if wrong else 0


def report(found: dict[str, Findings]) -> dict[str, Any]:
    """What the JSON holds, besides how it was made."""
    chromium = subprocess.run([str(CHROMIUM), "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return {
        "axe_core": VERSION,
        "chromium": chromium,
        "rules": TAGS,
        "schemes": SCHEMES,
        "widths_px": WIDTHS_PX,
        **{name: {"wrong": len(each.wrong), **dataclasses.asdict(each)} for name, each in found.items()},
    }


if __name__ == "__main__":
    sys.exit(main())

"""Looks at pages in a real Chromium, in both colour schemes and on a screen and a phone, and says what is wrong."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from tools.site.axe import in_words, violations
from tools.site.keyboard import unreached_by_tab

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
#: CSS pixels of a screen and of a small telephone.
WIDTHS_PX = (1280, 360)
_HEIGHT_PX = 800
#: A page that is narrower than this is shown as a telephone shows it.
_PHONE_PX = 500


class Browser(Protocol):
    """What is used of `tests.live.browser.Browser`."""

    problems: list[str]
    requests: list[str]

    def call(self, method: str, **parameters: Any) -> Any: ...

    def evaluate(self, script: str) -> Any: ...

    def load(self, url: str) -> None: ...

    def prefer(self, scheme: str) -> None: ...

    def press(self, key: str, code: int) -> None: ...

    def resize(self, width: int, height: int, mobile: bool = False) -> None: ...


@dataclass
class Findings:
    """What is wrong with pages; all empty where nothing is.

    Attributes:
        pages: how many were looked at.
        looks: how often: pages by schemes and widths.
        violations: of axe's rules, with page, scheme and width.
        too_wide: pages that scroll sideways.
        outside: what was asked of another host than the page's own.
        unreached: controls that the Tab key does not come to.
        problems: what the browser logged as an error.
    """

    pages: int = 0
    looks: int = 0
    violations: list[str] = field(default_factory=list)
    too_wide: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> list[str]:
        """All that is wrong, one line each."""
        return [*self.violations, *self.too_wide, *self.outside, *self.unreached, *self.problems]


def look_at(
    browser: Browser,
    urls: Iterable[str],
    axe: str,
    *,
    ready: Callable[[], object] = lambda: None,
    schemes: Iterable[Scheme] = SCHEMES,
    widths_px: Iterable[int] = WIDTHS_PX,
) -> Findings:
    """Look at each page in every scheme and width.

    Args:
        browser: where they are opened.
        urls: the pages, all of one host.
        axe: the script of axe-core.
        ready: waits until a page that was loaded shows what it has to show.
        schemes: the colour schemes that the system prefers.
        widths_px: the widths of the window.
    """
    found, pages = Findings(), list(urls)
    browser.call("Network.enable")
    host = urlsplit(pages[0])
    before = len(browser.requests)
    for scheme, width in itertools.product(schemes, widths_px):
        browser.prefer(scheme)
        browser.resize(width, _HEIGHT_PX, mobile=width < _PHONE_PX)
        # What the reader chose on an earlier visit would win over the system's scheme.
        browser.call("Storage.clearDataForOrigin", origin=f"{host.scheme}://{host.netloc}", storageTypes="all")
        for url in pages:
            browser.load(url)
            ready()
            _look(browser, axe, f"{urlsplit(url).path} ({scheme}, {width} px)", width, found)
    allowed = (f"{host.scheme}://{host.netloc}/", f"ws://{host.netloc}/", "data:", "blob:")
    found.pages = len(pages)
    found.outside = sorted({url for url in browser.requests[before:] if not url.startswith(allowed)})
    found.problems = list(browser.problems)
    return found


def _look(browser: Browser, axe: str, where: str, width: int, found: Findings) -> None:
    found.looks += 1
    found.violations += [f"{where}: {line}" for line in in_words(violations(browser, axe))]
    if (wide := int(browser.evaluate("document.documentElement.scrollWidth"))) > width:
        found.too_wide.append(f"{where}: {wide} px wide")
    if "(light," in where:  # colours change nothing of what the keyboard reaches
        found.unreached += [f"{where}: {control}" for control in unreached_by_tab(browser)]

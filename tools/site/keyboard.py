"""What the Tab key reaches on an open page."""

from __future__ import annotations

from typing import Any, Protocol

#: What can be focused by Tab and is shown; of radio buttons that belong together, one.
_STOPS = """(() => {
  const groups = new Set();
  return [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")].filter((e) => {
    if (e.tabIndex < 0 || e.disabled || !e.checkVisibility({visibilityProperty: true})) return false;
    const box = e.getBoundingClientRect();
    if (!box.width || !box.height) return false;
    if (e.type !== "radio") return true;
    if (groups.has(e.name)) return false;
    groups.add(e.name);
    return true;
  });
})()"""
#: Of them, those that were not reached and that could still be.
_MISSED = """stops.filter((e) => e.isConnected && e.tabIndex >= 0
  && !(e.type === "radio" ? [...reached].some((r) => r.name === e.name) : reached.has(e)))"""
_TAB = 9


class Page(Protocol):
    """What `tests.live.browser.Browser` offers of an open page."""

    def evaluate(self, script: str) -> Any: ...

    def press(self, key: str, code: int) -> None: ...


def unreached_by_tab(page: Page, most: int = 2000) -> list[str]:
    """The controls that Tab does not come to, from the page's beginning on.

    Args:
        page: an open page.
        most: so often Tab is pressed at most.

    Returns:
        The beginning of each element's HTML.
    """
    page.evaluate("document.activeElement?.blur(); window.scrollTo(0, 0); getSelection().removeAllRanges(); true")
    page.evaluate(f"window.stops = {_STOPS}; window.reached = new Set(); true")
    wanted = int(page.evaluate("stops.length"))
    for _ in range(min(most, wanted + 20)):
        page.press("Tab", _TAB)
        page.evaluate("reached.add(document.activeElement); true")
    found: list[str] = page.evaluate(f"{_MISSED}.map((e) => e.outerHTML.slice(0, 160))")
    return found

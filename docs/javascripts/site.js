// What scrolls sideways in itself can be reached and scrolled by the keyboard: tab to it, then arrow keys.
const SCROLLING = [
  ".md-typeset pre > code", ".md-typeset pre", ".md-typeset__scrollwrap", ".md-typeset__table", ".md-typeset table",
  ".jp-OutputArea-output", ".highlight-ipynb",
];

function makeReachable() {
  for (const box of document.querySelectorAll(SCROLLING.join(", "))) {
    const scrolls = box.scrollWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX !== "visible";
    if (scrolls) box.tabIndex = 0;
    else if (box.tabIndex === 0) box.removeAttribute("tabindex");
  }
}

// The theme puts the button that copies code into a landmark, one for each block; a button needs none.
function leaveOutLandmarks() {
  document.querySelectorAll("nav.md-code__nav:not([role])").forEach((box) => box.setAttribute("role", "none"));
}

// Below the width of a tablet, the menu and the search are opened by labels, which no keyboard comes to. Each gets a
// button inside; a click on it is one on the label.
function putButtonsIntoLabels() {
  for (const [id, name] of [["__drawer", "Menu"], ["__search", "Search"]]) {
    for (const label of document.querySelectorAll(`label.md-header__button[for="${id}"]`)) {
      const button = document.createElement("span");
      button.tabIndex = 0;
      button.setAttribute("role", "button");
      button.setAttribute("aria-label", name);
      button.append(...label.childNodes);
      label.append(button);
      button.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        button.click();
      });
    }
  }
}

addEventListener("DOMContentLoaded", putButtonsIntoLabels);
addEventListener("load", makeReachable);
addEventListener("resize", makeReachable);
new MutationObserver(leaveOutLandmarks).observe(document.documentElement, { childList: true, subtree: true });

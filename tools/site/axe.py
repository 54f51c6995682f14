"""axe-core, which looks for what keeps people out of a page: contrast, names, order, keyboard.

It comes from npm, in a version that is pinned by its hash, and stays in the user's cache.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Protocol

VERSION = "4.14.1"
#: As npm's registry has it: `npm view axe-core@4.14.1 dist.integrity`.
INTEGRITY = "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
#: Every rule of WCAG 2.0 to 2.2 at levels A and AA, and what axe calls best practice.
TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")


class Page(Protocol):
    """What `tests.live.browser.Browser` offers of an open page."""

    def evaluate(self, script: str) -> Any: ...


def axe_script() -> str:
    """The text of axe-core, from the cache or from npm.

    Raises:
        ConnectionError: npm is not installed, or its registry does not answer.
        ValueError: what came is something else than was pinned.
    """
    archive = _cache() / f"axe-core-{VERSION}.tgz"
    if not archive.is_file():
        _fetch(archive)
    content = archive.read_bytes()
    found = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    if found != INTEGRITY:
        raise ValueError(f"{archive}: expected axe-core with the hash {INTEGRITY}, got {found}: remove the file")
    with tarfile.open(archive) as files:
        member = files.extractfile("package/axe.min.js")
        if member is None:
            raise ValueError(f"{archive}: expected package/axe.min.js in it, got none")
        return member.read().decode("utf-8")


def violations(page: Page, script: str) -> list[dict[str, Any]]:
    """What axe finds wrong with the open page: each rule with the elements that break it."""
    page.evaluate(f"{{ const module = undefined; {script}; true }}")
    options = json.dumps({"runOnly": {"type": "tag", "values": TAGS}, "resultTypes": ["violations"]})
    node = "({html, failureSummary}) => ({html, why: failureSummary})"
    chosen = f"({{id, impact, help, nodes}}) => ({{id, impact, help, nodes: nodes.map({node})}})"
    found: list[dict[str, Any]] = page.evaluate(
        f"axe.run(document, {options}).then(({{violations}}) => violations.map({chosen}))"
    )
    return found


def in_words(found: list[dict[str, Any]]) -> list[str]:
    """One line for each element that breaks a rule."""
    return [
        f"{rule['id']} ({rule['impact']}): {node['html']:.160} {' '.join(node['why'].split()):.300}"
        for rule in found
        for node in rule["nodes"]
    ]


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taemi-edge" / "test-media"


def _fetch(archive: Path) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        command = ["npm", "pack", "--silent", "--pack-destination", folder, f"axe-core@{VERSION}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConnectionError(f"npm cannot fetch axe-core: {error}") from error
        fetched = Path(folder) / archive.name
        if done.returncode or not fetched.is_file():
            raise ConnectionError(f"npm's registry does not answer: {done.stderr.strip()[-300:]}")
        fetched.rename(archive)

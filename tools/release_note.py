"""Prints the release note of a version, drawn from CHANGELOG.md: python -m tools.release_note [VERSION]

The text is what stands under the version's heading. Links of the tree become addresses of the site or the repository,
so that the note can be read where it is published.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from taemi_edge import __version__

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]


def release_note(version: str, changelog: str) -> str:
    """The text under a version's heading, with links that lead somewhere from anywhere.

    Raises:
        ValueError: the changelog has no such version, or nothing under it; the message lists those that it has.

    Example:
        >>> release_note("0.2.0", "## 0.2.0\\n\\n- New: [runs](docs/how-to/live.md#serve).\\n\\n## 0.1.0\\n")
        '- New: [runs](https://taemi-edge.github.io/taemi-edge/how-to/live/#serve).\\n'
    """
    sections = re.split(r"^## (\S+).*$", changelog, flags=re.MULTILINE)[1:]
    notes = dict(zip(sections[::2], sections[1::2], strict=True))
    text = notes.get(version, "").strip()
    if not text:
        raise ValueError(f"expected one of {', '.join(notes)}, got {version}")
    return re.sub(r"\]\((?!\w+:|#)([^)\s]+)\)", lambda link: f"]({_address(link[1], version)})", text) + "\n"


def _address(link: str, version: str) -> str:
    """Where a file of the tree can be read: pages on the site, everything else in the repository."""
    path, _, anchor = link.partition("#")
    anchor = f"#{anchor}" if anchor else ""
    if path.startswith("docs/") and path.endswith(".md"):
        page = path.removeprefix("docs/").removesuffix(".md").removesuffix("index")
        return f"{URLS['Documentation']}{page.rstrip('/')}/{anchor}"
    return f"{URLS['Repository']}/blob/v{version}/{path}{anchor}"


def main() -> int:
    """Print the note of the version that is named, or of this one."""
    version = sys.argv[1].removeprefix("v") if len(sys.argv) > 1 else __version__
    try:
        print(release_note(version, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")), end="")
    except ValueError as error:
        print(f"release_note: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

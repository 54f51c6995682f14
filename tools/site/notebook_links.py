"""Turns the links of notebooks into those of the site: MkDocs does so for Markdown pages alone.

A link to a page of `docs/` becomes its address on the site, and one to another file leads to the repository. A link to
a file that does not exist ends the build.
"""

from __future__ import annotations

import logging
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent.parent
_LINK = re.compile(r'(?<=href=")(?P<target>[^"#:]+)(?P<anchor>#[^"]*)?(?=")')
_log = logging.getLogger("mkdocs.site")


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrites the links of a notebook."""
    if not page.file.src_uri.endswith(".ipynb"):
        return html

    def rewritten(link: re.Match[str]) -> str:
        anchor = link["anchor"] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page.file.src_uri), link["target"]))
        if (file := files.get_file_from_path(path)) is not None:
            return file.url_relative_to(page.file) + anchor
        outside = posixpath.normpath(posixpath.join("docs", path))
        if not (ROOT / outside).exists():
            _log.warning("Doc file '%s' links to '%s', which is not there.", page.file.src_uri, link["target"])
            return link[0]
        return f"{config.repo_url}/blob/main/{outside}{anchor}"

    return _LINK.sub(rewritten, html)

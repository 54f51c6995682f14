"""What MkDocs does for this site beyond its configuration.

- The addresses of the repository and of the site come from `pyproject.toml`.
- Pages link to files outside `docs/` as GitHub wants it, relative to themselves. On the site these lead to the
  repository; pictures come along. A link to a file that does not exist ends the build.
- `llms.txt` is served, with links to the site's own pages.
"""

from __future__ import annotations

import logging
import posixpath
import re
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent.parent
#: Where pictures from outside `docs/` lie on the site.
PICTURES = "images/repository"
_PICTURE_ENDINGS = {".png", ".svg", ".gif", ".jpg", ".webp"}
_LINK = re.compile(r"(?P<before>!?\[[^\]]*\]\()(?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?(?=\))")
_log = logging.getLogger("mkdocs.site")


def project_urls() -> dict[str, str]:
    """The addresses that `pyproject.toml` names, by their label."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return dict(project.get("urls", {}))


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Takes the addresses from where they are kept."""
    urls = project_urls()
    config.site_url = urls["Documentation"].rstrip("/") + "/"
    config.repo_url = urls["Repository"].rstrip("/")
    config.repo_name = config.repo_url.removeprefix("https://github.com/")
    config.edit_uri = "edit/main/docs/"
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pictures outside `docs/` that pages show."""
    added: set[str] = set()
    for page in files.documentation_pages():
        if not page.src_uri.endswith(".md"):
            continue
        for link in _LINK.finditer(_without_code(page.content_string)):
            outside = _outside(page.src_uri, link["target"])
            if outside and _is_picture(outside) and outside not in added and (ROOT / outside).is_file():
                added.add(outside)
                files.append(
                    File.generated(config, f"{PICTURES}/{outside}", abs_src_path=str(ROOT / outside)),
                )
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrites links to files outside `docs/`."""

    def rewritten(link: re.Match[str]) -> str:
        outside = _outside(page.file.src_uri, link["target"])
        if outside is None:
            return link[0]
        if not (ROOT / outside).exists():
            _log.warning("Doc file '%s' links to '%s', which is not there.", page.file.src_uri, link["target"])
            return link[0]
        if _is_picture(outside) and files.get_file_from_path(f"{PICTURES}/{outside}"):
            here = posixpath.dirname(page.file.src_uri)
            return link["before"] + posixpath.relpath(f"{PICTURES}/{outside}", here or ".")
        kind = "tree" if (ROOT / outside).is_dir() else "blob"
        return f"{link['before']}{config.repo_url}/{kind}/main/{outside}{link['anchor'] or ''}"

    return _outside_code(markdown, lambda text: _LINK.sub(rewritten, text))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Table heads that say nothing are no heads: a screen reader would read them out for each cell."""
    return re.sub(r"<th([^>]*)>\s*</th>", r"<td\1></td>", html)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Names what the theme leaves without a name, for screen readers; axe-core holds that nothing is missing."""
    return _with_names(output)


def on_post_template(output_content: str, template_name: str, config: MkDocsConfig) -> str:
    """The same for 404.html, which is no page of the navigation."""
    return _with_names(output_content) if template_name.endswith(".html") else output_content


def _with_names(html: str) -> str:
    search = 'data-md-component="search" role="dialog"'
    return _inner_lists_are_groups(html.replace(search, f'{search} aria-label="Search"'))


def _inner_lists_are_groups(html: str) -> str:
    """Makes groups of the lists inside the navigation: the theme makes landmarks of them, many of one name."""
    opened: list[bool] = []

    def changed(tag: re.Match[str]) -> str:
        if tag[0] == "</nav>":
            return "</div>" if opened.pop() else tag[0]
        inner = re.match(r'<nav class="md-nav"', tag[0]) is not None
        opened.append(inner)
        if not inner:
            return tag[0]
        return re.sub(r' aria-expanded="\w+"', "", tag[0]).replace("<nav ", '<div role="group" ', 1)

    return re.sub(r"<nav\b[^>]*>|</nav>", changed, html)


def on_post_build(config: MkDocsConfig) -> None:
    """Writes `llms.txt` beside the pages."""
    text = (ROOT / "llms.txt").read_text(encoding="utf-8")
    (Path(config.site_dir) / "llms.txt").write_text(llms_for_site(text, config), encoding="utf-8")


def llms_for_site(text: str, config: MkDocsConfig) -> str:
    """The text of `llms.txt` with whole addresses: of the site's pages, and of what only the repository has."""

    def whole(link: re.Match[str]) -> str:
        target = link["target"]
        if "://" in target:
            return link[0]
        if target.startswith("docs/") and target.endswith(".md"):
            page = target.removeprefix("docs/").removesuffix(".md").removesuffix("index")
            return f"{link['before']}{config.site_url}{page.rstrip('/')}/{link['anchor'] or ''}"
        return f"{link['before']}{config.repo_url}/blob/main/{target}{link['anchor'] or ''}"

    return _LINK.sub(whole, text)


def _outside(src_uri: str, target: str) -> str | None:
    """The path in the repository that a page links to, or None where that lies in `docs/` or elsewhere."""
    if "://" in target or target.startswith(("/", "mailto:")):
        return None
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(src_uri), target))
    return None if path == "docs" or path.startswith(("docs/", "..")) else path


def _is_picture(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() in _PICTURE_ENDINGS


def _outside_code(markdown: str, change: Callable[[str], str]) -> str:
    """Changes what stands outside fenced code."""
    pieces: list[str] = []
    text: list[str] = []
    fence = ""
    for line in markdown.splitlines(keepends=True):
        mark = re.match(r"\s*(```+|~~~+)", line)
        if fence or mark:
            pieces += [change("".join(text)), line]
            text = []
            if not fence and mark:
                fence = mark[1]
            elif mark and mark[1].startswith(fence):
                fence = ""
        else:
            text.append(line)
    return "".join([*pieces, change("".join(text))])


def _without_code(markdown: str) -> str:
    found: list[str] = []

    def keep(text: str) -> str:
        found.append(text)
        return text

    _outside_code(markdown, keep)
    return "".join(found)

"""Serves the built site on this machine, below the path that it has on its real host."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from taemi_edge.pages import SITE

#: Where the site begins on its host.
BASE = urlsplit(SITE).path


class _Handler(SimpleHTTPRequestHandler):
    """What GitHub Pages does: files below the base, and 404.html for what is not there."""

    def translate_path(self, path: str) -> str:
        inner = path.removeprefix(BASE.rstrip("/"))
        return super().translate_path(inner if inner != path else "/nothing-outside-the-base")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        page = Path(self.directory) / "404.html"
        if code != 404 or not page.is_file():
            super().send_error(code, message, explain)
            return
        content = page.read_bytes()
        self.send_response(404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Says nothing of each request."""


@contextmanager
def served_site(folder: Path) -> Iterator[str]:
    """The address of the site's first page, while it is served."""

    def handler(*words: Any) -> _Handler:
        return _Handler(*words, directory=str(folder))

    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}{BASE}"
        finally:
            server.shutdown()
            thread.join(10)

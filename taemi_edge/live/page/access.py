"""Decides who may open the page: checks of the host, the origin and the token of each request.

Served on loopback the page is open to this machine; on any other address it needs a token. A request must name a host
of ours, and a WebSocket must come from our own page, so that other pages in a browser cannot read it.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, RedirectResponse

from taemi_edge.errors import UsageError
from taemi_edge.live.config import ServeConfig

TOKEN_VARIABLE = "TAEMI_EDGE_TOKEN"  # noqa: S105  a name, not a token
_COOKIE = "taemi_edge_token"
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
#: Sent with every file of the page: it loads nothing from elsewhere and cannot be framed.
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def find_token(config: ServeConfig) -> str | None:
    """The token that clients must show: from the file that the configuration names, or from the environment.

    Returns:
        None where the address is loopback and there is no token.

    Raises:
        UsageError: the address is not loopback and there is no token, or the token is too short or holds odd signs.

    Example:
        >>> find_token(ServeConfig("192.168.0.7:8080"))
        Traceback (most recent call last):
        taemi_edge.errors.UsageError: --serve 192.168.0.7:8080: an address that others can reach needs a token ...
    """
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if config.token_file:
        try:
            token = Path(config.token_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--token-file {config.token_file}: cannot be read: {error}") from error
    if not token and config.is_loopback and not config.token_file:
        return None
    if len(token) < 16 or not token.isascii() or any(sign.isspace() or sign in ';,"' for sign in token):
        raise UsageError(
            f"--serve {config.address}: an address that others can reach needs a token of at least 16 letters and "
            f"digits: make one with `openssl rand -hex 16 > token` and add `--token-file token`, or set "
            f"{TOKEN_VARIABLE}"
        )
    return token


App = Callable[[Any, Any, Any], Awaitable[None]]


class AccessGate:
    """Middleware that refuses requests for another host, WebSockets of other pages, and clients without the token.

    Args:
        app: what answers the requests that are let in.
        config: the address that is served, and whether by TLS.
        token: what clients must show; None where no token is needed.
    """

    def __init__(self, app: App, config: ServeConfig, token: str | None) -> None:
        self._app, self._config, self._token = app, config, token

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not self._is_our_host(headers.get("host", "")):
            await self._refuse(scope, receive, send, 421, "this server does not go by that name")
            return
        if scope["type"] == "websocket" and not self._is_our_page(headers):
            await self._refuse(scope, receive, send, 403, "WebSockets are for this server's own page")
            return
        scope.setdefault("state", {})["trusted"] = trusted = self._is_trusted(scope, headers)
        if trusted and (given := _query_token(scope)) and scope["type"] == "http" and scope["path"] == "/":
            await self._keep_token(given, scope, receive, send)
            return
        if not trusted and scope["path"] != "/healthz":
            await self._refuse(scope, receive, send, 401, f"a token is asked for: open /?token=... ({TOKEN_VARIABLE})")
            return
        await self._app(scope, receive, send)

    def _is_our_host(self, host: str) -> bool:
        """On loopback only names of loopback are ours: a page elsewhere could let its own name resolve here."""
        if not self._config.is_loopback:
            return bool(host)
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        return name in (*_LOOPBACK_NAMES, self._config.host)

    def _is_our_page(self, headers: Headers) -> bool:
        """Browsers always send the origin of a WebSocket; programs that are no browsers may leave it out."""
        origin = headers.get("origin")
        return origin is None or urlsplit(origin).netloc == headers.get("host")

    def _is_trusted(self, scope: Any, headers: Headers) -> bool:
        if self._token is None:
            return True
        bearer = headers.get("authorization", "").removeprefix("Bearer ").strip()
        cookies = dict(pair.strip().partition("=")[::2] for pair in headers.get("cookie", "").split(";"))
        given = (bearer, cookies.get(_COOKIE, ""), _query_token(scope))
        return any(hmac.compare_digest(token.encode(), self._token.encode()) for token in given if token)

    async def _keep_token(self, token: str, scope: Any, receive: Any, send: Any) -> None:
        """Move the token from the address, where it would stay in the browser's history, into a cookie."""
        response = RedirectResponse("/", 303, headers=SECURITY_HEADERS)
        secure = bool(self._config.tls_certificate)
        response.set_cookie(_COOKIE, token, httponly=True, samesite="strict", secure=secure, max_age=30 * 86_400)
        await response(scope, receive, send)

    async def _refuse(self, scope: Any, receive: Any, send: Any, status: int, reason: str) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": reason})
        else:
            await PlainTextResponse(reason + "\n", status)(scope, receive, send)


def _query_token(scope: Any) -> str:
    query = scope.get("query_string", b"").decode("latin-1")
    return next((pair.removeprefix("token=") for pair in query.split("&") if pair.startswith("token=")), "")

"""Decides who may open the page: checks of the host, the origin and the token of each request.

Served on loopback the page is open to this machine; on any other address it needs a token. A request must name a host
of ours, and a WebSocket must come from our own page, so that other pages in a browser cannot read it. Requests only
read: those with another method or with a body are refused before anything looks at them.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from taemi_edge.errors import UsageError
from taemi_edge.live.config import ServeConfig
from taemi_edge.live.page.care import App, answer
from taemi_edge.live.page.connections import Connection
from taemi_edge.live.page.guesses import GuessLimit
from taemi_edge.live.rare_log import RareLog

log = logging.getLogger("taemi_edge.live")

TOKEN_VARIABLE = "TAEMI_EDGE_TOKEN"  # noqa: S105  a name, not a token
_COOKIE = "taemi_edge_token"
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


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


class AccessGate:
    """Middleware that refuses requests for another host, WebSockets of other pages, and clients without the token.

    Args:
        app: what answers the requests that are let in.
        config: the address that is served, and whether by TLS.
        token: what clients must show; None where no token is needed.
        guesses: slows down whoever guesses at the token.
    """

    def __init__(self, app: App, config: ServeConfig, token: str | None, guesses: GuessLimit) -> None:
        self._app, self._config, self._token, self._guesses = app, config, token, guesses
        self._rare_log = RareLog(log)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._not_for_us(scope, headers)
        if refusal is not None:
            await answer(refusal, scope, receive, send)
            return
        given = _given_tokens(scope, headers)
        trusted, too_often = (True, False) if self._token is None else await self._judge(scope, given)
        scope["state"]["trusted"] = trusted
        if trusted and "query" in given and scope["type"] == "http" and scope["path"] == "/":
            await self._leave_the_address(given["query"], scope, receive, send)
        elif trusted or scope["path"] == "/healthz":
            await self._app(scope, receive, send)
        elif too_often:
            refusal = PlainTextResponse("too many wrong tokens\n", 429, headers={"Retry-After": "1"})
            await answer(refusal, scope, receive, send)
        else:
            reason = f"expected the access token: open /?token=... ({TOKEN_VARIABLE})\n"
            await answer(PlainTextResponse(reason, 401), scope, receive, send)

    def _not_for_us(self, scope: Any, headers: Headers) -> Response | None:
        """The refusal of a request that no client of ours makes; None for all others."""
        if not self._is_our_host(headers.get("host", "")):
            return PlainTextResponse("this server does not go by that name\n", 421)
        if scope["type"] == "websocket":
            return None if self._is_our_page(headers) else PlainTextResponse("WebSockets are for our own page\n", 403)
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("expected GET or HEAD\n", 405, headers={"Allow": "GET, HEAD"})
        if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
            return PlainTextResponse("expected a request without a body\n", 413)
        return None

    def _is_our_host(self, host: str) -> bool:
        """On loopback only names of loopback are ours: a page elsewhere could let its own name resolve here."""
        if not self._config.is_loopback:
            return bool(host)
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        return name.lower() in (*_LOOPBACK_NAMES, self._config.host)

    def _is_our_page(self, headers: Headers) -> bool:
        """Browsers always send the origin of a WebSocket; programs that are no browsers may leave it out."""
        origins = headers.getlist("origin")
        return all(urlsplit(origin).netloc.lower() == headers.get("host", "").lower() for origin in origins)

    async def _judge(self, scope: Any, given: dict[str, str]) -> tuple[bool, bool]:
        """Whether one of the tokens is right, and whether their sender has been wrong too often."""
        if not given:
            return False, False
        connection: Connection = scope["state"]["connection"]
        now_s = asyncio.get_running_loop().time
        connection.enter("queueing", now_s())
        if not await self._guesses.turn(connection.owner, connection.is_gone):
            return False, True
        connection.enter("answering", now_s())
        right = sum(self._is_right(token) for token in given.values()) > 0  # all are compared: the time tells nothing
        too_often = self._guesses.note(connection.owner, right)
        if too_often:
            self._rare_log.warning("page: %s: wrong tokens, %d so far", connection.owner, self._guesses.wrong)
        return right, too_often

    def _is_right(self, token: str) -> bool:
        return self._token is not None and hmac.compare_digest(token.encode(), self._token.encode())

    async def _leave_the_address(self, token: str, scope: Any, receive: Any, send: Any) -> None:
        """Move the token from the address, where it would stay in the browser's history, into a cookie.

        A wrong one is dropped: the cookie that let its sender in stays.
        """
        response = RedirectResponse("/", 303)
        if self._token is not None and self._is_right(token):
            secure = bool(self._config.tls_certificate)
            response.set_cookie(_COOKIE, token, httponly=True, samesite="strict", secure=secure, max_age=30 * 86_400)
        await response(scope, receive, send)


def _given_tokens(scope: Any, headers: Headers) -> dict[str, str]:
    """The tokens of a request, by where they stand: one in each place at most."""
    bearer = headers.get("authorization", "").removeprefix("Bearer ").strip()
    cookies = dict(pair.strip().partition("=")[::2] for pair in headers.get("cookie", "").split(";"))
    query = scope.get("query_string", b"").decode("latin-1")
    in_query = next((p.removeprefix("token=") for p in query.split("&") if p.startswith("token=")), "")
    given = {"bearer": bearer, "cookie": cookies.get(_COOKIE, ""), "query": in_query}
    return {place: token for place, token in given.items() if token}

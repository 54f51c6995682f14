"""The outermost layer of the page's application: notes what each connection is doing, and completes every answer.

Whoever asks far more often than pages do has to wait, so that answers never take the processors from the predictions.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import PlainTextResponse, Response

from taemi_edge.live.failures import failure_of
from taemi_edge.live.pace import Pace
from taemi_edge.live.page.connections import THIS_MACHINE, Connection, ConnectionTable, owner_of
from taemi_edge.live.page.protocols import RAW_SECURITY_HEADERS
from taemi_edge.live.rare_log import RareLog

log = logging.getLogger("taemi_edge.live")

App = Callable[[Any, Any, Any], Awaitable[None]]
#: How many requests of one owner are answered in a second, and at once. This machine may speak for many.
_PER_SECOND, _AT_ONCE, _SHARE_OF_THIS_MACHINE = 25.0, 100.0, 4
#: Nobody waits for longer than a second.
_MOST_DEBT_S = 0.8
_MOST_OWNERS = 1024
_ANSWERS = ("http.response.start", "websocket.http.response.start", "websocket.accept")


class ConnectionCare:
    """Middleware that keeps the table of connections up to date, adds our headers, and answers 500 where we fail.

    A request's connection is in `scope["state"]["connection"]`.

    Args:
        app: what answers.
        table: the connections of the server.
    """

    def __init__(self, app: App, table: ConnectionTable) -> None:
        self._app, self._table = app, table
        self._rare_log = RareLog(log)
        self._paces: dict[str, Pace] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        now_s = asyncio.get_running_loop().time
        connection = self._connection(scope, now_s())
        scope.setdefault("state", {})["connection"] = connection
        if (wait_s := self._pace(connection.owner).wait_s(1.0, now_s())) > 0:
            connection.enter("queueing", now_s())
            await asyncio.sleep(wait_s)
        connection.enter("answering", now_s())
        started = False

        async def send_completed(message: Any) -> None:
            nonlocal started
            if message["type"] in _ANSWERS:
                started = True
                given = {name.lower() for name, _ in message.get("headers", [])}
                more = [(name, value) for name, value in RAW_SECURITY_HEADERS if name not in given]
                message = {**message, "headers": [*message.get("headers", []), *more]}
            if message["type"] == "websocket.accept":
                connection.enter("open", now_s())
            await send(message)

        try:
            await self._app(scope, receive, send_completed)
        except Exception as error:  # noqa: BLE001  logged now and then: a client may be able to set it off
            self._rare_log.warning("page: a request failed: %s", failure_of(error))
            if not started:
                await answer(PlainTextResponse("the server failed\n", 500), scope, receive, send_completed)
        finally:
            connection.enter("waiting", now_s())

    def _pace(self, owner: str) -> Pace:
        """The pace of an owner; of very many, those that were heard of longest ago are forgotten."""
        pace = self._paces.pop(owner, None)
        if pace is None:
            more = _SHARE_OF_THIS_MACHINE if owner == THIS_MACHINE else 1
            pace = Pace(_PER_SECOND * more, _AT_ONCE * more, _PER_SECOND * more * _MOST_DEBT_S)
        self._paces[owner] = pace
        if len(self._paces) > _MOST_OWNERS:
            del self._paces[next(iter(self._paces))]
        return pace

    def _connection(self, scope: Any, now_s: float) -> Connection:
        """The connection of a request; one that has just ended is not in the table any more."""
        client = scope.get("client")
        found = self._table.find(None if client is None else (client[0], client[1]))
        owner = THIS_MACHINE if client is None else owner_of(client[0])
        return found or Connection(("", 0), owner, now_s, lambda: None, lambda: True)


async def answer(response: Response, scope: Any, receive: Any, send: Any) -> None:
    """Give an answer to a request, or to a WebSocket that is not accepted."""
    if scope["type"] == "http":
        response.headers["connection"] = "close"
        await response(scope, receive, send)
        return
    raw = [(name, value) for name, value in response.raw_headers]
    await send({"type": "websocket.http.response.start", "status": response.status_code, "headers": raw})
    await send({"type": "websocket.http.response.body", "body": bytes(response.body), "more_body": False})

"""What clients send to the page: bytes of HTTP and of WebSockets, through uvicorn's protocols and our checks."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

from taemi_edge.live.config import ServeConfig
from tests.fuzz.harness import Harness
from tests.fuzz.mutation.plain import mutate_text

_TOKEN = "6f1ed002ab5595859014ebf0951522d9"  # it opens nothing


class _Wire(asyncio.Transport):
    """A connection without a network: what is written is kept."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.7", 50_000), "sockname": ("192.0.2.1", 8080)})
        self.said = bytearray()
        self.protocol: Any = None
        self.is_closed = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def write(self, data: Any) -> None:
        self.said += data

    def writelines(self, list_of_data: Any) -> None:
        self.said += b"".join(list_of_data)

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = True

    def pause_reading(self) -> None:
        """Nothing comes by itself."""

    def resume_reading(self) -> None:
        """Nothing comes by itself."""


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def _page(content: bytes) -> None:
    """Nobody gets behind the gate without the token, and no check ends in an exception."""
    seen, problems = _loop().run_until_complete(_sent(content))
    if problems:
        raise problems[0]
    assert not seen or _TOKEN.encode() in content, "let in without the token"


async def _sent(content: bytes) -> tuple[list[Any], list[BaseException]]:
    import uvicorn
    from uvicorn.server import ServerState

    from taemi_edge.live.page.access import AccessGate
    from taemi_edge.live.page.connections import Connection
    from taemi_edge.live.page.guesses import GuessLimit
    from taemi_edge.live.page.protocols import PageHttp, PageWebSocket

    wire, seen, problems = _Wire(), list[Any](), list[BaseException]()

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        if scope["state"]["trusted"]:
            seen.append(scope)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            if (await receive())["type"] != "websocket.disconnect":
                await send({"type": "websocket.close", "code": 1000})
        else:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"here"})

    gate = AccessGate(behind, ServeConfig("192.0.2.1:8080"), _TOKEN, GuessLimit())

    async def app(scope: Any, receive: Any, send: Any) -> None:
        own = Connection(("192.0.2.7", 50_000), "192.0.2.7", 0.0, wire.close, wire.is_closing)
        scope["state"] = {"connection": own}
        try:
            await gate(scope, receive, send)
        except Exception as error:
            problems.append(error)
            raise

    config = uvicorn.Config(
        app, http=PageHttp, ws=PageWebSocket, log_config=None, access_log=False, lifespan="off", ws_max_size=4096
    )
    state = ServerState()
    wire.protocol = PageHttp(config=config, server_state=state, app_state={}, _loop=asyncio.get_running_loop())
    wire.protocol.connection_made(wire)
    for piece in content.split(b"\n---\n"):  # what comes in a packet of its own
        if piece and not wire.is_closed:  # nothing at all would mean that the client has closed its side
            wire.protocol.data_received(piece.replace(b"\n", b"\r\n") if piece[:1].isalpha() else piece)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    wire.protocol.connection_lost(None)
    for task in [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]:
        task.cancel()
    await asyncio.sleep(0)
    return seen, problems


HARNESSES = (Harness("page", _page, mutate_text, needs=("uvicorn", "starlette", "websockets")),)

"""Accepts the page's connections, as many as there is room for, and gives them to uvicorn.

asyncio would accept without limit, and write a log line for each connection that finds no descriptor. Here the table of
`connections` decides before anything is read, and some descriptors are kept back for the moment when there are none.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from typing import Any

import uvicorn

from taemi_edge.live.failures import failure_of
from taemi_edge.live.page.connections import RESERVE, Connection, ConnectionTable, owner_of
from taemi_edge.live.page.protocols import SECURITY_HEADERS
from taemi_edge.live.rare_log import RareLog

log = logging.getLogger("taemi_edge.live")

_ACCEPTED_AT_ONCE = RESERVE
#: Of the descriptors that the server can have when there are no others: for connections that have not quite ended.
_FOR_ENDING = 4
_SWEEP_EVERY_S = 1.0
_RETRY_S = 0.2
_TLS_HANDSHAKE_S = 5.0
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_BODY = b"too many connections\n"
_FULL = "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 5\r\ncontent-type: text/plain\r\n"
_FULL_ANSWER = (
    _FULL.encode()
    + b"".join(f"{name}: {value}\r\n".encode() for name, value in SECURITY_HEADERS.items())
    + f"content-length: {len(_BODY)}\r\n\r\n".encode()
    + _BODY
)


class GuardedServer(uvicorn.Server):
    """uvicorn behind a table of connections.

    Args:
        config: of uvicorn.
        listener: the socket, which listens already and is closed by whoever made it.
        table: decides who may connect.
    """

    def __init__(self, config: uvicorn.Config, listener: socket.socket, table: ConnectionTable) -> None:
        super().__init__(config)
        self._listener, self._table = listener, table
        self._rare_log = RareLog(log)
        self._spares: list[int] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept."""
        await super().startup(sockets=[])
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._note_exception)
        self._listener.setblocking(False)
        self._keep_spares()
        self._listen()
        self._sweeper = asyncio.create_task(self._sweep())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, let what is under way end, and close the rest."""
        self._loop.remove_reader(self._listener)
        self._sweeper.cancel()
        await super().shutdown(sockets=[])
        self._table.close_all()
        self._drop_spares()

    def _listen(self) -> None:
        if not self.should_exit and self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE if self._spares else 1):  # else each needs what another one leaves
            try:
                accepted, peer = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._accept_later(error)
                return
            self._admit(accepted, peer[:2])

    def _accept_later(self, error: OSError) -> None:
        """Go on as soon as a descriptor comes free: whoever asks for health may wait behind a long queue."""
        self._rare_log.warning("page: a connection could not be accepted: %s", error.strerror)
        comes_free = error.errno in _NO_DESCRIPTORS and self._free_descriptors()
        self._loop.remove_reader(self._listener)
        self._loop.call_later(0.0 if comes_free else _RETRY_S, self._listen)

    def _free_descriptors(self) -> bool:
        """Give up those that are kept back: from now on each newcomer takes another's place. Whether any comes free."""
        given_up = len(self._spares)
        self._drop_spares()
        ours = given_up + len(self._table) + self._table.ending
        self._table.limit(max(ours - _FOR_ENDING, ours // 2))
        return given_up > 0 or self._table.ending > 0 or self._table.close_most_idle()

    def _admit(self, accepted: socket.socket, peer: tuple[str, int]) -> None:
        connection = Connection(
            peer, owner_of(peer[0]), self._loop.time(), accepted.close, lambda: accepted.fileno() < 0
        )
        if not self._table.admit(connection):
            self._rare_log.warning("page: %s: too many connections, all of them in use", peer[0])
            self._refuse(accepted)
            return
        task = asyncio.create_task(self._connect(accepted, connection))
        connection.close = task.cancel
        self._tasks.add(task)

        def forget(done: asyncio.Task[None]) -> None:
            self._tasks.discard(done)
            if done.cancelled():  # perhaps before its first step
                accepted.close()

        task.add_done_callback(forget)

    async def _connect(self, accepted: socket.socket, connection: Connection) -> None:
        """Give a connection to uvicorn; with TLS, once its handshake is done."""
        try:
            transport, _ = await self._loop.connect_accepted_socket(
                self._protocol,
                accepted,
                ssl=self.config.ssl,
                ssl_handshake_timeout=_TLS_HANDSHAKE_S if self.config.ssl else None,
            )
        except BaseException as error:
            accepted.close()
            if not isinstance(error, OSError):  # what is no TLS, or hung up on the way, is no news
                raise
        else:
            connection.close, connection.unsent_bytes = transport.abort, transport.get_write_buffer_size

    def _protocol(self) -> Any:
        factory: Any = self.config.http_protocol_class
        return factory(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state, _loop=self._loop
        )

    def _refuse(self, accepted: socket.socket) -> None:
        if self.config.ssl is None:
            with contextlib.suppress(OSError):
                accepted.setblocking(False)
                accepted.send(_FULL_ANSWER)
                accepted.shutdown(socket.SHUT_WR)
        accepted.close()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_EVERY_S)
            self._table.close_overdue(self._loop.time())
            self._keep_spares()

    def _keep_spares(self) -> None:
        """Keep some descriptors back; with all of them there is room for as many connections as ever.

        Where there are fewer, none is kept: the rest of the process may need one.
        """
        try:
            while len(self._spares) < RESERVE:
                self._spares.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            self._drop_spares()
        else:
            self._table.limit(None)

    def _drop_spares(self) -> None:
        while self._spares:
            os.close(self._spares.pop())

    def _note_exception(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log what went wrong in a callback: clients can set that off, so it is said now and then only."""
        error = context.get("exception")
        why = str(context.get("message")) if error is None else failure_of(error)
        self._rare_log.warning("page: something went wrong in its server: %s", why)


class QuietFilter(logging.Filter):
    """Lets uvicorn's and asyncio's warnings of one thread through now and then only, and nothing below a warning.

    uvicorn writes the address of each WebSocket with its query, and so a token, at the level INFO.

    Args:
        thread_id: whose records it looks at.
    """

    def __init__(self, thread_id: int) -> None:
        super().__init__()
        self._thread_id = thread_id
        self._rare_log = RareLog(log)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.thread != self._thread_id:
            return True
        return record.levelno >= logging.WARNING and self._rare_log.left_out(str(record.msg)) is not None

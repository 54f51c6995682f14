"""Serves the page of a live run, with /healthz and /metrics, in a thread of its own (extra `serve`).

The server only reads the run. `listening` accepts connections, `connections` says which of them may stay, `access` who
may open the page, and `guesses` how often a token may be wrong. `routes` says what is answered, `watchers` how open
pages are kept up to date, and `history` what they are sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading

import uvicorn

from taemi_edge.errors import UsageError
from taemi_edge.live.config import ServeConfig
from taemi_edge.live.events import PresenceEvent
from taemi_edge.live.health import LiveState
from taemi_edge.live.outputs.output import BaseOutput, HopResult
from taemi_edge.live.outputs.prometheus import Metrics
from taemi_edge.live.page.access import AccessGate
from taemi_edge.live.page.care import App, ConnectionCare
from taemi_edge.live.page.connections import ConnectionTable
from taemi_edge.live.page.guesses import GuessLimit
from taemi_edge.live.page.history import PageHistory
from taemi_edge.live.page.listening import GuardedServer, QuietFilter
from taemi_edge.live.page.protocols import PageHttp, PageWebSocket
from taemi_edge.live.page.routes import make_app
from taemi_edge.live.page.watchers import Watchers

log = logging.getLogger("taemi_edge.live")

_MOST_MESSAGE_BYTES = 4096
#: Connections beside those of the pages: requests for files, health and metrics.
_OTHER_CONNECTIONS = 32


class PageServer(BaseOutput):
    """An output that serves the page from the moment it is made until `close`.

    Args:
        config: the address, TLS and how many pages may be open.
        token: what clients must show; None where the address is loopback and no token was given.
        state: the running loop.
        metrics: the text of /metrics.

    Raises:
        UsageError: the port is in use, the address is not of this machine, or the certificate cannot be used.
    """

    def __init__(self, config: ServeConfig, token: str | None, state: LiveState, metrics: Metrics) -> None:
        self._config = config
        self._history = PageHistory(state)
        sources = {source.name: source for source in state.loop.sources}
        self._watchers = Watchers(sources, config.most_watchers, self._history.greeting)
        self._socket = _bind(config)
        self._table = ConnectionTable(config.most_watchers + _OTHER_CONNECTIONS, config.most_per_address)
        guesses = GuessLimit()
        self._count(metrics, state, guesses)
        app = make_app(state, metrics, self._watchers)
        guarded = ConnectionCare(AccessGate(app, config, token, guesses), self._table)
        self._server = GuardedServer(_uvicorn_config(guarded, config), self._socket, self._table)
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)
        self._started = threading.Event()
        self._thread.start()
        self._started.wait(10)

    @property
    def url(self) -> str:
        """Where the page is, without its token."""
        scheme = "https" if self._config.tls_certificate else "http"
        host, port = self._socket.getsockname()[:2]
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"

    def on_hop(self, result: HopResult) -> None:
        self._watchers.spread(self._history.add_hop(result))

    def on_event(self, event: PresenceEvent) -> None:
        self._watchers.spread(self._history.add_event(event))

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()

    def _count(self, metrics: Metrics, state: LiveState, guesses: GuessLimit) -> None:
        table = self._table
        metrics.add_gauge("taemi_edge_page_watchers", "Open pages.", lambda: len(self._watchers))
        metrics.add_gauge("taemi_edge_page_connections", "Connections to the page's server.", lambda: len(table))
        state.counters["page connections refused"] = lambda: table.refused
        state.counters["page connections closed early"] = lambda: table.closed
        state.counters["wrong tokens"] = lambda: guesses.wrong

    def _run(self) -> None:
        quiet = QuietFilter(threading.get_ident())
        loggers = [logging.getLogger(name) for name in ("uvicorn.error", "asyncio")]
        for logger in loggers:
            logger.addFilter(quiet)
        try:
            asyncio.run(self._serve())
        except Exception:
            log.exception("the page is no longer served; predictions go on")
        finally:
            for logger in loggers:
                logger.removeFilter(quiet)

    async def _serve(self) -> None:
        watching = asyncio.create_task(self._watchers.run())
        self._started.set()
        try:
            await self._server.serve()
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching


def _uvicorn_config(app: App, config: ServeConfig) -> uvicorn.Config:
    try:
        return uvicorn.Config(
            app,
            http=PageHttp,
            ws=PageWebSocket,
            interface="asgi3",
            proxy_headers=False,
            log_config=None,
            access_log=False,
            server_header=False,
            ws_max_size=_MOST_MESSAGE_BYTES,
            ws_per_message_deflate=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=2,
            lifespan="off",
            ssl_certfile=config.tls_certificate or None,
            ssl_keyfile=config.tls_key or None,
        )
    except OSError as error:
        raise UsageError(f"--tls-certificate, --tls-key: cannot be used: {error}") from error


def _bind(config: ServeConfig) -> socket.socket:
    """Listen, so that a port in use is found before anything costly begins."""
    host = "127.0.0.1" if config.host == "localhost" else config.host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, config.port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise UsageError(
            f"--serve {config.address}: cannot listen there: {error.strerror}: choose another port"
        ) from error
    return listener

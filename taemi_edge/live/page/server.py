"""A running loop in, a page to watch it on out, with /healthz, /metrics and a WebSocket (extra `serve`).

It runs in a thread of its own and only reads. Nothing that a client does can hold the loop up: each watcher has a
bounded queue, and one that does not read is dropped. Bound to loopback it is open to this machine; bound to anything
else it asks for a token. Requests must name a host that is ours, and WebSockets must come from our own page.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import os
import socket
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from taemi_edge.bundle.spec import EMOTIONS, MODALITIES
from taemi_edge.errors import UsageError
from taemi_edge.live.config import ServeConfig
from taemi_edge.live.events import PresenceEvent
from taemi_edge.live.health import LiveState
from taemi_edge.live.loop import Moment
from taemi_edge.live.outputs.base import QuietOutput
from taemi_edge.live.outputs.prometheus import CONTENT_TYPE, Metrics
from taemi_edge.media.hops import Frame

log = logging.getLogger("taemi_edge.live")

TOKEN_VARIABLE = "TAEMI_EDGE_TOKEN"  # noqa: S105  a name, not a token
_COOKIE = "taemi_edge_token"
#: How far back the page's curves reach when it is opened.
HISTORY_S = 120.0
_PICTURES_PER_SECOND = 5
_PICTURE_WIDTH = 480
_MOST_WAITING = 64
_SEND_TIMEOUT_S = 10.0
_MOST_MESSAGE_BYTES = 4096
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_ASSETS = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/uplot.js": ("uPlot.iife.min.js", "text/javascript; charset=utf-8"),
    "/uplot.css": ("uPlot.min.css", "text/css; charset=utf-8"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@dataclass(eq=False)
class _Watcher:
    """One open page: what it has yet to be sent, and whose picture it shows."""

    source: str
    waiting: deque[str] = field(default_factory=lambda: deque(maxlen=_MOST_WAITING))
    picture: bytes | None = None
    something: asyncio.Event = field(default_factory=asyncio.Event)


class PageServer(QuietOutput):
    """Serves from its making until `close`.

    Args:
        token: what clients must show; None where the address is loopback and none was asked for.

    Raises:
        UsageError: the port is in use, the address is not this machine's, or the certificate cannot be used.
    """

    def __init__(self, config: ServeConfig, token: str | None, state: LiveState, metrics: Metrics) -> None:
        self._config, self._token, self._state, self._metrics = config, token, state, metrics
        self._sources = {source.name: source for source in state.loop.sources}
        kept = max(2, round(HISTORY_S / state.loop.hop_s))
        self._history: dict[str, deque[str]] = {name: deque(maxlen=kept) for name in self._sources}
        self._events: deque[PresenceEvent] = deque(maxlen=50)
        self._history_lock = threading.Lock()
        self._watchers: set[_Watcher] = set()
        self._event_loop: asyncio.AbstractEventLoop | None = None
        self._socket = _bind(config)
        metrics.add_gauge("taemi_edge_page_watchers", "Open pages.", lambda: len(self._watchers))
        self._server = uvicorn.Server(self._uvicorn_config())
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

    def on_moment(self, moment: Moment) -> None:
        name = moment.prediction.source
        message = msgspec.json.encode(
            {
                "type": "hop",
                "prediction": moment.prediction,
                "face": _relative_face(moment),
                "words": " ".join(moment.words[-60:]),
                "links": self._state.links(name),
                "hops": {"late": self._state.loop.counts.late, "missed": self._state.loop.counts.missed},
            }
        ).decode()
        with self._history_lock:
            self._history[name].append(_row(moment))
        self._spread(message, name)

    def on_event(self, event: PresenceEvent) -> None:
        with self._history_lock:
            self._events.append(event)
        self._spread(event.to_json(), event.source)

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()

    # ------------------------------------------------------------------------------------------ the server's thread

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception:
            log.exception("the page is no longer served; predictions go on")

    async def _serve(self) -> None:
        self._event_loop = asyncio.get_running_loop()
        self._started.set()
        pictures = asyncio.create_task(self._send_pictures())
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            pictures.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pictures

    def _uvicorn_config(self) -> uvicorn.Config:
        routes = [Route(path, self._asset) for path in _ASSETS]
        routes += [Route("/healthz", self._healthz), Route("/metrics", self._metrics_text)]
        app = Starlette(routes=[*routes, WebSocketRoute("/ws", self._watch)])
        app.add_middleware(_Gate, config=self._config, token=self._token)
        try:
            return uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                ws_max_size=_MOST_MESSAGE_BYTES,
                ws_per_message_deflate=False,
                limit_concurrency=self._config.most_watchers + 32,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=2,
                lifespan="off",
                ssl_certfile=self._config.tls_certificate or None,
                ssl_keyfile=self._config.tls_key or None,
            )
        except OSError as error:
            raise UsageError(f"--tls-certificate, --tls-key: cannot be used: {error}") from error

    async def _asset(self, request: Request) -> Response:
        name, content_type = _ASSETS[request.url.path]
        content = (files("taemi_edge") / "live" / "page" / name).read_bytes()
        return Response(content, media_type=content_type, headers=_HEADERS)

    async def _healthz(self, request: Request) -> Response:
        health = self._state.health()
        if not request.state.trusted:
            health = {"status": health["status"]}
        return JSONResponse(health, 503 if health["status"] in ("stuck", "starting") else 200)

    async def _metrics_text(self, _request: Request) -> Response:
        return PlainTextResponse(self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def _watch(self, websocket: WebSocket) -> None:
        """One page, from its opening to its end."""
        if len(self._watchers) >= self._config.most_watchers:
            await websocket.close(1013, "too many watchers")
            return
        await websocket.accept()
        watcher = _Watcher(next(iter(self._sources)))
        self._watchers.add(watcher)  # before the greeting, which must miss nothing; the page skips what it has
        watcher.waiting.append(self._hello())
        watcher.something.set()
        listening = asyncio.create_task(self._listen(websocket, watcher))
        sending = asyncio.create_task(self._send(websocket, watcher))
        try:
            await asyncio.wait({listening, sending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._watchers.discard(watcher)
            for task in (listening, sending):
                task.cancel()
            results = await asyncio.gather(listening, sending, return_exceptions=True)
            if any(isinstance(result, TimeoutError | asyncio.TimeoutError) for result in results):
                log.info("page: a watcher that did not read was dropped")
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await asyncio.wait_for(websocket.close(), 1)

    async def _listen(self, websocket: WebSocket, watcher: _Watcher) -> None:
        """All that a page may say is whose picture it wants."""
        while True:
            try:
                said = msgspec.json.decode(await websocket.receive_text(), type=_Choice)
            except (msgspec.MsgspecError, KeyError):
                return
            if said.source not in self._sources:
                return
            watcher.source, watcher.picture = said.source, None

    async def _send(self, websocket: WebSocket, watcher: _Watcher) -> None:
        while True:
            await watcher.something.wait()
            watcher.something.clear()
            while watcher.waiting:
                await asyncio.wait_for(websocket.send_text(watcher.waiting.popleft()), _SEND_TIMEOUT_S)
            if watcher.picture is not None:
                picture, watcher.picture = watcher.picture, None
                await asyncio.wait_for(websocket.send_bytes(picture), _SEND_TIMEOUT_S)

    def _spread(self, message: str, source: str) -> None:
        """From the loop's thread: give every page a message."""
        if self._event_loop is None or not self._watchers:
            return

        def give() -> None:
            for watcher in self._watchers:
                watcher.waiting.append(message)
                watcher.something.set()

        with contextlib.suppress(RuntimeError):  # the server's loop has just been closed
            self._event_loop.call_soon_threadsafe(give)

    async def _send_pictures(self) -> None:
        """The newest picture of each source that somebody watches, encoded once for all of them."""
        shown: dict[str, Frame | None] = {}
        while True:
            await asyncio.sleep(1 / _PICTURES_PER_SECOND)
            for name in {watcher.source for watcher in self._watchers}:
                frame = self._sources[name].mailbox.newest
                watchers = [w for w in self._watchers if w.source == name]
                if frame is None or frame is shown.get(name):
                    continue
                shown[name] = frame
                try:
                    picture = await asyncio.to_thread(_jpeg, frame)
                except Exception:  # a strange picture must not end all others
                    log.debug("page: a picture cannot be shown", exc_info=True)
                    continue
                for watcher in watchers:
                    watcher.picture = picture
                    watcher.something.set()

    def _hello(self) -> str:
        with self._history_lock:
            history = {name: f"[{','.join(rows)}]" for name, rows in self._history.items()}
            events = list(self._events)
        head = {
            "type": "hello",
            "emotions": EMOTIONS,
            "modalities": MODALITIES,
            "hop_s": self._state.loop.hop_s,
            "now_s": self._state.loop.clock.now_s(),
            "sources": [
                {"name": name, "lamps": self._state.lamps(name), "links": self._state.links(name)}
                for name in self._sources
            ],
            "events": events,
            "history": {name: msgspec.Raw(rows.encode()) for name, rows in history.items()},
        }
        return msgspec.json.encode(head).decode()


class _Choice(msgspec.Struct, forbid_unknown_fields=True):
    source: str


App = Callable[[Any, Any, Any], Awaitable[None]]


class _Gate:
    """Lets in who names our host, comes from our own page and, where one is asked for, shows the token."""

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
        """Bound to loopback only loopback's names count: another name that resolves here is somebody's trick."""
        if not self._config.is_loopback:
            return bool(host)
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        return name in (*_LOOPBACK_NAMES, self._config.host)

    def _is_our_page(self, headers: Headers) -> bool:
        """Browsers always send where a WebSocket comes from; programs that are no browsers may leave it out."""
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
        """Out of the address, where it would stay in the history, into a cookie."""
        response = RedirectResponse("/", 303, headers=_HEADERS)
        secure = bool(self._config.tls_certificate)
        response.set_cookie(_COOKIE, token, httponly=True, samesite="strict", secure=secure, max_age=30 * 86_400)
        await response(scope, receive, send)

    async def _refuse(self, scope: Any, receive: Any, send: Any, status: int, reason: str) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": reason})
        else:
            await PlainTextResponse(reason + "\n", status)(scope, receive, send)


def find_token(config: ServeConfig) -> str | None:
    """The token that clients must show: from a file, or from the environment.

    Raises:
        UsageError: the address is not loopback and there is none, or it is too short to be one.
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


def _bind(config: ServeConfig) -> socket.socket:
    """Take the port before anything costly begins."""
    host = "127.0.0.1" if config.host == "localhost" else config.host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, config.port))
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise UsageError(
            f"--serve {config.address}: cannot listen there: {error.strerror}: choose another port"
        ) from error
    return listener


def _query_token(scope: Any) -> str:
    query = scope.get("query_string", b"").decode("latin-1")
    return next((pair[6:] for pair in query.split("&") if pair.startswith("token=")), "")


def _jpeg(frame: Frame) -> bytes:
    image = frame.image
    height, width = image.shape[:2]
    if width > _PICTURE_WIDTH:
        size_wh = (_PICTURE_WIDTH, round(height * _PICTURE_WIDTH / width))
        image = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 70])
    return bytes(encoded)


def _relative_face(moment: Moment) -> list[float] | None:
    """The face's box as shares of the picture's width and height."""
    if moment.face is None or not moment.hop.frames:
        return None
    height, width = moment.hop.frames[-1].image.shape[:2]
    x1, y1, x2, y2 = moment.face.box_xyxy
    return [round(x1 / width, 4), round(y1 / height, 4), round(x2 / width, 4), round(y2 / height, 4)]


def _row(moment: Moment) -> str:
    """A hop as the page's curves keep it: time, six intensities, a letter for each stream's state."""
    prediction = moment.prediction
    states = "".join(prediction.presence[m][0] for m in MODALITIES)
    return msgspec.json.encode([prediction.time_s, list(prediction.intensities.values()), states]).decode()

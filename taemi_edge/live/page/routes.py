"""The paths that the server answers: the files of the page, /healthz, /metrics and the WebSocket /ws."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute

from taemi_edge.live.health import LiveState
from taemi_edge.live.outputs.prometheus import CONTENT_TYPE, Metrics
from taemi_edge.live.page.watchers import Watchers

_ASSETS = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/outputs.js": ("outputs.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/uplot.js": ("uPlot.iife.min.js", "text/javascript; charset=utf-8"),
    "/uplot.css": ("uPlot.min.css", "text/css; charset=utf-8"),
}


def make_app(state: LiveState, metrics: Metrics, watchers: Watchers) -> Starlette:
    """The application behind the access gate, which says in `request.state.trusted` whether a client may see all."""

    async def healthz(request: Request) -> Response:
        health = state.health()
        if not request.state.trusted:
            health = {"status": health["status"]}
        return JSONResponse(health, 503 if health["status"] in ("stuck", "starting") else 200)

    async def metrics_text(_request: Request) -> Response:
        return PlainTextResponse(metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    routes = [Route(path, _asset_route(*asset)) for path, asset in _ASSETS.items()]
    routes += [Route("/healthz", healthz), Route("/metrics", metrics_text)]
    app = Starlette(routes=[*routes, WebSocketRoute("/ws", watchers.watch)])
    app.router.redirect_slashes = False  # it would send clients to wherever the header Host says
    return app


def _asset_route(name: str, content_type: str) -> Callable[[Request], Awaitable[Response]]:
    """Answers with a file of the page. It is read once: an answer needs no descriptor."""
    content = (files("taemi_edge") / "live" / "page" / name).read_bytes()

    async def asset(_request: Request) -> Response:
        return Response(content, media_type=content_type)

    return asset

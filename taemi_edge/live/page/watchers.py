"""The pages that are open: sends each the messages of the run, and the newest picture of the source that it shows.

Nothing that a page does can hold the run up. Each page has a bounded queue, and one that does not read is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec
from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from taemi_edge.live.page.preview import jpeg_preview
from taemi_edge.live.source import LiveSource
from taemi_edge.media.hops import Frame

log = logging.getLogger("taemi_edge.live")

_PICTURES_PER_SECOND = 5
_MOST_WAITING = 64
_SEND_TIMEOUT_S = 10.0


class _Choice(msgspec.Struct, forbid_unknown_fields=True):
    """The only message that a page may send: its source, and which picture of it; None for the first."""

    source: str
    picture: str | None = None


@dataclass(eq=False)
class _Watcher:
    """One open page: the messages that wait to be sent, and the source and the stream whose picture it shows."""

    source: str
    stream: str | None
    waiting: deque[str] = field(default_factory=lambda: deque(maxlen=_MOST_WAITING))
    picture: bytes | None = None
    something: asyncio.Event = field(default_factory=asyncio.Event)


class Watchers:
    """All open pages. Everything but `spread` runs in the event loop of the server.

    Args:
        sources: the sources of the run by name.
        most: how many pages may be open at once.
        greeting: makes the first message to a page.
    """

    def __init__(self, sources: Mapping[str, LiveSource], most: int, greeting: Callable[[], str]) -> None:
        self._sources, self._most, self._greeting = sources, most, greeting
        self._watchers: set[_Watcher] = set()
        self._event_loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        return len(self._watchers)

    async def run(self) -> None:
        """Send pictures until this task is cancelled; `spread` works from now on."""
        self._event_loop = asyncio.get_running_loop()
        shown: dict[tuple[str, str], Frame | None] = {}
        while True:
            await asyncio.sleep(1 / _PICTURES_PER_SECOND)
            for source, stream in {(watcher.source, watcher.stream) for watcher in self._watchers}:
                frame = None if stream is None else self._sources[source].pictures[stream].newest
                if stream is not None and frame is not None and frame is not shown.get((source, stream)):
                    shown[source, stream] = frame
                    await self._send_picture(source, stream, frame)

    def spread(self, message: str) -> None:
        """Send every page a message; to be called from another thread, and returns at once."""
        if self._event_loop is None or not self._watchers:
            return

        def give() -> None:
            for watcher in self._watchers:
                watcher.waiting.append(message)
                watcher.something.set()

        with contextlib.suppress(RuntimeError):  # the server's event loop has just been closed
            self._event_loop.call_soon_threadsafe(give)

    async def watch(self, websocket: WebSocket) -> None:
        """Serve one page from its opening to its end."""
        if len(self._watchers) >= self._most:
            await websocket.send_denial_response(PlainTextResponse("too many pages are open\n", 503))
            return
        await websocket.accept()
        first = next(iter(self._sources))
        watcher = _Watcher(first, self._first_picture(first))
        self._watchers.add(watcher)  # before the greeting, which must miss nothing; the page skips what it has
        watcher.waiting.append(self._greeting())
        watcher.something.set()
        tasks = [asyncio.create_task(work(websocket, watcher)) for work in (self._listen, self._send)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._watchers.discard(watcher)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            if any(isinstance(result, TimeoutError | asyncio.TimeoutError) for result in results):
                log.info("page: a watcher that did not read was dropped")
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await asyncio.wait_for(websocket.close(), 1)

    async def _listen(self, websocket: WebSocket, watcher: _Watcher) -> None:
        """Take the choices of a page; returns, and so ends the page, with any other message."""
        while True:
            try:
                choice = msgspec.json.decode(await websocket.receive_text(), type=_Choice)
            except (ValueError, RecursionError, KeyError):
                return
            if choice.source not in self._sources:
                return
            stream = self._first_picture(choice.source) if choice.picture is None else choice.picture
            if stream is not None and stream not in self._sources[choice.source].pictures:
                return
            watcher.source, watcher.stream, watcher.picture = choice.source, stream, None

    def _first_picture(self, source: str) -> str | None:
        """The picture that is shown of a source at first; None where it has none."""
        return next(iter(self._sources[source].pictures), None)

    async def _send(self, websocket: WebSocket, watcher: _Watcher) -> None:
        while True:
            await watcher.something.wait()
            watcher.something.clear()
            while watcher.waiting:
                await asyncio.wait_for(websocket.send_text(watcher.waiting.popleft()), _SEND_TIMEOUT_S)
            if watcher.picture is not None:
                picture, watcher.picture = watcher.picture, None
                await asyncio.wait_for(websocket.send_bytes(picture), _SEND_TIMEOUT_S)

    async def _send_picture(self, source: str, stream: str, frame: Frame) -> None:
        """Encode a frame once, and send it to all pages that show its stream."""
        watchers = [w for w in self._watchers if (w.source, w.stream) == (source, stream)]
        try:
            picture = await asyncio.to_thread(jpeg_preview, frame.image)
        except Exception:  # a strange picture must not end all others
            log.debug("page: a picture cannot be shown", exc_info=True)
            return
        for watcher in watchers:
            watcher.picture = picture
            watcher.something.set()

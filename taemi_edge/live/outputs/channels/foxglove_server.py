"""Serves the channels of a run to Foxglove, over its WebSocket protocol.

Viewers see and hear everything and can change nothing: the server takes no messages, parameters or calls. The protocol
has no token, so another address than loopback must be asked for by name (`live/viewer_config.py`). Whoever reads too
slowly loses the oldest of what waits for them, and delays nobody.

This module needs foxglove-sdk: import it where that was asked for alone.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from foxglove import Context, start_server
from foxglove.websocket import ChannelView, Client, ServerListener, WebSocketServer

from taemi_edge.errors import UsageError, in_one_line
from taemi_edge.live.rare_log import RareLog
from taemi_edge.live.viewer_config import FoxgloveConfig

#: So many messages wait for a viewer at most: seconds of pictures, sound and rows. PNG is large, so fewer wait.
_MOST_WAITING, _MOST_LOSSLESS_WAITING = 1024, 128
#: How long the end of the server may take: foxglove-sdk 0.30 waits for connections that have said nothing yet.
_CLOSE_S = 1.0


class _Rarely(logging.Handler):
    """Writes what the library logs into the log of the run, now and then: viewers can set such lines off."""

    def __init__(self) -> None:
        super().__init__()
        self._log = RareLog(logging.getLogger("taemi_edge.live"))

    def emit(self, record: logging.LogRecord) -> None:
        self._log.warning("--foxglove: %s", in_one_line(record.getMessage())[:200])


#: foxglove-sdk has one logger, however many servers there are.
_LIBRARY_LOG, _RARELY = logging.getLogger("foxglove"), _Rarely()


class _Joined(ServerListener):  # type: ignore[misc]  # mypy does not follow the library
    """Tells of each topic that somebody begins to watch."""

    def __init__(self, on_watched: Callable[[str], None]) -> None:
        self._on_watched = on_watched

    def on_subscribe(self, client: Client, channel: ChannelView) -> None:
        self._on_watched(channel.topic)


class FoxgloveServer:
    """A WebSocket that Foxglove connects to.

    Args:
        config: the address, and the files of TLS.
        name: what viewers see as the name of the server.
        context: of foxglove-sdk, whose channels are served.
        on_watched: called with a topic that somebody begins to watch, in a thread of the server.
        lossless: whether pictures are large.

    Attributes:
        url: what Foxglove opens, as "Foxglove WebSocket".

    Raises:
        UsageError: the port is in use, or a file of TLS cannot be used.
    """

    def __init__(
        self,
        config: FoxgloveConfig,
        name: str,
        context: Context,
        on_watched: Callable[[str], None],
        lossless: bool = False,
    ) -> None:
        certificate, key = _pem(config.tls_certificate), _pem(config.tls_key)
        host = config.host
        try:
            self._server: WebSocketServer = start_server(
                name=name,
                host=host,
                port=config.port,
                capabilities=[],
                context=context,
                server_listener=_Joined(on_watched),
                message_backlog_size=_MOST_LOSSLESS_WAITING if lossless else _MOST_WAITING,
                tls_cert=certificate,
                tls_key=key,
            )
        except (RuntimeError, ValueError) as error:
            why = str(error).removeprefix("FoxgloveError: ")
            raise UsageError(f"--foxglove {config.address}: cannot be served: {why}: choose another port") from error
        shown = f"[{host}]" if ":" in host else host
        _LIBRARY_LOG.addHandler(_RARELY)
        _LIBRARY_LOG.propagate = False
        self.url = f"{'wss' if certificate else 'ws'}://{shown}:{self._server.port}"

    def close(self) -> None:
        """Close all connections; one that has said nothing yet may be left to the end of the process."""
        closing = threading.Thread(target=self._server.stop, name="foxglove-close", daemon=True)
        closing.start()
        closing.join(_CLOSE_S)
        _LIBRARY_LOG.removeHandler(_RARELY)
        _LIBRARY_LOG.propagate = True


def _pem(file: str) -> bytes | None:
    if not file:
        return None
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"foxglove: {file}: expected a PEM file, got {error.strerror}: name another one") from error

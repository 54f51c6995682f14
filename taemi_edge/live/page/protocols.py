"""What uvicorn's own protocols leave open: headers on answers that no application gives, and floods of a WebSocket."""

from __future__ import annotations

import time
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Response
from websockets.server import ServerProtocol

#: Sent with every answer: nothing is loaded from elsewhere, framed, guessed at or kept.
SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
RAW_SECURITY_HEADERS = [(name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]

#: A page sends a few words when its user chooses a picture: this much at once, and this much a second.
_BURST_BYTES, _BYTES_PER_SECOND = 64 * 1024, 4 * 1024


class PageHttp(H11Protocol):
    """HTTP/1.1, whose answer to what is no HTTP has our headers as well."""

    def send_400_response(self, msg: str) -> None:
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close"), *RAW_SECURITY_HEADERS]
        body = msg.encode("ascii", "replace")
        headers.append((b"content-length", str(len(body)).encode()))
        try:
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        except h11.LocalProtocolError:
            pass  # the nonsense follows a request that has its answer already
        self.transport.close()


class _Handshake(ServerProtocol):
    """The opening of a WebSocket; a refusal has our headers."""

    def reject(self, status: Any, text: str) -> Response:
        response = super().reject(status, text)
        for name, value in SECURITY_HEADERS.items():
            response.headers[name] = value
        return response


class PageWebSocket(WebSocketsSansIOProtocol):
    """A WebSocket that hangs up on whoever sends far more than a page does: endless fragments or pings."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.conn = _Handshake(max_size=self.config.ws_max_size, logger=self.logger)
        self._left_bytes, self._at_s = float(_BURST_BYTES), time.monotonic()

    def data_received(self, data: bytes) -> None:
        now_s = time.monotonic()
        earned = (now_s - self._at_s) * _BYTES_PER_SECOND
        self._left_bytes, self._at_s = min(self._left_bytes + earned, _BURST_BYTES) - len(data), now_s
        if self._left_bytes < 0:
            self.transport.abort()
        else:
            super().data_received(data)

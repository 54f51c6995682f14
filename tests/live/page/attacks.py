"""Clients that mean no good, on real sockets, and the answers of a server as it sends them."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

from tests.live.page.client import get

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def dial(url: str, source: str = "") -> socket.socket:
    """A connection from an address of this machine."""
    at = urlsplit(url)
    assert at.hostname is not None
    assert at.port is not None
    return socket.create_connection((at.hostname, at.port), 10, (source, 0) if source else None)


@contextmanager
def idle(url: str, count: int, first_bytes: bytes = b"", source: str = "") -> Iterator[list[socket.socket]]:
    """Connections that say nothing more."""
    with ExitStack() as stack:
        made = []
        for _ in range(count):
            made.append(stack.enter_context(dial(url, source)))
            if first_bytes:
                made[-1].sendall(first_bytes)
        yield made


def exchange(url: str, request: bytes, timeout_s: float = 5.0) -> bytes:
    """All that comes back for some bytes, until the other end hangs up or falls silent."""
    with dial(url) as client:
        client.settimeout(timeout_s)
        client.sendall(request)
        return read_all(client)


def read_all(client: socket.socket) -> bytes:
    got = b""
    try:
        while more := client.recv(65_536):
            got += more
    except (TimeoutError, ConnectionResetError):
        pass
    return got


def was_hung_up(client: socket.socket, timeout_s: float) -> bool:
    """Whether the other end closes a connection in time."""
    client.settimeout(timeout_s)
    try:
        while client.recv(65_536):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


def seconds_to_get(url: str, *statuses: int) -> float:
    """How long an ordinary request takes."""
    started = time.monotonic()
    status, _, _ = get(url)
    assert status in statuses, status
    return time.monotonic() - started

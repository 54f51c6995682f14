"""A watch of a cluster's head, which is a plain server here: no Ray is needed for that."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

import pytest

from taemi_edge.errors import ClusterError
from taemi_edge.scale.clusters import watch
from taemi_edge.scale.clusters.watch import HeadWatch

#: The frame that a server of HTTP/2 begins with, without settings.
_ANSWER = b"\0\0\0\4\0\0\0\0\0"


@contextmanager
def _head(port: int = 0, answer: bytes = _ANSWER) -> Iterator[int]:
    """A server at a port, the given one or a free one, until the block ends."""
    server = socket.create_server(("127.0.0.1", port))

    def serve() -> None:
        with suppress(OSError):
            while True:
                line = server.accept()[0]
                with line:
                    line.sendall(answer)
                    line.recv(100)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


@pytest.fixture(autouse=True)
def short_times(monkeypatch) -> None:
    monkeypatch.setattr(watch, "_EVERY_S", 0.05)
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "1")


def _wait(what: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not what() and time.monotonic() < until:
        time.sleep(0.02)
    assert what()


def test_a_head_that_comes_back_in_time_is_not_lost(monkeypatch):
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "600")
    with _head() as port:
        found = HeadWatch("the cluster", f"127.0.0.1:{port}")
    with closing(found):
        _wait(lambda: not found.answers)
        assert not found.lost
        found.require_head()
        with _head(port):
            _wait(lambda: found.answers)


def test_a_head_that_is_gone_ends_the_work():
    with _head() as port, closing(HeadWatch("the cluster", f"127.0.0.1:{port}")) as found:
        time.sleep(0.2)
        assert found.answers
    with closing(HeadWatch("the cluster", f"127.0.0.1:{port}")) as found:
        _wait(lambda: found.lost)
        with pytest.raises(ClusterError, match=r"^the cluster has lost its head, which has not answered for \d+ s"):
            found.require_head()


def test_what_ray_raises_without_a_head_says_so():
    with (
        _head() as port,
        closing(HeadWatch("the cluster", f"127.0.0.1:{port}")) as found,
        pytest.raises(ConnectionError, match="shutting down"),
    ):
        _lose_connection(found)
    with pytest.raises(ClusterError, match="^the cluster has lost its head"):
        _lose_connection(found)


def _lose_connection(found: HeadWatch) -> None:
    with found.tells_of_losses():
        raise ConnectionError("Client is shutting down.")


def test_another_server_is_no_head():
    with _head(answer=b"HTTP/1.1 400 Bad Request") as port, closing(HeadWatch("it", f"127.0.0.1:{port}")) as found:
        _wait(lambda: found.lost)


def test_a_head_that_is_not_known_is_not_asked():
    found = HeadWatch("the cluster", "")
    with pytest.raises(ConnectionError, match="shutting down"):
        _lose_connection(found)
    assert found.answers

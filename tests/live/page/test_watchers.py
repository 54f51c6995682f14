"""Open pages, among them some that misbehave."""

from __future__ import annotations

import contextlib
import socket
import time

import pytest

pytest.importorskip("starlette", reason="the page needs the extra `serve`")
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.live.page.client import get


@pytest.mark.parametrize("message", ["x" * 5000, "no json", '{"source": "another"}', '{"source": 3}', "{}"])
def test_a_page_that_talks_nonsense_is_hung_up_on(served, message):
    with connect(f"ws{served[1][4:]}/ws") as page:
        page.recv(10)
        page.send(message)
        with pytest.raises(ConnectionClosed):
            for _ in range(200):
                page.recv(10)


@pytest.mark.once
def test_watchers_are_bounded_and_those_that_do_not_read_hold_nobody_up(served):
    run, url = served
    host, port = url.removeprefix("http://").split(":")
    _, _, before_mb = run.usage()
    upgrade = (
        f"GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            deaf = stack.enter_context(socket.create_connection((host, int(port))))
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.sendall(upgrade.encode())  # and never reads a byte
        time.sleep(1.0)
        made = len(run.predictions)
        status, body, _ = get(f"{url}/metrics")
        assert status == 200
        assert "taemi_edge_page_watchers 32.0" in body
        run.wait_until(lambda: len(run.predictions) >= made + 6)
        assert run.usage()[2] - before_mb < 60
    run.wait_until(lambda: "taemi_edge_page_watchers 0.0" in get(f"{url}/metrics")[1], 30)

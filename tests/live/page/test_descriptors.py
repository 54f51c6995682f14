"""The page of a process that has no descriptors left: health answers all the same, and soon."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

pytest.importorskip("starlette", reason="the page needs the extra `serve`")
import uvicorn

from taemi_edge.live.page import listening
from taemi_edge.live.page.connections import RESERVE, ConnectionTable
from taemi_edge.live.page.listening import GuardedServer
from taemi_edge.live.page.server import PageServer
from tests.live.page.attacks import seconds_to_get
from tests.live.page.fed import fed_page, numbers
from tests.live.specs import WORDS

ENDED = 200
#: As long as a client waits here. No load makes these tests fail, and a single pause of the server does: see `server`.
ANSWERS_WITHIN_S = 10.0

#: Each of these is another process, so that it has descriptors of its own.
HOLD = """
import socket, sys
held = [socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10) for _ in range(500)]
print("held", flush=True)
sys.stdin.readline()
"""
COME_AGAIN = """
import contextlib, socket, sys
print("comes", flush=True)
while True:
    with contextlib.ExitStack() as held, contextlib.suppress(OSError):
        for _ in range(50):
            held.enter_context(socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10))
"""
#: Whoever is hung up on while others come all the time asks again, as anybody does who looks after a machine.
ASK = """
import http.client, sys, time
sys.stdin.readline()
for _ in range(10):
    started, status, tries = time.monotonic(), 0, 0
    while not status:
        tries += 1
        asking = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=10)
        try:
            asking.connect()
            if tries == 1:
                print("asks", flush=True)
            asking.request("GET", "/healthz")
            status = asking.getresponse().status
        except (ConnectionError, http.client.HTTPException):
            pass
        asking.close()
    print(status, time.monotonic() - started, tries, flush=True)
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[PageServer]:
    """The server of a page whose health is "ended", once it accepts and keeps descriptors back.

    Where it waits for a descriptor at all, instead of making one free, it waits for longer than any client.
    """
    monkeypatch.setattr(listening, "_RETRY_S", 60.0)
    with fed_page({"words": WORDS}, {"numbers": numbers(2)}) as fed:
        assert seconds_to_get(fed.server.url + "healthz", ENDED) < 10
        assert len(fed.server._server._spares) == RESERVE
        yield fed.server


@contextmanager
def process(program: str, server: PageServer) -> Iterator[subprocess.Popen[str]]:
    port = server.url.rstrip("/").rpartition(":")[2]
    command = [sys.executable, "-c", program, port]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """This process can open so many descriptors more: all others that its limit allows are taken."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + count + 2, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(count):
            os.close(taken.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)


@contextmanager
def busy_elsewhere(server: PageServer) -> Iterator[None]:
    """The server's thread gets no time meanwhile, so that whoever connects has to wait."""
    begins, over = threading.Event(), threading.Event()

    def wait() -> None:
        begins.set()
        over.wait(30)

    server._server._loop.call_soon_threadsafe(wait)
    assert begins.wait(10)
    try:
        yield
    finally:
        over.set()


def read(running: subprocess.Popen[str]) -> str:
    assert running.stdout is not None
    return running.stdout.readline()


def write(running: subprocess.Popen[str]) -> None:
    assert running.stdin is not None
    running.stdin.write("\n")
    running.stdin.flush()


def check(lines: list[str]) -> list[int]:
    """Every answer came in time; how often each was asked for."""
    answers = [line.split() for line in lines if line != "asks\n"]
    assert [answer[:1] for answer in answers] == [[str(ENDED)]] * 10
    assert max(float(took_s) for _, took_s, _ in answers) < ANSWERS_WITHIN_S
    return [int(tries) for _, _, tries in answers]


@pytest.mark.parametrize("queued", [True, False])
@pytest.mark.parametrize("left", [0, 1, 5, 12, 30])
def test_health_answers_beside_idle_connections(
    server: PageServer, left: int, queued: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """`queued`: all 500 connect before the server can accept the first, and health asks behind them."""
    with ExitStack() as stack:
        if queued:
            over = stack.enter_context(ExitStack())
            over.enter_context(busy_elsewhere(server))
        asker = stack.enter_context(process(ASK, server))
        holder = stack.enter_context(process(HOLD, server))
        stack.enter_context(descriptors_left(left))
        assert read(holder) == "held\n"
        write(asker)
        lines = [read(asker)]
        if queued:
            over.close()
        lines += [read(asker) for _ in range(19)]
    assert check(lines) == [1] * 10
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) < 10
    assert seconds_to_get(server.url + "healthz", ENDED) < ANSWERS_WITHIN_S


@pytest.mark.parametrize("left", [12, 30])
def test_health_answers_beside_those_who_come_again_and_again(server: PageServer, left: int) -> None:
    with process(ASK, server) as asker, process(COME_AGAIN, server) as crowd, descriptors_left(left):
        assert read(crowd) == "comes\n"
        write(asker)
        lines = [read(asker) for _ in range(20)]
    check(lines)


def test_descriptors_are_kept_back_only_where_there_are_enough() -> None:
    with socket.socket() as listener:
        kept = GuardedServer(uvicorn.Config("no:app", log_config=None), listener, ConnectionTable(4, 4))
        with descriptors_left(RESERVE - 1):
            kept._keep_spares()
            assert kept._spares == []
            os.close(os.open(os.devnull, os.O_RDONLY))
        kept._keep_spares()
        assert len(kept._spares) == RESERVE
        kept._drop_spares()

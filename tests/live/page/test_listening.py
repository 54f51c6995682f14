"""The page under attack: connections that say nothing, say it slowly, or are too many, and health beside them."""

from __future__ import annotations

import contextlib
import http.client
import logging
import threading
import time

import pytest

pytest.importorskip("starlette", reason="the page needs the extra `serve`")
from websockets.sync.client import connect

from taemi_edge.live.config import ServeConfig
from taemi_edge.live.page import care, connections
from tests.live.page.attacks import UPGRADE, dial, exchange, idle, seconds_to_get, was_hung_up
from tests.live.page.client import TOKEN, get
from tests.live.page.fed import fed_page, numbers
from tests.live.specs import WORDS

ENDED = 200
#: A second, and what other programs on these processors may add.
ANSWERS_WITHIN_S = 2.5
MODEL = ({"words": WORDS}, {"numbers": numbers(2)})


@pytest.fixture
def page():
    """A page without a run behind it: its health is "ended"."""
    with fed_page(*MODEL) as fed:
        yield fed.server.url.rstrip("/")


@pytest.mark.parametrize("count", [66, 500])
def test_health_answers_beside_idle_connections(page, count, caplog):
    with idle(page, count):
        for path in ("/healthz", "/metrics", "/"):
            status, body, _ = get(page + path)
            assert status == 200
            assert "ended" in body or path != "/healthz"
        assert max(seconds_to_get(page + "/healthz", ENDED) for _ in range(20)) < ANSWERS_WITHIN_S
    assert len(caplog.records) < 5


def test_health_answers_beside_those_who_come_again_and_again(page, caplog):
    over = threading.Event()

    def come_again() -> None:
        while not over.is_set():
            with idle(page, 20, b"GET / HTTP/1.1\r\nHost: 127"):
                pass

    crowd = [threading.Thread(target=come_again) for _ in range(4)]
    for one in crowd:
        one.start()
    try:
        took_s = sorted(seconds_to_get(page + "/healthz", ENDED) for _ in range(30))
    finally:
        over.set()
        for one in crowd:
            one.join()
    assert took_s[-1] < ANSWERS_WITHIN_S
    assert len(caplog.records) < 5


@pytest.mark.parametrize("first_bytes", [b"", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"\x16\x03\x01\x02\x00"])
def test_what_does_not_ask_in_time_is_closed(page, first_bytes, monkeypatch):
    monkeypatch.setitem(connections.LONGEST_S, "waiting", 0.5)
    with dial(page) as silent:
        silent.sendall(first_bytes)
        assert was_hung_up(silent, 4.0)


def test_bytes_that_trickle_in_win_no_time(page, monkeypatch):
    monkeypatch.setitem(connections.LONGEST_S, "waiting", 1.0)
    for beginning in (b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9999\r\n\r\n"):
        with dial(page) as slow:
            slow.sendall(beginning)
            started = time.monotonic()
            with pytest.raises(OSError):  # noqa: PT011  reset or broken, as it happens
                while time.monotonic() - started < 5:
                    slow.sendall(b"a")
                    time.sleep(0.05)


def test_an_answer_that_nobody_reads_is_given_up(page, monkeypatch):
    monkeypatch.setitem(connections.LONGEST_S, "waiting", 1.0)
    monkeypatch.setitem(connections.LONGEST_S, "answering", 1.0)
    request = b"GET /uplot.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with dial(page) as deaf:
        deaf.settimeout(10)
        with pytest.raises(OSError):  # noqa: PT011  reset, or its own buffer is full and the time runs out
            for _ in range(100_000):
                deaf.sendall(request)
        assert b"taemi_edge_page_connections 1.0" in get(page + "/metrics")[1].encode()


def test_who_asks_all_the_time_has_to_wait_and_health_answers_all_the_same(page, monkeypatch):
    monkeypatch.setattr(care, "_AT_ONCE", 1.0)
    over, asked = threading.Event(), []

    def ask() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                get(page + "/healthz")
                asked.append(time.monotonic())

    crowd = [threading.Thread(target=ask) for _ in range(20)]
    started = time.monotonic()
    for one in crowd:
        one.start()
    try:
        took_s = max(seconds_to_get(page + "/healthz", ENDED) for _ in range(3))
    finally:
        over.set()
        passed_s = time.monotonic() - started
        for one in crowd:
            one.join()
    assert took_s < ANSWERS_WITHIN_S
    assert len(asked) < 130 * (passed_s + 1)


def test_one_address_leaves_room_for_others():
    config = ServeConfig("127.0.0.1:0", most_per_address=4)
    with fed_page(*MODEL, config=config) as fed:
        table = fed.server._table
        made = [
            connections.Connection((host, port), connections.owner_of(host), port, lambda: None, lambda: False)
            for host in ("192.0.2.1", "192.0.2.2")
            for port in range(10)
        ]
        assert all(table.admit(connection) for connection in made)
        assert len(table) == 8
        assert get(fed.server.url + "healthz")[0] == ENDED


def test_pages_that_send_without_end_are_hung_up_on(page):
    host = page.removeprefix("http://").encode()
    endless = {
        "empty fragments": b"\x01\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * 50_000,
        "pings": b"\x89\xfd\0\0\0\0" + b"x" * 125,
    }
    for frames in endless.values():
        with dial(page) as client:
            client.sendall(UPGRADE % host)
            client.recv(1024)
            client.settimeout(5)
            with pytest.raises(OSError):  # noqa: PT011  reset or broken, as it happens
                for _ in range(10_000):
                    client.sendall(frames)


def test_oddities_are_answered_without_a_fault(page, caplog):
    host = page.removeprefix("http://").encode()
    get_it = b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n"
    expected = {
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n": b"400",
        get_it + b"".join(b"X-%d: y\r\n" % i for i in range(20_000)) + b"\r\n": b"400",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: " + host + b"\r\n\r\n": b"404",
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: " + host + b"\r\n\r\n": b"405",
        b"OPTIONS * HTTP/1.1\r\nHost: " + host + b"\r\n\r\n": b"405",
        b"GET * HTTP/1.1\r\nHost: " + host + b"\r\n\r\n": b"404",
        b"GET /healthz/ HTTP/1.1\r\nHost: " + host + b"\r\n\r\n": b"404",
        b"TRACE / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n": b"405",
        b"HEAD / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n": b"200",
        get_it
        + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n": b"413",
        get_it + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd": b"400",
        get_it + b"Host: evil.example\r\n\r\n": b"400",
        b"GET / HTTP/1.0\r\n\r\n": b"421",
        b"GET /%ff%fe%00 HTTP/1.1\r\nHost: " + host + b"\r\n\r\n": b"404",
        b"\0" * 1000 + b"\r\n\r\n": b"400",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": b"4",
        b"GET /ws HTTP/1.1\r\nHost: " + host + b"\r\n\r\n": b"404",
        b"GET /ws HTTP/1.1\r\nHost: " + host + b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n": b"4",
        b"GET /no HTTP/1.1\r\n" + (UPGRADE % host).partition(b"\r\n")[2]: b"403",
    }
    for request, status in expected.items():
        got = exchange(page, request, timeout_s=0.3)
        assert got.startswith(b"HTTP/1.1 " + status), (request[:60], got[:200])
        assert got.count(b"HTTP/1.1 ") == 1, request[:60]
        head = got.partition(b"\r\n\r\n")[0].lower()
        for name in (b"content-security-policy", b"x-content-type-options", b"x-frame-options", b"referrer-policy"):
            assert head.count(b"\r\n" + name + b": ") == 1, (request[:60], head)
        assert b"\r\ncache-control: no-store" in head, request[:60]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_refusal_for_want_of_room_has_all_headers(page):
    host = page.removeprefix("http://").encode()
    with idle(page, 32, UPGRADE % host), idle(page, 1):
        time.sleep(0.3)
        got = exchange(page, UPGRADE % host, timeout_s=2.0)
    assert got.startswith(b"HTTP/1.1 503")
    assert b"x-frame-options: DENY" in got
    with connect(f"ws://{host.decode()}/ws", open_timeout=5) as watcher:
        assert "hello" in watcher.recv(5)


def test_ipv6():
    config = ServeConfig("[::1]:0")
    try:
        with fed_page(*MODEL, config=config) as fed, idle(fed.server.url, 100):
            assert seconds_to_get(fed.server.url + "healthz", ENDED) < ANSWERS_WITHIN_S
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")


def test_answers_that_a_token_gave_are_not_kept():
    with fed_page(*MODEL, token=TOKEN) as fed:
        for path, status in ((f"?token={TOKEN}", 303), ("", 401), ("healthz", ENDED)):
            got, _, headers = get(fed.server.url + path)
            assert got == status
            assert headers["cache-control"] == "no-store"
            assert headers["x-frame-options"] == "DENY"

"""The page in a real headless Chromium, and its server against clients that mean no good."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the page needs the extra `serve`")
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.live.browser import CHROMIUM, Browser
from tests.live.running import LiveRun
from tests.live.servers import RtspServer, free_port
from tests.media import tone, write_media

PAGE = Path(__file__).parents[2] / "taemi_edge" / "live" / "page"
TOKEN = "0123456789abcdef-token"


def get(url: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    """Status, body and headers of an answer; the path is sent as it stands."""
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=10)
    connection.putrequest("GET", f"/{path}", skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body, {name.lower(): value for name, value in answer.getheaders()}


@pytest.fixture(scope="module")
def served(tiny_folder, demo_video, demo_vtt, tmp_path_factory):
    """A run of a file, again and again, with its page."""
    port, folder = free_port(), tmp_path_factory.mktemp("served")
    words = (f"demo={demo_video}", "--loop", "--serve", f"127.0.0.1:{port}", "--transcript", demo_vtt)
    with LiveRun(folder, tiny_folder, *words) as run:
        run.wait_until(lambda: len(run.predictions) >= 4)
        run.wait_for("audio", "live")
        yield run, f"http://127.0.0.1:{port}"


def test_the_page_is_small_and_needs_nothing_from_elsewhere(served):
    _, url = served
    total = 0
    for path in ("/", "/page.js", "/page.css", "/uplot.js", "/uplot.css"):
        status, body, headers = get(url + path)
        assert status == 200
        assert "default-src 'none'" in headers["content-security-policy"]
        total += len(body.encode())
    assert total < 100_000
    own = "".join((PAGE / name).read_text() for name in ("index.html", "page.js", "page.css"))
    assert "http://" not in own
    assert "https://" not in own


def test_health_and_metrics(served):
    run, url = served
    status, body, _ = get(f"{url}/healthz")
    health = json.loads(body)
    assert status == 200
    assert health["status"] == "ok"
    assert health["streams"]["demo"]["text"]["state"] in ("live", "stale", "missing")
    assert health["hops"] >= 4
    status, body, headers = get(f"{url}/metrics")
    assert headers["content-type"].startswith("text/plain")
    from prometheus_client.parser import text_string_to_metric_families

    found = {family.name: family for family in text_string_to_metric_families(body)}
    parts = {s.labels["part"] for s in found["taemi_edge_part_latency_seconds"].samples if s.name.endswith("count")}
    assert parts >= {"vision", "audio", "fusion", "face", "total"}
    assert {s.labels["outcome"] for s in found["taemi_edge_hops"].samples} == {"made", "late", "missed"}
    states = [s for s in found["taemi_edge_stream_state"].samples if s.labels["modality"] == "vision"]
    assert sum(s.value for s in states) == 1
    for name in ("reconnects", "dropped", "feature_age_seconds", "connected", "transcript_lines", "page_watchers"):
        assert f"taemi_edge_{name}" in found
    assert run.process.poll() is None


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/page.js/../server.py",
        "/static/..%2fserver.py",
        "//etc/passwd",
    ],
)
def test_nothing_but_the_page_can_be_had(served, path):
    assert get(served[1] + path)[0] == 404


def test_other_names_and_other_origins_are_refused(served):
    _, url = served
    host = url.removeprefix("http://")
    assert get(f"{url}/", Host="evil.example")[0] == 421
    assert get(f"{url}/", Host=host.replace("127.0.0.1", "localhost"))[0] == 200
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://{host}/ws", origin="http://evil.example")  # type: ignore[arg-type]
    assert refused.value.response.status_code == 403
    with connect(f"ws://{host}/ws", origin=url) as page:  # type: ignore[arg-type]
        assert json.loads(page.recv(10))["type"] == "hello"


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


@pytest.mark.once
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: tools/install_test_servers.sh")
def test_the_page_in_a_browser(tiny_folder, lasting_clip, demo_video, tmp_path, needs_rtsp_server):
    port = free_port()
    with RtspServer(lasting_clip) as server:
        words = (f"cam={server.url}", f"demo={demo_video}", "--loop", "--serve", f"127.0.0.1:{port}")
        with LiveRun(tmp_path, tiny_folder, *words) as run, Browser() as browser:
            run.wait_until(lambda: len(run.predictions) >= 8)
            browser.resize(1200, 900)
            browser.open(f"http://127.0.0.1:{port}/")
            root = "document.documentElement.dataset"
            browser.wait_for(f"{root}.hops >= 4")
            browser.wait_for(f"{root}.pictures >= 3")
            # curves move
            newest = "plot.data[0].at(-1)"
            first = browser.evaluate(newest)
            browser.wait_for(f"{newest} > {first + 0.9}")
            assert browser.evaluate("plot.data.length") == 7
            assert browser.evaluate("document.querySelectorAll('#values tbody tr').length") == 6
            # a lamp changes within a second of a killed stream
            lamp = "document.querySelector('#lamps [data-modality=vision]').dataset.state"
            browser.wait_for(f"{lamp} === 'live'")
            server.kill()
            assert browser.wait_for(f"{lamp} === 'missing'") < 1.0
            why = browser.evaluate("document.querySelector('#lamps [data-modality=vision] .why').textContent")
            assert "sender ended" in why or "reset" in why or "refused" in why
            browser.wait_for("document.querySelector('#events li.missing')")
            browser.wait_for("document.querySelector('#picture').classList.contains('old')")
            # a reload resumes: the curves and what happened are there before the next hop
            had = browser.evaluate("plot.data[0].length")
            browser.call("Page.reload")
            browser.wait_for(f"{root}.greetings >= 1 && plot && plot.data[0].length >= {had}")
            assert browser.evaluate("document.querySelectorAll('#events li.missing').length") >= 1
            # the keyboard switches sources, and the choice survives a reload
            browser.evaluate("document.querySelector('#sources [aria-checked=true]').focus()")
            browser.press("ArrowRight", 39)
            browser.wait_for("chosen === 'demo' && document.activeElement.dataset.source === 'demo'")
            browser.call("Page.reload")
            browser.wait_for(f"{root}.greetings >= 1 && chosen === 'demo'")
            browser.wait_for(f"{root}.pictures >= 1")
            # every control has a name and what changes is said aloud
            unnamed = (
                "[...document.querySelectorAll('button, input, a, img, [role]')].filter((e) => !e.hidden && "
                "!(e.ariaLabel || e.alt || e.getAttribute('aria-labelledby') || e.labels?.[0]?.textContent "
                "|| e.textContent).trim())"
            )
            assert browser.evaluate(f"{unnamed}.map((e) => e.outerHTML)") == []
            assert browser.evaluate("document.querySelector('#sources').getAttribute('role')") == "radiogroup"
            assert browser.evaluate("document.querySelectorAll('#sources [role=radio][aria-checked]').length") == 2
            assert browser.evaluate("document.querySelector('#events').getAttribute('aria-live')") == "polite"
            # a phone: nothing is wider than the screen; light and dark differ
            browser.resize(360, 740, mobile=True)
            browser.wait_for("document.documentElement.scrollWidth <= 360")
            ground = "getComputedStyle(document.body).backgroundColor"
            browser.prefer("light")
            light = browser.evaluate(ground)
            browser.prefer("dark")
            browser.wait_for(f"{ground} !== '{light}'")
            # the run is stopped: the page says so, and goes on with the next one by itself
            run.stop()
            browser.wait_for("document.querySelector('#link').classList.contains('lost')")
            server.start()
            with LiveRun(tmp_path, tiny_folder, *words) as again:
                again.wait_until(lambda: len(again.predictions) >= 4)
                browser.wait_for("!document.querySelector('#link').classList.contains('lost')", 15)
            expected = ("ERR_CONNECTION_REFUSED", "WebSocket")
            assert [p for p in browser.problems if not any(word in p for word in expected)] == []


def test_other_addresses_than_loopback_ask_for_a_token(cli, tiny_folder, demo_video, tmp_path):
    done = cli("run", tiny_folder, demo_video, "--serve", "0.0.0.0:0")
    assert done.returncode == 2
    assert "needs a token" in done.stderr
    short = tmp_path / "short"
    short.write_text("abc")
    done = cli("run", tiny_folder, demo_video, "--serve", "127.0.0.1:0", "--token-file", short)
    assert done.returncode == 2
    assert "at least 16" in done.stderr


def test_the_token_is_asked_for_and_kept_in_a_cookie(tiny_folder, demo_video, tmp_path):
    port, file = free_port(), tmp_path / "token"
    file.write_text(TOKEN + "\n")
    url = f"http://127.0.0.1:{port}"
    words = (demo_video, "--loop", "--serve", f"0.0.0.0:{port}", "--token-file", file)
    with LiveRun(tmp_path, tiny_folder, *words) as run:
        run.wait_until(lambda: len(run.predictions) >= 2)
        assert get(f"{url}/")[0] == 401
        assert get(f"{url}/metrics")[0] == 401
        assert get(f"{url}/?token=wrong-wrong-wrong-wrong")[0] == 401
        assert json.loads(get(f"{url}/healthz")[1]) == {"status": "ok"}
        assert get(f"{url}/metrics", Authorization=f"Bearer {TOKEN}")[0] == 200
        status, _, headers = get(f"{url}/?token={TOKEN}")
        assert (status, headers["location"]) == (303, "/")
        assert "HttpOnly" in headers["set-cookie"]
        assert "SameSite=strict" in headers["set-cookie"]
        cookie = headers["set-cookie"].partition(";")[0]
        assert get(f"{url}/", Cookie=cookie)[0] == 200
        with pytest.raises(InvalidStatus):
            connect(f"ws://127.0.0.1:{port}/ws")
        with connect(f"ws://127.0.0.1:{port}/ws", additional_headers={"Cookie": cookie}) as page:
            assert json.loads(page.recv(10))["type"] == "hello"
        run.stop()
        assert TOKEN not in "\n".join(run.log)


@pytest.mark.once
def test_tls(tiny_folder, demo_video, tmp_path):
    key, certificate, port = tmp_path / "key.pem", tmp_path / "certificate.pem", free_port()
    made = (
        subprocess.run(
            [
                "/usr/bin/openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "1",
                "-subj",
                "/CN=localhost",
            ]
            + ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
            capture_output=True,
            check=False,
        )
        if os.path.exists("/usr/bin/openssl")
        else None
    )
    if made is None or made.returncode:
        pytest.skip("openssl is not here to make a certificate")
    words = ("--serve", f"127.0.0.1:{port}", "--tls-certificate", certificate, "--tls-key", key)
    with LiveRun(tmp_path, tiny_folder, demo_video, "--loop", *words) as run:
        run.wait_until(lambda: len(run.predictions) >= 2)
        context = ssl.create_default_context(cafile=str(certificate))
        with urllib.request.urlopen(f"https://127.0.0.1:{port}/healthz", context=context) as answer:
            assert json.load(answer)["status"] == "ok"
        with pytest.raises((urllib.error.URLError, ConnectionError, http.client.HTTPException)):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5)


def test_after_files_the_page_stays_until_the_run_is_stopped(tiny_folder, tmp_path):
    clip = write_media(tmp_path / "short.mp4", frame_times_s=[i / 25 for i in range(40)], samples=tone(1.6))
    port = free_port()
    with LiveRun(tmp_path, tiny_folder, clip, "--serve", f"127.0.0.1:{port}") as run:
        run.wait_until(lambda: any("the page stays" in line for line in run.log))
        status, body, _ = get(f"http://127.0.0.1:{port}/healthz")
        assert (status, json.loads(body)["status"]) == (200, "ended")
        assert run.predictions[-1]["reason"]["audio"] == "the file is at its end"
        assert any("is played at its own pace, once" in line for line in run.log)
        assert run.stop() == 0


def test_a_port_in_use_is_one_sentence(cli, tiny_folder, demo_video):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = cli("run", tiny_folder, demo_video, "--serve", f"127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 2
    assert "cannot listen there: Address already in use" in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3

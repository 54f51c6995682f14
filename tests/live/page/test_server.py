"""The server of the page: TLS, its port, and its end."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import subprocess
import urllib.error
import urllib.request

import pytest

pytest.importorskip("starlette", reason="the page needs the extra `serve`")
from tests.live.page.client import get
from tests.live.running import LiveRun
from tests.live.servers import free_port
from tests.media import tone, write_media


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

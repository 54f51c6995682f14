"""Who may open the page."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("starlette", reason="the page needs the extra `serve`")
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from taemi_edge.errors import UsageError
from taemi_edge.live.config import ServeConfig
from taemi_edge.live.page.access import TOKEN_VARIABLE, find_token
from tests.live.page.client import TOKEN, get
from tests.live.running import LiveRun
from tests.live.servers import free_port


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


def test_a_token_comes_from_its_file_before_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    assert find_token(ServeConfig()) is None
    monkeypatch.setenv(TOKEN_VARIABLE, "another-token-of-the-environment")
    assert find_token(ServeConfig(token_file=str(file))) == TOKEN
    assert find_token(ServeConfig()) == "another-token-of-the-environment"
    with pytest.raises(UsageError, match="cannot be read"):
        find_token(ServeConfig(token_file=str(tmp_path / "nothing")))

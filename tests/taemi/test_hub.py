"""A hub that is out of reach is known at once, and said in one sentence."""

from __future__ import annotations

import os
import socket

import pytest

pytest.importorskip("huggingface_hub", reason="transformers brings it")

from huggingface_hub import constants

from taemi_edge.taemi.hub import hub_problem, is_on_the_hub

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch):
    for name in (*PROXIES, *map(str.upper, PROXIES)):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def test_a_folder_is_not_on_the_hub(tmp_path):
    assert not is_on_the_hub(str(tmp_path))
    assert is_on_the_hub("nobody/no-such-model")


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:1", "https://no-such-host.invalid", "https://" + "a" * 70 + ".b"]
)
def test_a_hub_without_an_answer_is_named(endpoint: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    assert hub_problem() == f"{endpoint.split('//')[1].split(':')[0]} cannot be reached from here"


def test_a_hub_that_answers_is_no_problem_and_a_proxy_stands_for_it(monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
        assert hub_problem() is None
        monkeypatch.setattr(constants, "ENDPOINT", "https://no-such-host.invalid")
        monkeypatch.setenv("https_proxy", f"http://me:secret@127.0.0.1:{port}")
        assert hub_problem() is None
    assert "127.0.0.1 cannot be reached" in (hub_problem() or "")
    assert "secret" not in (hub_problem() or "")


def test_what_was_switched_off_is_not_asked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub_problem() == "HF_HUB_OFFLINE is set"


@pytest.mark.once
def test_a_recipe_of_the_hub_is_one_sentence_without_a_network(cli, tmp_path):
    pytest.importorskip("torch", reason="encoders are PyTorch's")
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:1", "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0"}
    done = cli("export", "taemi-base", "--output", tmp_path / "o", env=os.environ | nowhere)
    assert done.returncode == 2
    assert "Retrying" not in done.stderr
    assert "127.0.0.1 cannot be reached from here" in done.stderr
    assert "`hf download google/vit-base-patch16-224-in21k`" in done.stderr
    assert [line for line in done.stderr.splitlines() if not line.startswith("loading ")][1:] == []

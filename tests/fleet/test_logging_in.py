"""Where credentials go, and where they do not: redirects, token servers, ~/.netrc."""

from __future__ import annotations

import base64
import json

import pytest

pytest.importorskip("oras", reason="needs the extra `fleet`")

from taemi_edge.errors import RegistryError
from taemi_edge.fleet.pull import pull_bundle
from taemi_edge.fleet.registry import Access
from tests.fleet.hostile import hostile_registry, reply, vision_of


def logged_in(monkeypatch, tmp_path, host):
    """The file that `docker login` writes."""
    folder = tmp_path / "docker"
    folder.mkdir(exist_ok=True)
    auth = base64.b64encode(b"me:secret-word").decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    return auth


CHALLENGE = "401 Unauthorized"


def asking_for_basic(answer):
    def guarded(request, connection):
        if "authorization" in request.headers:
            answer(request, connection)
        else:
            reply(status=CHALLENGE, Www_Authenticate='Basic realm="r"')(request, connection)

    return guarded


def test_a_redirect_to_another_host_gets_no_credentials(hostile, tmp_path, monkeypatch):
    auth = logged_in(monkeypatch, tmp_path, hostile.host)
    digest = vision_of(hostile)
    with hostile_registry() as storage:
        storage.blobs = {"blob": hostile.blobs[digest]}
        elsewhere = reply(status="307 Temporary Redirect", Location=f"http://{storage.host}/blob?signature=s3cret")
        hostile.routes[digest] = asking_for_basic(elsewhere)
        pull_bundle(hostile.reference, tmp_path / "tiny")
    assert any(request.headers.get("authorization") == f"Basic {auth}" for request in hostile.requests)
    assert storage.requests
    assert not any("authorization" in request.headers for request in storage.requests)


def test_a_redirect_that_asks_for_a_password_gets_none(hostile, tmp_path, monkeypatch):
    logged_in(monkeypatch, tmp_path, hostile.host)
    with hostile_registry() as storage:
        storage.routes[""] = reply(status=CHALLENGE, Www_Authenticate='Basic realm="r"')
        hostile.routes["/manifests/1"] = reply(status="302 Found", Location=f"http://{storage.host}/x")
        with pytest.raises(RegistryError, match="401"):
            pull_bundle(hostile.reference, tmp_path / "tiny")
    assert not any("authorization" in request.headers for request in storage.requests)


def test_a_token_comes_from_the_registrys_own_host(hostile, tmp_path, monkeypatch):
    auth = logged_in(monkeypatch, tmp_path, hostile.host)
    challenge = f'Bearer realm="http://{hostile.host}/token",service="s",scope="repository:m:pull"'

    def guarded(request, connection):
        ask = reply(status=CHALLENGE, Www_Authenticate=challenge)
        known = request.headers.get("authorization") == "Bearer tok"
        (reply(hostile.manifest) if known else ask)(request, connection)

    hostile.routes |= {"/manifests/1": guarded, "/token": reply(b'{"token": "tok"}')}
    pull_bundle(hostile.reference, tmp_path / "tiny")
    token = next(request for request in hostile.requests if request.path.startswith("/token"))
    assert token.path == "/token?service=s&scope=repository%3Am%3Apull"
    assert token.headers["authorization"] == f"Basic {auth}"


@pytest.mark.parametrize("allowed", [False, True])
def test_a_token_server_elsewhere_gets_the_credentials_only_where_allowed(hostile, tmp_path, monkeypatch, allowed):
    """`localhost` stands for another host: it is another name."""
    logged_in(monkeypatch, tmp_path, hostile.host)
    with hostile_registry() as tokens:
        elsewhere = tokens.host.replace("127.0.0.1", "localhost")
        tokens.routes["/token"] = reply(b'{"access_token": "tok"}')
        hostile.routes["/manifests/1"] = reply(
            status=CHALLENGE, Www_Authenticate=f'Bearer realm="http://{elsewhere}/token"'
        )
        access = Access(token_hosts=("localhost",) if allowed else ())
        with pytest.raises(RegistryError, match="401" if allowed else "allow it with --token-host localhost") as caught:
            pull_bundle(hostile.reference, tmp_path / "tiny", access=access)
    assert bool(tokens.requests) == allowed
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("token", [b"[]", b'{"token": 7}', b'{"token": "a\\r\\nX: y"}', b"<", b'{"token": "\xc3\xa4"}'])
def test_a_token_that_is_none_is_not_sent(hostile, tmp_path, token):
    challenge = f'Bearer realm="http://{hostile.host}/token"'
    hostile.routes["/manifests/1"] = reply(status=CHALLENGE, Www_Authenticate=challenge)
    hostile.routes["/token"] = reply(token)
    with pytest.raises(RegistryError, match="docker login"):
        pull_bundle(hostile.reference, tmp_path / "tiny")


def test_netrc_is_not_read(hostile, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\ndefault login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    pull_bundle(hostile.reference, tmp_path / "tiny")
    assert not any("authorization" in request.headers for request in hostile.requests)


def test_plain_http_is_spoken_to_this_machine_alone(hostile, tmp_path):
    elsewhere = "oci://registry.invalid/m:1"
    with pytest.raises(RegistryError, match=r"registry\.invalid: the registry cannot be reached"):
        pull_bundle(elsewhere, tmp_path / "tiny")
    assert list(tmp_path.glob("*tiny*")) == []


def test_a_registry_on_this_machine_is_asked_without_a_proxy(hostile, tmp_path, monkeypatch):
    logged_in(monkeypatch, tmp_path, hostile.host)
    with hostile_registry() as proxy:
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://{proxy.host}")
        pull_bundle(hostile.reference, tmp_path / "tiny")
    assert proxy.requests == []


def test_a_proxy_that_fails_is_not_shown_with_its_password(tmp_path, monkeypatch):
    monkeypatch.setattr("taemi_edge.fleet.registry.RETRY_AFTER_S", ())
    monkeypatch.setenv("https_proxy", "http://me:secret-word@127.0.0.1:9")
    with pytest.raises(RegistryError, match=r"registry\.invalid: the registry cannot be reached") as caught:
        pull_bundle("oci://registry.invalid/m:1", tmp_path / "tiny")
    assert "secret" not in str(caught.value)

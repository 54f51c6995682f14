"""Credentials are found where other tools keep them."""

from __future__ import annotations

import base64
import json
import os

import pytest

from taemi_edge.errors import RegistryError
from taemi_edge.fleet.credentials import find_credentials
from taemi_edge.fleet.reference import parse_reference

HERE = parse_reference("oci://registry.example:5000/models/mine:1")


def auth(user="me", word="secret-word"):
    return {"auth": base64.b64encode(f"{user}:{word}".encode()).decode()}


def written(file, content):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.fixture
def docker(tmp_path):
    """$DOCKER_CONFIG, as the fixture of this folder sets it."""
    return tmp_path / "no-docker" / "config.json"


def test_nobody_is_logged_in():
    assert find_credentials(HERE) is None


@pytest.mark.parametrize(
    "key",
    [
        *("registry.example:5000", "https://registry.example:5000", "https://registry.example:5000/v1/"),
        *("registry.example:5000/models", "registry.example:5000/models/mine"),
    ],
)
def test_a_registry_is_known_under_several_names(docker, key):
    written(docker, {"auths": {"other.example": auth("no"), key: auth()}})
    found = find_credentials(HERE)
    assert (found.user, found.password) == ("me", "secret-word")
    assert "secret" not in repr(found)


@pytest.mark.parametrize("key", ["registry.example", "evilregistry.example:5000", "registry.example:5000/mod"])
def test_another_registry_is_not_this_one(docker, key):
    written(docker, {"auths": {key: auth()}})
    assert find_credentials(HERE) is None


def test_the_nearest_name_counts(docker):
    written(docker, {"auths": {HERE.host: auth("all"), f"{HERE.host}/models": auth("near")}})
    assert find_credentials(HERE).user == "near"


def test_the_files_are_asked_in_their_order(docker, tmp_path, monkeypatch):
    written(tmp_path / "no-config" / "containers" / "auth.json", {"auths": {HERE.host: auth("fourth")}})
    assert find_credentials(HERE).user == "fourth"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    written(tmp_path / "run" / "containers" / "auth.json", {"auths": {HERE.host: auth("third")}})
    assert find_credentials(HERE).user == "third"
    written(docker, {"auths": {HERE.host: auth("second")}})
    assert find_credentials(HERE).user == "second"
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "named.json"))
    written(tmp_path / "named.json", {"auths": {HERE.host: auth("first")}})
    assert find_credentials(HERE).user == "first"


def helper(folder, monkeypatch, script):
    file = folder / "docker-credential-ours"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.parametrize("config", [{"credsStore": "ours"}, {"credHelpers": {HERE.host: "ours"}}])
def test_a_credential_helper_is_asked(docker, tmp_path, monkeypatch, config):
    asked = tmp_path / "asked"
    helper(tmp_path, monkeypatch, f"""echo "$1 $(cat)" >> {asked}; echo '{{"Username": "me", "Secret": "s3"}}'""")
    written(docker, config)
    found = find_credentials(HERE)
    assert (found.user, found.password) == ("me", "s3")
    assert asked.read_text() == f"get {HERE.host}\n"


@pytest.mark.parametrize(
    ("config", "script", "match"),
    [
        ('{"auths": ', "", "as `docker login` writes it"),
        ("[" * 100_000, "", "as `docker login` writes it"),
        ("x" * (1 << 20) + "x", "", "got over 1 MiB"),
        ({"auths": {HERE.host: {"auth": "secret%%"}}}, "", "in base64"),
        ({"auths": {HERE.host: {"identitytoken": "secret"}}}, "", "an identity token"),
        ({"credsStore": "../../bin/sh"}, "", "the name of a credential helper"),
        ({"credsStore": "that-nobody-has"}, "", "cannot be run"),
        ({"credsStore": "ours"}, "echo secret", "a user name and a secret as JSON"),
        ({"credsStore": "ours"}, """echo '{"Username": "<token>", "Secret": "secret"}'""", "got a token"),
        ({"credsStore": "ours"}, "exec sleep 5", "gave no answer"),
    ],
)
def test_what_is_wrong_is_said_and_no_secret_shown(docker, tmp_path, monkeypatch, config, script, match):
    monkeypatch.setattr("taemi_edge.fleet.credentials._HELPER_TIMEOUT_S", 0.5)
    helper(tmp_path, monkeypatch, script)
    written(docker, config)
    with pytest.raises(RegistryError, match=match) as caught:
        find_credentials(HERE)
    told = f"{caught.value} {caught.value.__cause__} {caught.value.__context__}"
    assert "secret" not in told.replace("a secret as JSON", "")


def test_a_helper_that_knows_nothing_is_no_error(docker, tmp_path, monkeypatch):
    helper(tmp_path, monkeypatch, "echo credentials not found in native keychain; exit 1")
    written(docker, {"credsStore": "ours"})
    assert find_credentials(HERE) is None

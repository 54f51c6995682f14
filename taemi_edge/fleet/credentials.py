"""Finds the user name and the password for a registry where other tools keep them; they are shown nowhere.

`docker login`, `podman login` and `oras login` write one of these files. They are read in this order, and the first
that knows the registry counts:

    $REGISTRY_AUTH_FILE
    $DOCKER_CONFIG/config.json, else ~/.docker/config.json
    $XDG_RUNTIME_DIR/containers/auth.json, else ~/.config/containers/auth.json

oras' own reader is not used: it merges all files in an order that changes from run to run, knows neither
$DOCKER_CONFIG nor $REGISTRY_AUTH_FILE, waits for a credential helper for ever, and logs what a failing helper writes.
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from taemi_edge.errors import RegistryError
from taemi_edge.fleet.reference import Reference

#: Files of credentials have a few lines; more is something else.
_MOST_BYTES = 1 << 20
_HELPER_TIMEOUT_S = 20.0
#: A user name that stands for "the password is a token that is exchanged for others" (Docker's credential helpers).
_TOKEN_USER = "<token>"  # noqa: S105 - a name in the protocol, no password
#: The name under which Docker keeps the credentials for its own registry.
_DOCKER_HUB = "https://index.docker.io/v1/"


@dataclass(frozen=True)
class Credentials:
    """A user name and a password; its text shows neither.

    >>> Credentials("me", "secret", "config.json")
    Credentials(found_in='config.json')
    """

    user: str = field(repr=False)
    password: str = field(repr=False)
    found_in: str


class _Entry(msgspec.Struct):
    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""


class _File(msgspec.Struct):
    auths: dict[str, _Entry] = {}
    credsStore: str = ""  # noqa: N815 - the file's own name for it
    credHelpers: dict[str, str] = {}  # noqa: N815 - the file's own name for it


class _Given(msgspec.Struct):
    """What a credential helper prints."""

    Username: str
    Secret: str


def find_credentials(reference: Reference) -> Credentials | None:
    """Give the credentials for a registry; None where no file knows it.

    Raises:
        RegistryError: a file is not what `docker login` writes, or its credential helper is missing or fails. The
            message names the file and never what it holds.
    """
    for file in credential_files():
        if (found := _read(file)) is not None and (known := _credentials_in(found, file, reference)) is not None:
            return known
    return None


def credential_files() -> list[Path]:
    """The files that may hold credentials, in the order in which they are asked."""
    home = Path.home()
    named = os.environ.get("REGISTRY_AUTH_FILE")
    docker = os.environ.get("DOCKER_CONFIG")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    config = os.environ.get("XDG_CONFIG_HOME")
    return [
        *([Path(named)] if named else []),
        (Path(docker) if docker else home / ".docker") / "config.json",
        *([Path(runtime, "containers", "auth.json")] if runtime else []),
        (Path(config) if config else home / ".config") / "containers" / "auth.json",
    ]


def _read(file: Path) -> _File | None:
    try:
        with file.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise RegistryError(f"{file}: expected a file of credentials as `docker login` writes it, got over 1 MiB")
        return msgspec.json.decode(content, type=_File)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RegistryError(f"{file}: cannot be read: {error.strerror}: it may hold the registry's password") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        problem = f"{file}: expected a file of credentials as `docker login` writes it: log in again"
    raise RegistryError(problem)  # outside the handler: the parser's words may hold what the file holds


def _credentials_in(content: _File, file: Path, reference: Reference) -> Credentials | None:
    for key in _keys(reference):
        helper = content.credHelpers.get(key) or (content.credsStore if key in content.auths else "")
        entry = next((entry for name, entry in content.auths.items() if _plain(name) == key), None)
        if entry is not None and (known := _from_entry(entry, file)) is not None:
            return known
        if helper and (known := _from_helper(helper, key, file)) is not None:
            return known
    if content.credsStore and (known := _from_helper(content.credsStore, _keys(reference)[-1], file)) is not None:
        return known
    return None


def _keys(reference: Reference) -> list[str]:
    """The names under which a file may keep the credentials of a reference, the nearest first."""
    path, keys = f"{reference.host}/{reference.repository}", []
    while path:
        keys.append(path)
        path = path.rpartition("/")[0]
    return [*keys, _DOCKER_HUB] if reference.host in ("docker.io", "registry-1.docker.io") else keys


def _plain(name: str) -> str:
    """A key without what older Dockers wrote around the host: `https://HOST/v1/`."""
    return name if name == _DOCKER_HUB else re.sub(r"/v[12]/?$", "", re.sub(r"^https?://", "", name)).rstrip("/")


def _from_entry(entry: _Entry, file: Path) -> Credentials | None:
    if entry.identitytoken:
        raise RegistryError(
            f"{file}: expected a user name and a password for this registry, got an identity token, which is not "
            f"supported: log in with a password or an access token"
        )
    user, password = entry.username, entry.password
    if entry.auth:
        try:
            user, _, password = base64.b64decode(entry.auth, validate=True).decode("utf-8").partition(":")
        except ValueError:  # no base64, no UTF-8, or signs beyond ASCII
            user = ""
        if not user:
            raise RegistryError(f"{file}: expected `auth` to be USER:PASSWORD in base64: log in again")
    return Credentials(user, password, str(file)) if user else None


def _from_helper(helper: str, key: str, file: Path) -> Credentials | None:
    """Ask `docker-credential-HELPER get`; None where it does not know the registry."""
    program = f"docker-credential-{helper}"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", helper):
        raise RegistryError(f"{file}: expected the name of a credential helper, got something else: log in again")
    try:
        done = subprocess.run(
            [program, "get"], input=key.encode(), capture_output=True, timeout=_HELPER_TIMEOUT_S, check=False
        )
    except OSError as error:
        raise RegistryError(f"{file} names the credential helper {program}, which cannot be run: install it") from error
    except subprocess.TimeoutExpired:
        problem = f"{program}, which {file} names, gave no answer in {_HELPER_TIMEOUT_S:.0f} s: does it wait for you?"
    else:
        if done.returncode:
            return None  # it says so where it does not know the registry, each helper in words of its own
        try:
            given = msgspec.json.decode(done.stdout, type=_Given)
            if given.Username == _TOKEN_USER:
                problem = f"{program}: expected a user name and a password, got a token: log in with a password"
            else:
                return Credentials(given.Username, given.Secret, program)
        except (ValueError, RecursionError):
            problem = f"{program}, which {file} names: expected a user name and a secret as JSON, got something else"
    raise RegistryError(problem)  # outside the handlers: a cause would carry what the helper gave

"""Registries for the tests: Debian's docker-registry, and one that attacks."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fleet.hostile import HostileRegistry, hostile_registry


@dataclass(frozen=True)
class RunningRegistry:
    """A docker-registry on this machine.

    Attributes:
        host: its address with the port.
        folder: where it keeps blobs.
    """

    host: str
    folder: Path

    def blob(self, digest: str) -> Path:
        """The file of a blob, to alter it behind the registry's back."""
        hexadecimal = digest.removeprefix("sha256:")
        return self.folder / "docker/registry/v2/blobs/sha256" / hexadecimal[:2] / hexadecimal / "data"


StartRegistry = Callable[..., RunningRegistry]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def start_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartRegistry]:
    """A function that starts a registry; all of them end with the session."""
    if shutil.which("docker-registry") is None:
        pytest.skip("needs docker-registry, from tools/install_test_servers.sh")
    running: list[subprocess.Popen[bytes]] = []

    def start(http: str = "", auth: str = "", scheme: str = "http") -> RunningRegistry:
        folder = tmp_path_factory.mktemp("registry")
        host = f"127.0.0.1:{free_port()}"
        (folder / "config.yml").write_text(
            "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
            f"storage: {{filesystem: {{rootdirectory: {folder}}}, delete: {{enabled: true}}}}\n"
            f"http: {{addr: '{host}'{http}}}\n{auth}"
        )
        with (folder / "log").open("wb") as log:
            command = ["docker-registry", "serve", str(folder / "config.yml")]
            running.append(subprocess.Popen(command, stdout=log, stderr=log))
        _wait_for(host, running[-1])
        return RunningRegistry(host, folder)

    yield start
    for process in running:
        process.kill()
        process.wait()


def _wait_for(host: str, process: subprocess.Popen[bytes]) -> None:
    name, _, port = host.partition(":")
    for _ in range(200):
        assert process.poll() is None, "docker-registry ended at once"
        with suppress(OSError), socket.create_connection((name, int(port)), timeout=1):
            return
        time.sleep(0.05)
    raise AssertionError("docker-registry does not listen")


@pytest.fixture(scope="session")
def registry(start_registry: StartRegistry) -> RunningRegistry:
    """One without passwords, by http."""
    return start_registry()


@pytest.fixture(autouse=True)
def _no_credentials_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests read no credentials of whoever runs them, and ask no proxy."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "no-docker"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch, tiny_folder: Path) -> Iterator[HostileRegistry]:
    """A registry that holds the tiny bundle and lies where a test says so; nobody waits between tries."""
    for module in ("registry", "transfer", "push"):
        monkeypatch.setattr(f"taemi_edge.fleet.{module}.RETRY_AFTER_S", (0.0, 0.0, 0.0))
    with hostile_registry() as running:
        running.holds(tiny_folder)
        yield running

"""A server that speaks as a registry does, and may lie: a real registry does not attack."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from taemi_edge.fleet.artifact import TITLE, artifact_bytes


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]


Answer = Callable[[Request, socket.socket], None]


def reply(body: bytes = b"", status: str = "200 OK", **headers: str) -> Answer:
    """An answer; headers are named with _ for -."""
    named = {"Content-Length": str(len(body)), **{key.replace("_", "-"): value for key, value in headers.items()}}
    head = "".join(f"{key}: {value}\r\n" for key, value in named.items() if value)

    def answer(request: Request, connection: socket.socket) -> None:
        connection.sendall(f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + (b"" if request.method == "HEAD" else body))
        if named.get("Connection") == "close":
            connection.shutdown(socket.SHUT_RDWR)

    return answer


def endless(request: Request, connection: socket.socket) -> None:
    """A body that never ends."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    with suppress(OSError):
        while True:
            connection.sendall(b"{" * 65536)


@dataclass
class HostileRegistry:
    """What a server has, and what it was asked.

    Attributes:
        host: its address with the port.
        routes: answers by the end of a path; the others are answered as a sound registry does.
        requests: all that came.
        manifest: the bytes that it gives as the manifest.
        blobs: by digest.
    """

    host: str
    routes: dict[str, Answer] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    manifest: bytes = b""
    blobs: dict[str, bytes] = field(default_factory=dict)

    def holds(self, folder: Path) -> None:
        """Take the files of a bundle."""
        contents = {file.name: file.read_bytes() for file in folder.iterdir()}
        self.blobs = {f"sha256:{sha256(content).hexdigest()}": content for content in contents.values()}
        listed = {name: (sha256(content).hexdigest(), len(content)) for name, content in contents.items()}
        self.manifest = artifact_bytes(listed, None)

    @property
    def reference(self) -> str:
        return f"oci://{self.host}/m:1"

    @property
    def by_digest(self) -> str:
        return f"oci://{self.host}/m@sha256:{sha256(self.manifest).hexdigest()}"

    def answer(self, request: Request, connection: socket.socket) -> None:
        self.requests.append(request)
        for end, answer in self.routes.items():
            if request.path.partition("?")[0].endswith(end):
                return answer(request, connection)
        name = request.path.partition("?")[0].rpartition("/")[2]
        if "/manifests/" in request.path:
            return reply(self.manifest)(request, connection)
        if name not in self.blobs:
            return reply(status="404 Not Found")(request, connection)
        start = int(request.headers.get("range", "bytes=0-")[6:-1])
        if start:
            total = len(self.blobs[name])
            ranged = reply(
                self.blobs[name][start:], "206 Partial Content", Content_Range=f"bytes {start}-{total - 1}/{total}"
            )
            return ranged(request, connection)
        return reply(self.blobs[name])(request, connection)


@contextmanager
def hostile_registry() -> Iterator[HostileRegistry]:
    """Run one on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        registry = HostileRegistry(f"127.0.0.1:{server.getsockname()[1]}")
        threading.Thread(target=_serve, args=(server, registry), daemon=True).start()
        yield registry
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


def _serve(server: socket.socket, registry: HostileRegistry) -> None:
    with suppress(OSError):
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_talk, args=(connection, registry), daemon=True).start()


def _talk(connection: socket.socket, registry: HostileRegistry) -> None:
    """Answer one request after the other; TLS is refused as a server without it does."""
    with connection, suppress(OSError), connection.makefile("rb") as lines:
        while line := lines.readline(65536):
            if line.startswith(b"\x16"):
                connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
                return
            method, path, _ = line.decode("latin-1").split(" ", 2)
            headers = {}
            while (header := lines.readline(65536)).strip():
                key, _, value = header.decode("latin-1").partition(":")
                headers[key.strip().lower()] = value.strip()
            lines.read(int(headers.get("content-length", "0")))
            registry.answer(Request(method, path, headers), connection)


def vision_of(registry: HostileRegistry) -> str:
    """The digest of the blob that is vision.onnx."""
    layers = json.loads(registry.manifest)["layers"]
    return str(next(layer["digest"] for layer in layers if layer["annotations"][TITLE] == "vision.onnx"))

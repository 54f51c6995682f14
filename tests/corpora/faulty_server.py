"""A proxy before a server of tests that answers some requests itself, as a server does that is overloaded or upset."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: Takes the method and the path of a request; gives the status and the code of an error, or None to let it pass.
Faults = Callable[[str, str], "tuple[int, str] | None"]
_NOT_PASSED_ON = {"connection", "transfer-encoding", "content-length", "date", "server"}


@dataclass
class FaultyServer:
    """Answers at `port`; `faults` may be changed while it runs."""

    port: int
    faults: Faults

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class _Proxy(ThreadingHTTPServer):
    """The server itself: `behind` is the port of the one that it stands before."""

    running: FaultyServer
    behind: int


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Proxy

    def answer_request(self) -> None:
        body = self.body()
        if (fault := self.server.running.faults(self.command, self.path)) is not None:
            status, code = fault
            self.answer(status, {"Content-Type": "application/xml"}, f"<Error><Code>{code}</Code></Error>".encode())
            return
        connection = HTTPConnection("127.0.0.1", self.server.behind, timeout=60)
        passed = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
        connection.request(self.command, self.path, body, passed)
        response = connection.getresponse()
        headers = {k: v for k, v in response.getheaders() if k.lower() not in _NOT_PASSED_ON}
        length = response.getheader("Content-Length")
        self.answer(response.status, headers, response.read(), length)
        connection.close()

    def body(self) -> bytes:
        """What comes with a request, in chunks as they were sent where it was sent in chunks."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        lines: list[bytes] = []
        while not lines or int(lines[-2].partition(b";")[0], 16):
            size = self.rfile.readline()
            lines += [size, self.rfile.read(int(size.partition(b";")[0], 16)) + self.rfile.readline()]
        return b"".join(lines)

    def answer(self, status: int, headers: dict[str, str], body: bytes, length: str | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        is_head = self.command == "HEAD"
        self.send_header("Content-Length", length if is_head and length else str(len(body)))
        self.end_headers()
        if not is_head:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer_request  # noqa: N815  (names that the library calls)


@contextmanager
def faulty_server(behind: int) -> Iterator[FaultyServer]:
    """Run a proxy before the server at a port of this machine; at first it lets everything pass."""
    with _Proxy(("127.0.0.1", 0), _Handler) as server:
        server.behind = behind
        server.running = FaultyServer(server.server_port, lambda _method, _path: None)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.running
        finally:
            server.shutdown()
            thread.join()

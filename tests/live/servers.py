"""Real servers for the live tests: gst-rtsp-server in a process that can be killed, stopped and started again."""

from __future__ import annotations

import contextlib
import http.server
import os
import random
import select
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import av

SYSTEM_PYTHON = "/usr/bin/python3"
_SCRIPT = Path(__file__).with_name("rtsp_server.py")


def rtsp_server_is_there() -> bool:
    """Whether Debian's gst-rtsp-server and what it needs are installed."""
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    if not Path(SYSTEM_PYTHON).exists():
        return False
    return subprocess.run([SYSTEM_PYTHON, "-c", probe], capture_output=True, check=False).returncode == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RtspServer:
    """A server of one clip at /live; a context manager.

    Args:
        clip: H.264 and AAC in Matroska, long enough for the test: `long_clip` makes one.
        words: further words for the script, such as --encode.
    """

    def __init__(self, clip: Path, *words: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"rtsp://127.0.0.1:{self.port}/live"
        self._command = [SYSTEM_PYTHON, str(_SCRIPT), str(clip), str(self.port), *words]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._line() == "ready"

    def tell(self, command: str) -> None:
        """A command of the script's, such as `drop audio on`."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        assert self._line() == "ok"

    def kill(self) -> None:
        """As a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process = None

    def hang(self) -> None:
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def __enter__(self) -> RtspServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()

    def _signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def _line(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        assert select.select([self._process.stdout], [], [], 20)[0], "the RTSP server says nothing"
        return self._process.stdout.readline().strip()


def long_clip(source: Path, target: Path, seconds: float) -> Path:
    """A clip again and again, without encoding it anew: streams by name of a short file, for as long as a test."""
    with av.open(str(target), "w", format="matroska") as writer:
        streams: dict[int, Any] = {}
        start_s = 0.0
        while start_s < seconds:
            with av.open(str(source)) as reader:
                chosen = (reader.streams.video[0], reader.streams.audio[0])
                for stream in chosen if not streams else ():
                    streams[stream.index] = writer.add_stream_from_template(stream)
                length_s = reader.duration / av.time_base
                for packet in reader.demux(*chosen):
                    if packet.dts is None:
                        continue
                    shift = round(start_s / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = streams[packet.stream.index]
                    writer.mux(packet)
                start_s += length_s + 0.04
    return target


class Relay:
    """Between a client and a TCP server: passes everything on, until it is told to swallow it (a half-open line)."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.swallow = threading.Event()
        self._over = threading.Event()
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._listener.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            if self.swallow.is_set():  # the line takes connections and gives nothing
                threading.Thread(target=self._hold, args=(client,), daemon=True).start()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _hold(self, client: socket.socket) -> None:
        with client:
            self._over.wait(60)

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while content := one.recv(65_536):
                if not self.swallow.is_set():
                    other.sendall(content)
        except OSError:
            pass
        finally:
            if not self.swallow.is_set():
                for each in (one, other):
                    with contextlib.suppress(OSError):
                        each.shutdown(socket.SHUT_RDWR)  # closing alone tells nobody while the other thread reads
                    each.close()


#: Pieces of a stream, each with the second at which a sender that keeps time sends it.
Timed = list[tuple[float, bytes]]


def transport_stream(source: Path, seconds: float) -> Timed:
    """A clip again and again as MPEG-TS, in pieces as a live sender would send them."""
    pieces: Timed = []

    class Sink:
        now_s = 0.0

        def write(self, content: bytes) -> int:
            pieces.append((self.now_s, bytes(content)))
            return len(content)

    with tempfile.TemporaryDirectory() as folder:
        clip, sink = long_clip(source, Path(folder) / "clip.mkv", seconds), Sink()
        with (
            av.open(str(clip)) as reader,
            av.open(sink, "w", format="mpegts", options={"flush_packets": "1"}) as writer,
        ):
            streams = {s.index: writer.add_stream_from_template(s) for s in reader.streams}
            for packet in reader.demux():
                if packet.size:  # Matroska keeps no decoding times: FFmpeg finds those of the first packets late
                    packet.dts = packet.pts - round(0.1 / packet.time_base) if packet.dts is None else packet.dts
                    sink.now_s = max(sink.now_s, float(packet.dts * packet.time_base))
                    packet.stream = streams[packet.stream.index]
                    writer.mux(packet)
    return pieces


class HttpServer:
    """Streams and refusals over HTTP; a context manager.

    Args:
        contents: by path: bytes are sent at once, timed pieces when they are due, a number is an error's status, None
            is silence.
    """

    def __init__(self, contents: Mapping[str, Timed | bytes | int | None]) -> None:
        over = self._over = threading.Event()
        served = self.served = Counter[str]()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                served[self.path] += 1
                content = contents.get(self.path, 404)
                if content is None:
                    over.wait(30)
                    return
                if isinstance(content, int):
                    self.send_error(content)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "application/octet-stream")
                self.end_headers()
                started = time.monotonic()
                for due_s, piece in [(0.0, content)] if isinstance(content, bytes) else content:
                    if over.wait(max(0.0, started + due_s - time.monotonic())):
                        return
                    try:
                        self.wfile.write(piece)
                    except OSError:
                        return

            def log_message(self, *_: object) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> HttpServer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()


class UdpSender:
    """A transport stream over UDP at its own pace, of which some packets are lost on the way; a context manager."""

    def __init__(self, pieces: Timed, lost_share: float = 0.0, seed: int = 0) -> None:
        self.port = free_port()
        self.lost = 0
        self._pieces, self._share = pieces, lost_share
        self._chance = random.Random(seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)

    def __enter__(self) -> UdpSender:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _send(self) -> None:
        started = time.monotonic()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for due_s, piece in self._pieces:
                if self._over.wait(max(0.0, started + due_s - time.monotonic())):
                    return
                for at in range(0, len(piece), 1316):
                    if self._chance.random() < self._share:
                        self.lost += 1
                        continue
                    try:
                        sender.sendto(piece[at : at + 1316], ("127.0.0.1", self.port))
                    except OSError:
                        continue  # nobody listens yet


class TcpBursts:
    """Answers each connection with a burst of a stream and hangs up: a server that fails again and again."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> TcpBursts:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with client:
                try:
                    client.sendall(self._content)
                except OSError:
                    continue

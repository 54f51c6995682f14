"""Real servers for the live tests: gst-rtsp-server in a process that can be killed, stopped and started again."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import threading
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
            server = socket.create_connection(("127.0.0.1", self._target))
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
                    each.close()

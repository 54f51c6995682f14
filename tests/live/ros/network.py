"""A Zenoh router and nodes that publish, each in a process of its own; everything ends with the `with`."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.live.servers import free_port

_HERE = Path(__file__).parent


class RosNetwork:
    """A router at a free port, and the nodes that were started; a context manager."""

    def __init__(self) -> None:
        self.port = free_port()
        self.router = f"tcp/127.0.0.1:{self.port}"
        self._processes: list[subprocess.Popen[str]] = []
        self._router: subprocess.Popen[str] | None = None

    def __enter__(self) -> RosNetwork:
        self.start_router()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            end(process)

    def start_router(self) -> None:
        self._router = self._start(str(_HERE / "router.py"), str(self.port))

    def kill_router(self) -> None:
        assert self._router is not None
        end(self._router)

    def node(self, topic: str, kind: str, *words: str) -> subprocess.Popen[str]:
        """Start a node that publishes, with further words for `publisher.py`; it is ready when this returns."""
        asked = ("--router", self.router, "--topic", topic, "--type", kind, *words)
        return self._start(str(_HERE / "publisher.py"), *asked)

    def _start(self, *command: str) -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        return process


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process at once, as power that fails does."""
    process.kill()
    process.wait(10)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def until(holds: Callable[[], object], timeout_s: float = 20.0) -> float:
    """Wait until something holds; gives how long that took, in seconds."""
    began_s = time.monotonic()
    while not holds():
        assert time.monotonic() < began_s + timeout_s, "it does not come to hold"
        time.sleep(0.005)
    return time.monotonic() - began_s

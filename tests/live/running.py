"""A live run as its user starts it, in a process of its own, with what it says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

#: Why a stream is missing that was not known to be lost before its hop: what comes too late, is not steady yet, or
#: shows a face now and then, is encoded and not used.
NOT_KNOWN_TO_BE_LOST = ("no new data", "no face in view", "connected, and nothing usable")


def was_needlessly_encoded(prediction: dict[str, Any], modality: str) -> bool:
    """Whether an encoder ran for a stream of which it was known that it is gone."""
    is_missing = prediction["presence"][modality] == "missing"
    known = not prediction["reason"].get(modality, "").startswith(NOT_KNOWN_TO_BE_LOST)
    return is_missing and known and prediction["latency_ms"][modality] > 0


class LiveRun:
    """`taemi-edge run` with some words; a context manager that stops it.

    Its predictions and events are read as they are written; times are of this process's monotonic clock.
    """

    def __init__(self, folder: Path, bundle: Path, *words: object, **options: Any) -> None:
        self.events_file = folder / f"events-{time.monotonic_ns()}.jsonl"
        self.command = [sys.executable, "-m", "taemi_edge", "run", str(bundle), *map(str, words)]
        self.command += ["--events", str(self.events_file), "--threads", "1"]
        self.predictions: list[dict[str, Any]] = []
        #: When each prediction was read.
        self.read_at: list[float] = []
        self.log: list[str] = []
        self._stdin = options.pop("stdin", subprocess.DEVNULL)
        self._options = options
        self.process: subprocess.Popen[str]

    def __enter__(self) -> LiveRun:
        self.process = subprocess.Popen(
            self.command, stdin=self._stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **self._options
        )
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read_lines, self._read_log)]
        for reader in self._readers:
            reader.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.stop(signal.SIGKILL if kind else signal.SIGTERM)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 30.0) -> int:
        """Send a signal and wait for the end; the exit code."""
        self.process.send_signal(number)
        return self.wait(timeout_s)

    def wait(self, timeout_s: float = 30.0) -> int:
        code = self.process.wait(timeout_s)
        for reader in self._readers:
            reader.join(10)
        return code

    @property
    def events(self) -> list[dict[str, Any]]:
        """The changes of presence until now."""
        if not self.events_file.exists():
            return []
        lines = [json.loads(line) for line in self.events_file.read_text().splitlines() if line.endswith("}")]
        return [line for line in lines if line["type"] == "presence"]

    def presence(self, modality: str) -> str:
        """The newest prediction's word on a stream."""
        return str(self.predictions[-1]["presence"][modality]) if self.predictions else "missing"

    def wait_until(self, holds: Callable[[], object], timeout_s: float = 20.0) -> float:
        """Seconds until something held."""
        started = time.monotonic()
        while not holds():
            assert self.process.poll() is None, "\n".join(["the run ended:", *self.log[-30:]])
            assert time.monotonic() - started < timeout_s, "\n".join(["it never held:", *self.log[-30:]])
            time.sleep(0.02)
        return time.monotonic() - started

    def wait_for(self, modality: str, *states: str, timeout_s: float = 20.0) -> float:
        """Seconds until a stream was in one of some states."""
        return self.wait_until(lambda: self.predictions and self.presence(modality) in states, timeout_s)

    def wait_for_event(self, modality: str, state: str, after: int = 0, timeout_s: float = 20.0) -> dict[str, Any]:
        """The first event beyond `after` others that says that a stream came into a state."""
        found: list[dict[str, Any]] = []

        def came() -> bool:
            found[:] = [e for e in self.events[after:] if (e["modality"], e["to"]) == (modality, state)]
            return bool(found)

        self.wait_until(came, timeout_s)
        return found[0]

    def usage(self) -> tuple[int, int, float]:
        """Threads, open descriptors and MB of resident memory."""
        folder = Path(f"/proc/{self.process.pid}")
        pages = int((folder / "statm").read_text().split()[1])
        memory_mb = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
        return len(list((folder / "task").iterdir())), len(list((folder / "fd").iterdir())), memory_mb

    def _read_lines(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.predictions.append(json.loads(line))
            self.read_at.append(time.monotonic())

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.rstrip())

"""Fuzzes several parsers, each in a process of its own, and says what came of it."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.engine import HAS_ATHERIS
from tests.fuzz.harness import SCRATCH, SCRATCH_VARIABLE, Finding, Harness
from tests.fuzz.ledger import Counts, Ledger
from tests.fuzz.worker import fork_worker, write_finding

#: A process whose ledger stands still for so long hangs; it may have to wait for a processor.
_HANGS_S = 30.0
#: How long a process may take to load its parser and to end, in seconds.
_PATIENCE_S = 180.0
#: A process is not started for less time than this.
_LEAST_S = 0.5
#: A parser that ends so many processes is left alone.
_MOST_ENDS = 5
_HUNG = "it hung"


@dataclass
class Row:
    """What came of fuzzing one parser."""

    name: str
    counts: Counts = field(default_factory=Counts)
    findings: list[dict[str, str]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The row for a JSON file."""
        inputs, seconds, slowest_s, memory_mb = self.counts
        return {
            "inputs": inputs,
            "seconds": round(seconds, 1),
            "per_second": round(inputs / seconds, 1) if seconds else 0.0,
            "slowest_s": round(slowest_s, 4),
            "memory_mb": round(memory_mb, 1),
            "findings": self.findings,
        }


class Campaign:
    """Runs over parsers for a time.

    Args:
        harnesses: the parsers.
        seconds: for all of them together, on one processor.
        jobs: how many processes run side by side.
        place: a folder for what atheris keeps, and for inputs of findings.
        seed: of the random numbers.

    Attributes:
        rows: what came of each parser so far.
    """

    def __init__(self, harnesses: list[Harness], seconds: float, jobs: int, place: Path, seed: int) -> None:
        self._harnesses, self._jobs, self._place, self._seed = harnesses, jobs, place, seed
        shares = sum(harness.share for harness in harnesses)
        self._seconds = {h.name: max(_LEAST_S, seconds * jobs * h.share / shares) for h in harnesses}
        self._processes: dict[str, int] = {}
        self.rows = {harness.name: Row(harness.name) for harness in harnesses}

    def run(self) -> None:
        """Fuzz them all; Ctrl-C ends it early, and the rows say what was done until then."""
        with tempfile.TemporaryDirectory(prefix="fuzz-", dir=SCRATCH) as scratch:
            os.environ[SCRATCH_VARIABLE] = scratch
            self._run()

    def _run(self) -> None:
        waiting = deque(self._harnesses)
        running: dict[str, Iterator[None]] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self._jobs:
                    harness = waiting.popleft()
                    running[harness.name] = self._fuzz(harness)
                running = {name: steps for name, steps in running.items() if next(steps, _OVER) is not _OVER}
                time.sleep(0.05)
        except KeyboardInterrupt:
            for process in self._processes.values():
                _end(process)
        finally:
            for steps in running.values():
                steps.close()  # type: ignore[attr-defined]

    def _fuzz(self, harness: Harness) -> Iterator[None]:
        """Fuzz one parser, step by step; a process that a parser ends is a finding, and is started again."""
        folder, row = self._place / harness.name, self.rows[harness.name]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "ledger").unlink(missing_ok=True)
        ledger = Ledger(folder / "ledger")
        try:
            for attempt in range(_MOST_ENDS):
                left_s = self._seconds[harness.name] - ledger.read().counts.seconds
                if left_s < _LEAST_S:
                    break
                how = yield from self._watch(harness, left_s, ledger, attempt)
                if how:
                    details = f"{how}\n{(folder / 'log').read_text(errors='replace')[-4000:]}"
                    write_finding(
                        folder / "findings", Finding(how, f"{how} {attempt}", details), ledger.read().content or b""
                    )
                if how.startswith(_HUNG):
                    break
        finally:
            row.counts = ledger.read().counts
            row.findings = [_told(file) for file in sorted((folder / "findings").glob("*.txt"))]

    def _watch(self, harness: Harness, seconds: float, ledger: Ledger, attempt: int) -> Iterator[None]:
        """Run a process until its time is over; returns how it ended where it did not end by itself."""
        process = fork_worker(harness, seconds, self._place / harness.name, self._seed + attempt)
        self._processes[harness.name] = process
        moved_s = began_s = time.perf_counter()
        before = ledger.read().counts.inputs
        while True:
            yield
            ended, status = os.waitpid(process, os.WNOHANG)
            now_s, tally = time.perf_counter(), ledger.read()
            if ended:
                del self._processes[harness.name]
                return f"the process ended: {_named(status)}" if status else ""
            if tally.counts.inputs != before or tally.content is None:
                before, moved_s = tally.counts.inputs, now_s
            if now_s - began_s > seconds + _PATIENCE_S or now_s - moved_s > _HANGS_S:
                del self._processes[harness.name]
                _end(process)
                return f"{_HUNG} for {now_s - moved_s:.0f} s"


_OVER = object()


def _end(process: int) -> None:
    """End a process; where it can, it says first where it was."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGABRT)
        for _ in range(20):
            if os.waitpid(process, os.WNOHANG)[0]:
                return
            time.sleep(0.1)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def _named(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _told(file: Path) -> dict[str, str]:
    what = file.read_text(encoding="utf-8").partition("\n")[0]
    return {"what": what, "input": str(file.with_suffix(".input"))}


def engine_name() -> str:
    """What makes the inputs, in words."""
    return (
        "atheris" if HAS_ATHERIS else "mutations of the seeds (atheris has no wheel for this interpreter and machine)"
    )

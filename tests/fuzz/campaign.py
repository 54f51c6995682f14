"""Fuzzes several parsers, each in a process of its own, and says what came of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from tests.fuzz.engine import HAS_ATHERIS
from tests.fuzz.harness import Finding, Harness
from tests.fuzz.ledger import Counts, Ledger
from tests.fuzz.worker import write_finding

ROOT = Path(__file__).parents[2]
#: A process whose ledger stands still for so long hangs; it may have to wait for a processor.
_HANGS_S = 20.0
#: How long a process may take to load its parser and to end, in seconds.
_PATIENCE_S = 60.0
#: A process is not started for less time than this.
_LEAST_S = 0.5
_HUNG = "it hung"
_MOST_ENDS = 5


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
        self._stop = Event()
        self.rows = {harness.name: Row(harness.name) for harness in harnesses}

    def run(self) -> None:
        """Fuzz them all; Ctrl-C ends it early, and the rows say what was done until then."""
        with ThreadPoolExecutor(self._jobs) as pool:
            waiting = [pool.submit(self._fuzz, harness) for harness in self._harnesses]
            try:
                for future in waiting:
                    future.result()
            except KeyboardInterrupt:
                self._stop.set()
                for future in waiting:
                    future.cancel()

    def _fuzz(self, harness: Harness) -> None:
        """Fuzz one parser; a process that a parser ends is a finding, and is started again."""
        folder, row = self._place / harness.name, self.rows[harness.name]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "ledger").unlink(missing_ok=True)
        ledger = Ledger(folder / "ledger")
        for attempt in range(_MOST_ENDS):
            left_s = self._seconds[harness.name] - ledger.read().counts.seconds
            if left_s < _LEAST_S or self._stop.is_set():
                break
            if how := self._run_worker(harness, left_s, ledger, attempt):
                content = ledger.read().content
                finding = Finding(how.partition("\n")[0], f"{how.partition(chr(10))[0]} {attempt}", how)
                write_finding(folder / "findings", finding, content or b"")
                if how.startswith(_HUNG):
                    break
        row.counts = ledger.read().counts
        row.findings = [_told(file) for file in sorted((folder / "findings").glob("*.txt"))]

    def _run_worker(self, harness: Harness, seconds: float, ledger: Ledger, attempt: int) -> str:
        """Run a process until its time is over; returns how it ended where it did not end by itself."""
        words = [
            harness.module,
            harness.name,
            f"{seconds:.1f}",
            str(self._place / harness.name),
            str(self._seed + attempt),
        ]
        environment = {**os.environ, "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        log = self._place / harness.name / "log"
        with log.open("wb") as said:
            worker = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.worker", *words],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment, start_new_session=True,
            )  # fmt: skip
            how = self._watch(worker, seconds, ledger)
        if not how and worker.returncode and not self._stop.is_set():
            how = f"the process ended: {_named(worker.returncode)}"
        return f"{how}\n{log.read_text(errors='replace')[-4000:]}" if how else ""

    def _watch(self, worker: subprocess.Popen[bytes], seconds: float, ledger: Ledger) -> str:
        """Wait for a process, and end it where it hangs."""
        moved_s = began_s = time.perf_counter()
        before = ledger.read().counts.inputs
        while worker.poll() is None:
            time.sleep(0.1)
            now_s, tally = time.perf_counter(), ledger.read()
            if tally.counts.inputs != before or tally.content is None:
                before, moved_s = tally.counts.inputs, now_s
            is_late = now_s - began_s > seconds + _PATIENCE_S
            if self._stop.is_set() or is_late or now_s - moved_s > _HANGS_S:
                worker.send_signal(signal.SIGABRT)  # faulthandler says where it was
                try:
                    worker.wait(2)
                except subprocess.TimeoutExpired:
                    worker.kill()
                    worker.wait()
                return "" if self._stop.is_set() else f"{_HUNG} for {now_s - moved_s:.0f} s"
        return ""


def _named(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _told(file: Path) -> dict[str, str]:
    what = file.read_text(encoding="utf-8").partition("\n")[0]
    return {"what": what, "input": str(file.with_suffix(".input"))}


def engine_name() -> str:
    """What makes the inputs, in words."""
    return (
        "atheris" if HAS_ATHERIS else "mutations of the seeds (atheris has no wheel for this interpreter and machine)"
    )

"""A process that fuzzes one parser for some seconds: python -m tests.fuzz.worker MODULE PARSER SECONDS FOLDER SEED.

It has a process of its own because compiled code may end it. The ledger in FOLDER then says which input did.
"""

from __future__ import annotations

import faulthandler
import hashlib
import os
import resource
import sys
import time
import warnings
from pathlib import Path
from typing import NoReturn

from tests.fuzz.engine import run_for_ever, watched_imports
from tests.fuzz.harness import MOST_MEMORY_MB, Finding, Harness, harnesses_of, judge
from tests.fuzz.ledger import Counts, Ledger

#: How often the limit of memory is set anew, in seconds: what atheris keeps for itself does not count.
_LIMIT_EVERY_S = 0.5
#: The rest of a parser's findings is left for the next time.
_MOST_FINDINGS = 20


class Worker:
    """Judges inputs, and writes down what it finds.

    Args:
        harness: the parser, which has read its seeds: what is loaded on first use is no memory of an input.
        seconds: after which the process ends.
        folder: where its ledger and its findings lie.
    """

    def __init__(self, harness: Harness, seconds: float, folder: Path) -> None:
        self._harness = harness
        self._ledger = Ledger(folder / "ledger")
        self._findings = folder / "findings"
        self._findings.mkdir(parents=True, exist_ok=True)
        self._counts = self._before = self._ledger.read().counts
        self._start_mb = _highest_mb()
        self._began_s = time.perf_counter()
        self._ends_s = self._began_s + seconds
        self._limited_s = 0.0

    def take(self, content: bytes) -> None:
        """Judge an input; ends the process when the time is over."""
        now_s = time.perf_counter()
        if now_s >= self._ends_s:
            os._exit(0)
        if now_s - self._limited_s > _LIMIT_EVERY_S:
            _limit_memory()
            self._limited_s = now_s
        self._ledger.begin(self._counts, content)
        finding, took_s = judge(self._harness, content)
        self._counts = Counts(
            self._counts.inputs + 1,
            self._before.seconds + time.perf_counter() - self._began_s,
            max(self._counts.slowest_s, took_s),
            max(self._before.memory_mb, _highest_mb() - self._start_mb),
        )
        self._ledger.end(self._counts)
        if finding is not None:
            write_finding(self._findings, finding, content)
            if len(list(self._findings.glob("*.txt"))) >= _MOST_FINDINGS:
                os._exit(0)


def write_finding(folder: Path, finding: Finding, content: bytes) -> None:
    """Write the input of a finding, and beside it what happened; of one place in the code only the shortest is kept."""
    name = hashlib.sha256(finding.place.encode()).hexdigest()[:12]
    file = folder / f"{name}.input"
    if not file.exists() or file.stat().st_size > len(content):
        file.write_bytes(content)
        text = f"{finding.what}\n{finding.place}\n{finding.details}"
        file.with_suffix(".txt").write_text(text, encoding="utf-8", errors="backslashreplace")


def _highest_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _limit_memory() -> None:
    """Let the process have so many MB more than it has now: whoever asks for more gets a MemoryError, or an end."""
    with open("/proc/self/statm", encoding="ascii") as file:
        held = int(file.read().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (held + MOST_MEMORY_MB * 2**20, hard))


def main() -> NoReturn:
    module, name, seconds, place, seed = sys.argv[1:]
    faulthandler.enable()
    warnings.simplefilter("ignore")
    with watched_imports():
        harness = harnesses_of(module)[name]
        for file in harness.seeds:  # parsers import on first use
            judge(harness, file.read_bytes())
    kept = Path(place, "corpus")
    kept.mkdir(parents=True, exist_ok=True)
    run_for_ever(harness, Worker(harness, float(seconds), Path(place)).take, kept, int(seed))


if __name__ == "__main__":
    main()

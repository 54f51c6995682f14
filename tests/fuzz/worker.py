"""A process that fuzzes one parser for some seconds; `campaign.py` forks it.

It has a process of its own because compiled code may end it. The ledger in its folder then says which input did.
"""

from __future__ import annotations

import ctypes
import faulthandler
import hashlib
import os
import resource
import signal
import time
import warnings
from pathlib import Path
from typing import NoReturn

from tests.fuzz.engine import run_for_ever, watched_imports
from tests.fuzz.harness import MOST_MEMORY_MB, Finding, Harness, judge
from tests.fuzz.ledger import Counts, Ledger

#: How often the limit of memory is set anew, in seconds: what atheris keeps for itself does not count.
_LIMIT_EVERY_S = 0.5
#: Of prctl(2): the signal for a process whose parent has ended.
_PR_SET_PDEATHSIG = 1
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
        self._began_s = time.perf_counter()
        self._ends_s = self._began_s + seconds
        self._limited_s = self._start_mb = 0.0

    def take(self, content: bytes) -> None:
        """Judge an input; ends the process when the time is over."""
        now_s = time.perf_counter()
        self._start_mb = self._start_mb or _highest_mb()  # atheris has its tables by now
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


def fork_worker(harness: Harness, seconds: float, folder: Path, seed: int) -> int:
    """Start a process that fuzzes a parser; what it and the parser print goes to the file `log` in its folder.

    Returns:
        The process id. It ends with 0 when its time is over.
    """
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()  # Ctrl-C is the parent's
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # and so is everything else that ends the parent
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream, place in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
            os.dup2(place, stream)
        _fuzz(harness, seconds, folder, seed)
    finally:
        os._exit(70)  # nobody but the parent returns from here


def _fuzz(harness: Harness, seconds: float, folder: Path, seed: int) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable(open(2, "w", closefd=False))  # noqa: SIM115  (to the end of the process)
    warnings.simplefilter("ignore")
    try:
        with watched_imports():
            for file in harness.seeds:  # parsers import on first use
                judge(harness, file.read_bytes())
        kept = folder / "corpus"
        kept.mkdir(parents=True, exist_ok=True)
        run_for_ever(harness, Worker(harness, seconds, folder).take, kept, seed)
    except BaseException:
        faulthandler.dump_traceback()
        raise

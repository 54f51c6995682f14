"""What a run does that its machine cannot carry: python benchmarks/load.py BUNDLE --output F.json

Eight sources of one clip, first without shedding and then with it, and two sources while other programs take the
processors for a while. Says how many hops were made, late and missed, how late the worst one was, what was left out,
and how long it took until all was done again. Times are wall times of this machine; `others` is how many of its
processors other programs used meanwhile.
"""

from __future__ import annotations

# ruff: noqa: S310  (the address is our own)
import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from taemi_edge.bench.provenance import write_report
from tests.conftest import fetch_real_clip
from tests.live.running import LiveRun
from tests.live.servers import free_port

TICKS = os.sysconf("SC_CLK_TCK")
HOGS_S = 40.0


class Watched:
    """A run, with what it said of itself twice a second."""

    def __init__(self, run: LiveRun, page: str) -> None:
        self.run, self.page = run, page
        self.started = time.monotonic()
        self.answers: list[dict[str, Any]] = []
        self.origin = float("nan")
        self.slowest_answer_s = 0.0
        self._before = busy_s(), own_s(run.process.pid)

    def look(self) -> None:
        """Ask /healthz once, if it is there."""
        asked = time.monotonic()
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(self.page + "/healthz", timeout=10) as answer:
                self.answers.append(json.load(answer))
            self.slowest_answer_s = max(self.slowest_answer_s, time.monotonic() - asked)
            self.origin = asked - self.answers[-1]["uptime_s"]

    def until(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.look()
            time.sleep(0.5)

    def figures(self) -> dict[str, Any]:
        last = self.answers[-1]
        passed_s = time.monotonic() - self.started
        busy, own = busy_s() - self._before[0], own_s(self.run.process.pid) - self._before[1]
        ends = [prediction["time_s"] for prediction in self.run.predictions]
        delays_s = [at - self.origin - end for at, end in zip(self.run.read_at, ends, strict=False)]
        late_half = delays_s[len(delays_s) // 2 :]
        told = [p["degraded"] for p in self.run.predictions if "degraded" in p]
        return {
            "seconds": round(last["uptime_s"], 1),
            "hops": {key: last[key] for key in ("hops", "late", "missed")},
            "worst_delay_s": round(max(delays_s), 2),
            "worst_delay_in_the_second_half_s": round(max(late_half), 2),
            "status": sorted({answer["status"] for answer in self.answers}),
            "frames_share": min([answer.get("frames_share", 1.0) for answer in self.answers]),
            "longest_hop_s": max([answer.get("hop_s", 0.0) for answer in self.answers]),
            "predictions": len(ends),
            "predictions_that_say_so": len(told),
            "slowest_healthz_s": round(self.slowest_answer_s, 3),
            "processors": {"own": round(own / passed_s, 2), "others": round((busy - own) / passed_s, 2)},
        }


def busy_s() -> float:
    """Processor time of the whole machine, in seconds."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    return (sum(map(int, fields[:8])) - int(fields[3]) - int(fields[4])) / TICKS


def own_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextlib.contextmanager
def watched(bundle: Path, sources: int, *words: str) -> Iterator[Watched]:
    clip, port = fetch_real_clip(), free_port()
    named = [f"s{number}={clip}" for number in range(sources)]
    words = (*named, "--loop", "--serve", f"127.0.0.1:{port}", *words)
    with tempfile.TemporaryDirectory() as folder, LiveRun(Path(folder), bundle, *words) as run:
        run.wait_until(lambda: run.predictions, 120)
        yield Watched(run, f"http://127.0.0.1:{port}")


def overload(bundle: Path, sources: int, seconds: float, *words: str) -> dict[str, Any]:
    with watched(bundle, sources, *words) as seen:
        seen.until(seconds)
        figures = seen.figures()
        seen.run.stop()
        return {**figures, "summary": [line for line in seen.run.log if " hops in " in line or "note:" in line]}


def recovery(bundle: Path, sources: int, hogs: int) -> dict[str, Any]:
    """Other programs take the processors for a while; seconds until all is done again once they have gone."""
    with watched(bundle, sources) as seen:
        seen.until(10)
        programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(hogs)]
        try:
            seen.until(HOGS_S)
        finally:
            for program in programs:
                program.kill()
                program.wait()
        gone = time.monotonic()
        least = seen.answers[-1]
        while seen.answers[-1].get("reasons") and time.monotonic() - gone < 300:
            seen.until(1.0)
        took_s = time.monotonic() - gone
        return {
            "hogs": hogs,
            "hogs_s": HOGS_S,
            "at_their_end": {key: least.get(key) for key in ("status", "reasons", "frames_share", "hop_s")},
            "recovered_after_s": round(took_s, 1),
            **seen.figures(),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--sources", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--without-recovery", action="store_true")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    report: dict[str, Any] = {
        "sources": given.sources,
    }
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "without_shedding": lambda: overload(given.bundle, given.sources, given.seconds, "--set", "load.shed=false"),
        "with_shedding": lambda: overload(given.bundle, given.sources, given.seconds),
        "recovery": lambda: recovery(given.bundle, 1, 6),
    }
    if given.without_recovery:
        del parts["recovery"]
    for name, measure in parts.items():
        report[name] = measure()
        print(name, json.dumps(report[name], indent=1), flush=True)
    write_report(given.output, report, "av")


if __name__ == "__main__":
    main()

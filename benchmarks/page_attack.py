"""Idle connections against the page of a run: python benchmarks/page_attack.py BUNDLE --output F.json

A run that may have 256 descriptors serves its page while 66 and then 500 connections say nothing for 20 s. Says what
/healthz answered meanwhile, how long the slowest answer took, and how many bytes of log were written.
"""

from __future__ import annotations

# ruff: noqa: S310  (the address is our own)
import argparse
import contextlib
import json
import resource
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from taemi_edge.bench.provenance import write_report
from tests.conftest import fetch_real_clip
from tests.live.page.attacks import idle
from tests.live.running import LiveRun
from tests.live.servers import free_port

ATTACK_S = 20.0
DESCRIPTORS = 256


def ask(page: str) -> tuple[str, float]:
    """What /healthz answers, and after how long."""
    started = time.monotonic()
    try:
        with urllib.request.urlopen(page + "/healthz", timeout=10) as answer:
            status = str(answer.status)
    except urllib.error.HTTPError as error:
        status = str(error.code)
    except OSError as error:
        status = type(error).__name__
    return status, time.monotonic() - started


def attack(run: LiveRun, page: str, count: int) -> dict[str, Any]:
    logged, answers, end = len("".join(run.log)), [], time.monotonic() + ATTACK_S
    with contextlib.suppress(OSError), idle(page, count):
        while time.monotonic() < end:
            answers.append(ask(page))
            time.sleep(0.5)
    return {
        "answers": Counter(status for status, _ in answers),
        "slowest_s": round(max((took_s for _, took_s in answers), default=float("nan")), 3),
        "log_bytes": len("".join(run.log)) - logged,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    port, clip = free_port(), fetch_real_clip()
    page = f"http://127.0.0.1:{port}"
    words = (f"s={clip}", "--loop", "--serve", f"127.0.0.1:{port}")
    report: dict[str, Any] = {"descriptors": DESCRIPTORS}
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))  # the run inherits it
    with tempfile.TemporaryDirectory() as folder, LiveRun(Path(folder), given.bundle, *words) as run:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        run.wait_until(lambda: run.predictions, 120)
        for count in (66, 500):
            report[f"{count} idle connections"] = attack(run, page, count)
            time.sleep(2)
    write_report(given.output, report, "av")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()

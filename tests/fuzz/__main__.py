"""Fuzzes the parsers of the package: `make fuzz`, or python -m tests.fuzz --help."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any

from tests.fuzz.campaign import Campaign, Row, engine_name
from tests.fuzz.engine import watched_imports
from tests.fuzz.harness import Harness, all_harnesses, judge

#: One arena: others reserve memory that nobody uses, and that counts against the limit. Small parsers, so one thread.
_ENVIRONMENT = {"MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"}


def main() -> int:
    """Fuzz, or judge one input; 1 where something was found."""
    given = _arguments()
    if _ENVIRONMENT.items() - os.environ.items():  # known to the C library from the first line on
        os.environ.update(_ENVIRONMENT)
        os.execv(sys.executable, [sys.executable, "-m", "tests.fuzz", *sys.argv[1:]])  # noqa: S606  (this program)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere), watched_imports():
        harnesses = all_harnesses()
    if unknown := sorted(set(given.only) - set(harnesses)):
        sys.stderr.write(f"--only {unknown[0]}: expected one of {', '.join(harnesses)}\n")
        return 2
    chosen = [harness for name, harness in harnesses.items() if not given.only or name in given.only]
    if given.input:
        return _judge_one(chosen, Path(given.input))
    for harness in chosen:
        if harness.lacking:
            sys.stdout.write(f"{harness.name} is left out: it needs {', '.join(harness.lacking)}\n")
    campaign = Campaign(
        [harness for harness in chosen if not harness.lacking],
        given.minutes * 60,
        given.jobs,
        Path(given.place),
        given.seed,
    )
    sys.stdout.write(f"fuzzing by {engine_name()}, for about {given.minutes:g} minutes\n")
    sys.stdout.flush()
    began_s = time.perf_counter()
    campaign.run()
    rows = list(campaign.rows.values())
    sys.stdout.write(_table(rows))
    if given.json:
        _write(Path(given.json), rows, time.perf_counter() - began_s)
    return 1 if any(row.findings for row in rows) else 0


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="for all parsers together")
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side")
    parser.add_argument("--only", action="append", default=[], help="a parser; repeatable; all by default")
    parser.add_argument("--input", help="judge this file alone, by the parser that --only names")
    parser.add_argument("--place", default="runs/fuzz", help="for inputs of findings, and what atheris keeps")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**31, help="of the random numbers")
    parser.add_argument("--json", help="write the table there")
    return parser.parse_args()


def _judge_one(chosen: list[Harness], file: Path) -> int:
    if len(chosen) != 1:
        sys.stderr.write("--input: expected --only with the parser of the input\n")
        return 2
    finding, seconds = judge(chosen[0], file.read_bytes())
    if finding is None:
        sys.stdout.write(f"{file}: taken or refused in good order, in {seconds:.3f} s\n")
        return 0
    sys.stdout.write(f"{file}: {finding.what}\n{finding.details}")
    return 1


def _table(rows: list[Row]) -> str:
    lines = [f"{'parser':<20}{'inputs':>10}{'a second':>10}{'slowest s':>11}{'memory MB':>11}{'findings':>10}"]
    for row in rows:
        shown = row.as_dict()
        lines.append(
            f"{row.name:<20}{row.counts.inputs:>10,}{shown['per_second']:>10,.0f}{row.counts.slowest_s:>11.3f}"
            f"{row.counts.memory_mb:>11.1f}{len(row.findings):>10}"
        )
    lines.append(f"{'all':<20}{sum(row.counts.inputs for row in rows):>10,}")
    for row in rows:
        for found in row.findings:
            lines += ["", f"{row.name}: {found['what']}", f"  make fuzz ONLY={row.name} INPUT={found['input']}"]
    return "\n".join(lines) + "\n"


def _write(file: Path, rows: list[Row], took_s: float) -> None:
    content = {
        "engine": engine_name(),
        "took_s": round(took_s, 1),
        "inputs": sum(row.counts.inputs for row in rows),
        "findings": sum(len(row.findings) for row in rows),
        "slowest_s": round(max((row.counts.slowest_s for row in rows), default=0.0), 4),
        "memory_mb": round(max((row.counts.memory_mb for row in rows), default=0.0), 1),
        "parsers": {row.name: row.as_dict() for row in rows},
    }
    from taemi_edge.bench.provenance import write_report  # not before what is fuzzed was instrumented

    write_report(file, content, "atheris")


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tools.gpu_evidence`; the package's own text says how it is used."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from . import __doc__ as about
from .goals import GOALS
from .runner import Places, Runner, summary
from .steps import Plan, Step, all_steps, chosen

_WORK = Path("runs/gpu-evidence")


def main(words: Sequence[str] | None = None) -> int:
    """Run the steps that are open.

    Returns:
        0 where everything that was asked for is there, 1 where something failed or is open, 2 for wrong use, 130 after
        Ctrl-C, 143 after SIGTERM, 129 where the terminal was closed.
    """
    given = _parser().parse_args(words)
    environment = os.environ
    steps = all_steps(Plan(changes=_changes(environment.get("TARGET", ""))))
    try:
        wanted = chosen(steps, given.only)
    except ValueError as error:
        print(f"gpu_evidence: {error}", file=sys.stderr)
        return 2
    try:
        runner = Runner(steps, _places(), time.monotonic() + 60 * given.minutes if given.minutes else None)
    except OSError as error:
        where = error.filename or _places().results
        print(f"gpu_evidence: {where}: cannot be written: {error.strerror}: set OUT to another folder", file=sys.stderr)
        return 2
    if given.list:
        _show(runner, steps)
        return 0
    if shutil.which("nvidia-smi") is None:
        print("gpu_evidence: expected an NVIDIA GPU, found no nvidia-smi: run this where one is", file=sys.stderr)
        return 2
    environment.setdefault("TAEMI_EDGE_CACHE", str((_WORK / "cache").resolve()))
    return carry_out(runner, wanted)


def carry_out(runner: Runner, wanted: Sequence[Step]) -> int:
    """Run steps and say what came of them; the exit code."""
    code = 0
    try:
        with _stopped_by_signals():
            runner.run(wanted)
    except KeyboardInterrupt as stop:
        code = 128 + (signal.Signals[str(stop)] if str(stop) else signal.SIGINT)
    _show(runner, wanted)
    for goal in GOALS:
        print(goal.verdict(runner.places.results))
    return code or int(not all(runner.is_done(step) for step in wanted))


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM and a terminal that is closed stop as Ctrl-C does: a step that nobody waits for would run on."""

    def stop(number: int, _: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gpu_evidence", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="say what is there, what failed and what is open")
    parser.add_argument("--only", action="append", default=[], metavar="STEP", help="run this step; repeatable")
    parser.add_argument("--minutes", type=float, default=0.0, metavar="N", help="be done by then")
    return parser


def _places() -> Places:
    python = os.environ.get("PYTHON") or ".venv/bin/python"
    results = Path(os.environ["OUT"]) if os.environ.get("OUT") else _WORK / "results"
    return Places(_WORK, results, _WORK / "results", python, os.environ.get("RIVALS_PYTHON") or python)


def _changes(target: str) -> tuple[str, ...]:
    """Changes of the target: level 3 unless another one is asked for."""
    asked = tuple(change.strip() for change in target.split(";") if change.strip())
    return asked if any(c.startswith("optimisation_level=") for c in asked) else ("optimisation_level=3", *asked)


def _show(runner: Runner, steps: Sequence[Step]) -> None:
    what = {step.name: step for step in steps}
    for row in summary(runner, steps):
        step = what[row["step"]]
        print(f"{row['state']:14} {step.name:18} {step.limit_s:4} s  {row['why'] or step.what}")


if __name__ == "__main__":
    raise SystemExit(main())

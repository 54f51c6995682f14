"""Runs steps one after another, and keeps what came of each: a JSON file, or the reason why there is none."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .steps import Step

#: How long a command that is stopped may take to end.
_ENDS_IN_S = 15.0
#: A step begins where a third of its limit is left of the time for all.
_LEAST_SHARE = 3
RECORD = "steps.json"
THERE, FAILED, OVER_LIMIT, STOPPED, OPEN = "there", "failed", "over its limit", "stopped", "open"


@dataclass(frozen=True)
class Places:
    """Where everything lies.

    Attributes:
        work: graphs, engines, logs.
        results: JSON files.
        earlier: JSON files of an earlier run, which are taken over.
        python, rivals: the two interpreters.
    """

    work: Path
    results: Path
    earlier: Path
    python: str
    rivals: str

    def fill(self, word: str, json_file: Path) -> str:
        """Put places into a word of a command."""
        found = word.replace("{python}", self.python).replace("{rivals}", self.rivals)
        return found.replace("{work}", str(self.work)).replace("{json}", str(json_file))


@dataclass
class Runner:
    """Runs steps.

    Args:
        steps: all of them, in their order.
        ends_s: when the time that may be used is over, by `time.monotonic`; None where nobody waits.
        say: receives lines for whoever watches.
    """

    steps: Sequence[Step]
    places: Places
    ends_s: float | None = None
    say: Callable[[str], None] = print
    _records: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for folder in (self.places.work, self.places.results):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):  # what cannot be written is told now, not after an hour
                pass
        self._records = next((records for f in self._files(RECORD) if (records := _records_in(f))), {})
        for name in [step.json for step in self.steps]:
            for found in self._files(name)[1:]:
                if _is_whole(found) and not _is_whole(self.places.results / name):
                    shutil.copyfile(found, self.places.results / name)

    def _files(self, name: str) -> list[Path]:
        return [self.places.results / name, self.places.earlier / name]

    def is_done(self, step: Step) -> bool:
        """Whether a step's JSON file is there, or what it makes."""
        if step.makes:
            return self._made(step).exists() and (self.places.work / step.makes).is_dir()
        return _is_whole(self.places.results / step.json)

    def _made(self, step: Step) -> Path:
        """A file that says that what a step makes is whole."""
        return self.places.work / f"{step.name}.made"

    def state(self, step: Step) -> str:
        """One of the words above."""
        if self.is_done(step):
            return THERE
        state = self._records.get(step.name, {}).get("state", OPEN)
        return str(OPEN if state == THERE else state)

    def why(self, step: Step) -> str:
        """Why a step has no JSON file, where it was tried."""
        return "" if self.is_done(step) else str(self._records.get(step.name, {}).get("why", ""))

    def pending(self, wanted: Iterable[Step]) -> list[Step]:
        """The steps that are to be run, with what they need before them."""
        by_name, found = {step.name: step for step in self.steps}, dict[str, Step]()

        def add(step: Step) -> None:
            if step.name not in found and not self.is_done(step):
                for name in step.needs:
                    add(by_name[name])
                found[step.name] = step

        for step in wanted:
            add(step)
        return list(found.values())

    def run(self, wanted: Sequence[Step]) -> None:
        """Run what is not there yet; a step that fails ends nothing but the steps that need it.

        Raises:
            KeyboardInterrupt: what was finished is there.
        """
        todo, left = self.pending(wanted), set[str]()
        for index, step in enumerate(todo):
            left_s = sum(later.limit_s for later in todo[index:])
            self.say(f"[{index + 1}/{len(todo)}] {step.name}: {step.what} ({_at_most(step.limit_s, left_s)})")
            lacking = [name for name in step.needs if not self._is_there(name)]
            if left & set(lacking):
                self.say(f"    left for another run, as {lacking[0]} is")
                left.add(step.name)
            elif lacking:
                self._record(step, FAILED, f"it needs {lacking[0]}, which is not there")
            elif (limit_s := self._limit_s(step)) < step.limit_s / _LEAST_SHARE:
                self.say(f"    left for another run, which has more than {max(limit_s, 0):.0f} s for it")
                left.add(step.name)
            else:
                self._run(step, limit_s)

    def _limit_s(self, step: Step) -> float:
        """How long a step may take: its own limit, or what is left of the time for all of them."""
        return step.limit_s if self.ends_s is None else min(step.limit_s, self.ends_s - time.monotonic())

    def _is_there(self, name: str) -> bool:
        return self.is_done(next(step for step in self.steps if step.name == name))

    def _run(self, step: Step, limit_s: float) -> None:
        draft, log = self.places.work / f"{step.json}.draft", self.places.work / f"{step.name}.log"
        draft.unlink(missing_ok=True)
        if step.makes:  # what was stopped half way is no help
            shutil.rmtree(self.places.work / step.makes, ignore_errors=True)
            self._made(step).unlink(missing_ok=True)
        command = [self.places.fill(word, draft) for word in step.command]
        started = time.monotonic()
        with log.open("w") as output:
            try:
                code = _run_for(command, limit_s, output.fileno())
            except KeyboardInterrupt as stop:
                self._record(step, STOPPED, str(stop) or "Ctrl-C", time.monotonic() - started)
                raise
            except OSError as error:
                self._record(step, FAILED, f"{command[0]}: {error.strerror}")
                return
        took_s = time.monotonic() - started
        if code is None:
            self._record(step, OVER_LIMIT, f"it took more than {limit_s:.0f} s: {_last_line(log)}", took_s)
        elif code and not (step.makes and (self.places.work / step.makes).is_dir()):  # unverified engines are there
            self._record(step, FAILED, f"exit code {code}: {_last_line(log)}", took_s)
        else:
            self._keep(step, draft, command, took_s)

    def _keep(self, step: Step, draft: Path, command: Sequence[str], took_s: float) -> None:
        """Put a step's JSON file where it belongs, whole or not at all."""
        if "{json}" not in step.command:
            draft.write_text(json.dumps({"command": list(command), "seconds": round(took_s, 1)}))
        try:
            json.loads(draft.read_text())
        except (OSError, ValueError) as error:
            if not step.makes:
                self._record(step, FAILED, f"it wrote no JSON: {error}", took_s)
                return
        else:
            kept = self.places.results / f".{step.json}"
            shutil.copyfile(draft, kept)
            kept.rename(self.places.results / step.json)
            draft.unlink()
        if step.makes:
            self._made(step).touch()
        self._record(step, THERE, "", took_s)

    def _record(self, step: Step, state: str, why: str, took_s: float = 0.0) -> None:
        self._records[step.name] = {"state": state, "why": why, "seconds": round(took_s, 1)}
        self.say(f"    {state}{': ' * bool(why)}{why} ({took_s:.0f} s)")
        draft = self.places.results / f".{RECORD}"
        draft.write_text(json.dumps({"steps": self._records}, indent=1))
        draft.rename(self.places.results / RECORD)


def _is_whole(file: Path) -> bool:
    """Whether a JSON file is there and was not cut, as a copy from another machine may be."""
    try:
        json.loads(file.read_text())
    except (OSError, ValueError):
        return False
    return True


def _records_in(file: Path) -> dict[str, dict[str, Any]]:
    """What came of each step, by a file of an earlier run; nothing where the file does not say."""
    try:
        steps = json.loads(file.read_text())["steps"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    if not isinstance(steps, dict):
        return {}
    return {name: record for name, record in steps.items() if isinstance(record, dict)}


def _run_for(command: Sequence[str], limit_s: float, output: int) -> int | None:
    """Run a command and what it starts; its exit code, or None where it was stopped because its time was over."""
    process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.returncode is None:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let a command end by itself, and kill what is left of it and of what it started: the GPU must be free then."""
    try:
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, signal.SIGINT)
            process.wait(_ENDS_IN_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(_ENDS_IN_S)


def _at_most(step_s: float, all_s: float) -> str:
    return f"at most {step_s / 60:.0f} min; {all_s / 60:.0f} min for all that is left"


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"{lines[-1][:300]} ({log})" if lines else f"it said nothing ({log})"


def summary(runner: Runner, steps: Iterable[Step]) -> list[Mapping[str, str]]:
    """What is there, what failed and what is open."""
    return [{"step": step.name, "state": runner.state(step), "why": runner.why(step)} for step in steps]

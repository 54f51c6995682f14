"""Errors that nobody foresaw end a command with one sentence and exit code 70; nothing but a failed check gives 1."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from taemi_edge.cli.unforeseen import ISSUES, TRACEBACK, UNFORESEEN, defect, missing_package

pytestmark = pytest.mark.once

#: Runs `taemi-edge inspect` in a fork for each statement, which stands in place of the work.
FORKS = """
import json, os, sys
sys.argv = ["taemi-edge", "inspect", "talk"]
os.makedirs("talk", exist_ok=True)
from taemi_edge.bundle import describe, folder
from taemi_edge.cli.ending import run_as_program
from taemi_edge.cli.ending import exit_code_of
from taemi_edge.cli.main import app, main

class Panic(BaseException):
    "As libraries in Rust raise them."

def deep(n=0):
    return deep(n + 1)

def in_a_thread():
    import threading
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    raise ValueError("main")

def run(statement):
    errors = os.memfd_create("errors")
    child = os.fork()
    if child == 0:
        os.dup2(errors, 2)
        def broken(*words, **named):
            exec(statement, globals())
        describe.describe_bundle = broken
        os._exit(run_as_program(main))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.lseek(errors, 0, 0)
    said = os.read(errors, 100_000).decode()
    os.close(errors)
    return code, said

os.makedirs("talk/sub", exist_ok=True)
open("talk/manifest.json", "w").close()
exit_code_of(app)  # imports what every fork needs
print(json.dumps([run(statement) for statement in json.load(sys.stdin)]))
"""
CASES = {
    "raise KeyError('rate_hz')": (UNFORESEEN, "KeyError: 'rate_hz'"),
    "assert False": (UNFORESEEN, "AssertionError"),
    "deep()": (UNFORESEEN, "RecursionError"),
    "raise Panic('index out of range')": (UNFORESEEN, "Panic: index out of range"),
    "raise ValueError('two\\nlines')": (UNFORESEEN, "ValueError: two"),
    "raise UnicodeDecodeError('utf-8', b'x', 0, 1, 'bad')": (UNFORESEEN, "UnicodeDecodeError"),
    "raise SystemExit(1)": (UNFORESEEN, "SystemExit: 1"),
    "raise SystemExit('bye')": (UNFORESEEN, "SystemExit: bye"),
    "raise EOFError": (UNFORESEEN, "EOFError"),
    "raise StopIteration": (UNFORESEEN, "StopIteration"),
    "raise GeneratorExit": (UNFORESEEN, "GeneratorExit"),
    "import a_package_that_nobody_has": (2, "expected the package a_package_that_nobody_has"),
    "from taemi_edge import nothing_of_the_kind": (UNFORESEEN, "has a defect"),
    "raise MemoryError": (2, "not enough memory"),
    "raise OSError(28, 'No space left on device', 'p.jsonl')": (2, "p.jsonl: No space left on device"),
    "raise PermissionError(13, 'Permission denied', 'talk')": (2, "talk: Permission denied"),
    "raise BrokenPipeError(32, 'Broken pipe')": (2, "went away while it was written to"),
    "raise ConnectionResetError(104, 'Connection reset by peer')": (2, "Connection reset by peer"),
    "raise KeyboardInterrupt": (130, "interrupted"),
    "in_a_thread()": (UNFORESEEN, "ValueError: main"),
}


def test_whatever_is_raised_is_one_sentence_with_its_exit_code(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", FORKS],
        input=json.dumps(list(CASES)),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != TRACEBACK},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for (statement, (code, words)), (ended, said) in zip(CASES.items(), json.loads(done.stdout), strict=True):
        assert (ended, "Traceback" in said) == (code, False), (statement, ended, said)
        assert words in said, (statement, said)
        assert said.startswith("taemi-edge: "), (statement, said)
        assert said.count("\n") == (2 if "thread" in statement else 1), (statement, said)
        assert (ISSUES in said) == (code == UNFORESEEN), (statement, said)


def test_the_traceback_is_there_for_who_asks(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "taemi_edge", "inspect", "nowhere"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {TRACEBACK: "1"},
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith("taemi-edge: nowhere: expected a bundle")
    assert "Traceback (most recent call last)" in done.stderr


def test_a_broken_installation_says_so(tmp_path: Path):
    """A package that does not load, where even the command line needs it."""
    (tmp_path / "typer").mkdir()
    for text, code, words in (
        ("import gone_with_the_wind", 2, "expected the package gone_with_the_wind"),
        ("raise RuntimeError('compiled for another Python')", UNFORESEEN, "compiled for another Python"),
    ):
        (tmp_path / "typer" / "__init__.py").write_text(text)
        path = os.pathsep.join([str(tmp_path), *sys.path])
        done = subprocess.run(
            [sys.executable, "-m", "taemi_edge", "--version"],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": path},
            check=False,
        )
        assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
        assert words in done.stderr


def test_a_reader_that_goes_away_and_a_file_that_may_not_grow(tiny_folder: Path, tmp_path: Path, demo_video: Path):
    me = f"{sys.executable} -m taemi_edge"
    for words, code in (
        (f"inspect {tiny_folder} | head -n 1", 141),
        (f"run {tiny_folder} {demo_video} --output p.jsonl", 2),
    ):
        limit = "ulimit -f 1; " if code == 2 else ""
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {limit}{me} {words}"],  # noqa: S607
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=120,
            check=False,
        )
        said = [line for line in done.stderr.splitlines() if not line.startswith("note:")]
        assert "Traceback" not in done.stderr
        assert (done.returncode in (code, 0)) if code == 141 else done.returncode == code, done.stderr
        assert len(said) == (code == 2), said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(cli_here, tmp_path: Path):
    (tmp_path / "shut").mkdir(mode=0)
    done = cli_here("inspect", tmp_path / "shut")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_what_is_missing():
    assert missing_package(ModuleNotFoundError("No module named 'a.b'", name="a.b")) == "a"
    assert missing_package(ImportError("libcuda.so.1: cannot open shared object file")) == ""
    assert missing_package(ImportError("cannot import name 'x' from 'taemi_edge.y'", name="taemi_edge.y")) == ""
    assert "ImportError: libcuda" in defect(ImportError("libcuda.so.1: cannot open shared object file"))

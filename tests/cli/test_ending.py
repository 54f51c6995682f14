"""How commands end when their standard streams are closed, full or abandoned, and when a signal stops them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from taemi_edge.cli.main import COMMANDS
from tests.media import tone, write_media

ME = f"{sys.executable} -m taemi_edge"
#: What is done to standard streams, and the exit code of a command that prints.
STREAMS = {
    ">&-": 2,
    ">/dev/full": 2,
    "| true": 141,
    "2>&- >/dev/null": 0,
    "2>/dev/full >/dev/null": 0,
    "<&- >/dev/null": 0,
    "<&- >/dev/null 2>&-": 0,
}
#: Runs `taemi-edge WORDS` in a fork for each of many words, with a standard output that cannot be written.
FORKS = """
import json, os, sys
from taemi_edge.cli.ending import run_as_program
from taemi_edge.cli.main import COMMANDS, main

def run(words, kind):
    errors = os.memfd_create("errors")
    child = os.fork()
    if child == 0:
        os.dup2(errors, 2)
        if kind == "closed":
            os.close(1)
        else:
            full = os.open("/dev/full", os.O_WRONLY)
            reader, writer = os.pipe()
            os.close(reader)
            os.dup2(full if kind == "full" else writer, 1)
        sys.argv[1:] = words
        os._exit(run_as_program(main))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.lseek(errors, 0, 0)
    said = os.read(errors, 100_000).decode()
    os.close(errors)
    return code, said

kinds = sys.argv[1].split()
wanted = [[name, "--help"] for name in COMMANDS] + [["--help"], ["--version"]]
wanted = wanted[:: int(sys.argv[2])]
print(json.dumps([[words, kind, *run(words, kind)] for words in wanted for kind in kinds]))
"""


def _nightly(value: object) -> object:
    return pytest.param(value, marks=pytest.mark.nightly)


def _shell(words: str, streams: str, **options: object) -> tuple[int, str]:
    """Run a command in a shell, and give its exit code and what it wrote to standard error."""
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {ME} {words} {streams}"],  # noqa: S607
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )
    return done.returncode, done.stderr


@pytest.mark.once
@pytest.mark.parametrize("stride", [12, pytest.param(1, marks=pytest.mark.nightly)])
def test_every_command_ends_in_order_when_its_help_cannot_be_written(stride: int):
    done = subprocess.run(
        [sys.executable, "-c", FORKS, "gone closed full", str(stride)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {words[0] for words, *_ in found} == {*[*COMMANDS, "--help", "--version"][::stride]}
    for words, kind, code, said in found:
        if kind == "gone":
            assert (code, said) == (141, ""), words
        else:
            assert code == 2, (words, kind, said)
            assert said.startswith("taemi-edge: standard output cannot be written: "), (words, said)
            assert said.count("\n") == 1, (words, said)


@pytest.mark.parametrize(("streams", "code"), STREAMS.items())
def test_the_version_with_every_kind_of_stream(streams: str, code: int):
    ended, said = _shell("--version", streams)
    assert ended == code, said
    assert "Traceback" not in said
    assert said.count("\n") == (code == 2)


@pytest.mark.parametrize("streams", ["| head -c 9", *(_nightly(text) for text in (">&-", ">/dev/full"))])
@pytest.mark.parametrize("command", ["run", "live", *(_nightly(name) for name in ("inspect", "parity", "doctor"))])
def test_commands_whose_output_cannot_be_written(tiny_folder: Path, demo_video: Path, command: str, streams: str):
    words = {
        "run": f"run {tiny_folder} {demo_video}",
        "live": f"run {tiny_folder} {demo_video} --live --duration 3",
        "inspect": f"inspect {tiny_folder}",
        "parity": f"parity {tiny_folder} {tiny_folder}",
        "doctor": "doctor",
    }[command]
    code, said = _shell(words, streams)
    assert "Traceback" not in said
    assert "Exception ignored" not in said
    assert code == (141 if "head" in streams else 2), said


def test_names_that_the_locale_cannot_write(tmp_path: Path):
    """A file name may be any bytes, and a terminal may know no letter beyond ASCII."""
    strange = os.fsencode(tmp_path / "caf") + b"\xe9\xff"
    for locale in ({"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"TERM": "dumb"}):
        done = subprocess.run(
            [os.fsencode(sys.executable), b"-m", b"taemi_edge", b"inspect", strange],
            capture_output=True,
            env=os.environ | locale,
            check=False,
        )
        assert done.returncode == 2
        assert done.stderr.startswith(b"taemi-edge: "), done.stderr
        assert done.stderr.count(b"\n") == 1
    done = subprocess.run(
        [sys.executable, "-m", "taemi_edge", "--help"],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        check=False,
    )
    assert done.returncode == 0
    assert done.stderr == b""


def test_a_working_folder_that_is_gone(tmp_path: Path):
    here = tmp_path / "here"
    for words in ("--version", "inspect nowhere", "synth corpus --clips 2", "init taemi-tiny"):
        here.mkdir(exist_ok=True)
        done = subprocess.run(  # noqa: S602
            f"rmdir {here}; {ME} {words}", shell=True, capture_output=True, text=True, cwd=here, check=False
        )
        assert "Traceback" not in done.stderr, (words, done.stderr)
        assert done.returncode == (0 if words == "--version" else 2), (words, done.stderr)
        assert not here.exists()


@pytest.mark.nightly
def test_no_home_and_no_cache(tiny_folder: Path, demo_video: Path, tmp_path: Path):
    """A service user may have no home, and a system may be read-only."""
    nothing = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "XDG_CACHE_HOME": "/proc/nowhere"}
    for words in (f"run {tiny_folder} {demo_video}", "doctor"):
        done = subprocess.run(
            [*ME.split(), *words.split()],
            capture_output=True,
            text=True,
            cwd="/proc",
            env=nothing | {k: v for k, v in os.environ.items() if k in ("PYTHONPATH", "OMP_NUM_THREADS")},
            check=False,
        )
        assert "Traceback" not in done.stderr
        assert done.returncode == 0 or "in the way: disk" in done.stderr, (words, done.stderr)


@pytest.mark.once
@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGTERM, 143),
        *(pytest.param(n, 128 + n, marks=pytest.mark.nightly) for n in (signal.SIGINT, signal.SIGHUP)),
    ],
)
def test_a_signal_is_one_line_and_its_exit_code(tiny_folder: Path, tmp_path: Path, number, code: int):
    picture = np.zeros((48, 64, 3), np.uint8)
    times_s = [i / 5 for i in range(600)]
    write_media(
        tmp_path / "long.mkv", frame_times_s=times_s, samples=tone(120.0), audio_codec="pcm_s16le", image=picture
    )
    many = [*ME.split(), "run", str(tiny_folder), str(tmp_path / "long.mkv"), "--output", str(tmp_path / "p.jsonl")]
    running = subprocess.Popen(many, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not (tmp_path / "p.jsonl").exists() and time.monotonic() < until:
        time.sleep(0.05)
    running.send_signal(number)
    said = running.communicate(timeout=60)[1]
    assert running.returncode == code, said
    assert [line for line in said.splitlines() if not line.startswith("note:")] == [
        "taemi-edge: interrupted: what was written so far is whole"
    ]
    assert sorted(os.listdir(tmp_path)) == ["long.mkv", "p.jsonl"]
    assert all(json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines())


def test_a_signal_before_anything_begins_is_quiet(tmp_path: Path):
    for wait_s in (0.0, 0.02, 0.05, 0.1, 0.2, 0.3):
        running = subprocess.Popen([*ME.split(), "doctor"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        time.sleep(0.1 + wait_s)
        running.send_signal(signal.SIGTERM)
        said = running.communicate(timeout=60)[1]
        assert running.returncode in (-signal.SIGTERM, 143, 0), said
        assert "Traceback" not in said


def test_nohup_stays_nohup(tmp_path: Path):
    script = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
    script += "from taemi_edge.cli.ending import stop_on_signals; stop_on_signals(); "
    script += "os.kill(os.getpid(), signal.SIGHUP); print('goes on')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "goes on\n"


def test_a_signal_inside_a_destructor_is_not_lost():
    script = (
        "import os, signal, time\nfrom taemi_edge.cli.ending import exit_code_of, stop_on_signals\nstop_on_signals()\n"
        "class Thing:\n    def __del__(self):\n        os.kill(os.getpid(), signal.SIGTERM)\n        time.sleep(0.1)\n"
        "def work():\n    Thing()\n    for _ in range(100):\n        time.sleep(0.05)\n"
        "os._exit(exit_code_of(work))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 143, done.stderr
    assert done.stderr == "taemi-edge: interrupted: what was written so far is whole\n"

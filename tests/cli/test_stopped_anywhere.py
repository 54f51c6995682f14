"""Long commands that are stopped at random moments: one line, the signal's exit code, and nothing left behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from taemi_edge.bundle.folder import open_bundle
from tests.conftest import FEW_CLIPS

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _words(command: str, folder: Path, corpus: Path, store: Path, clip: Path, out: Path) -> list[str]:
    few = [f"--set={key}={value}" for key, value in FEW_CLIPS.items()]
    build = ["--target", "cpu", "--set", "runs=3000", "--no-cache"]
    return {
        "run": ["run", f"{folder}", f"{clip}", "--output", f"{out}/p.jsonl", "--annotate", f"{out}/a.mp4"],
        "export": ["export", "taemi-tiny", "--output", f"{out}/bundle"],
        "calibrate": ["calibrate", f"{folder}", "--data", f"{corpus}", *few, "--output", f"{out}/bundle"],
        "build-engine": ["build-engine", f"{folder}", *build, "--output", f"{out}/bundle"],
        "evaluate": ["evaluate", f"{folder}", "--data", f"{corpus}", "--workers", "2", "--json", f"{out}/e.json"],
        "extract": ["extract", f"{folder}", "--data", f"{corpus}", "--workers", "2", "--output", f"{out}/store"],
        "train": ["train", "taemi-tiny", "--data", f"{store}", "--output", f"{out}/c", "--run", f"{out}/r"],
        "bench": ["bench", f"{folder}", "--json", f"{out}/b.json"],
    }[command]


def _others_of(session: int) -> list[str]:
    """The processes that still belong to a session."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if entry.name.isdecimal() and int(fields[3]) == session and fields[0] != "Z":
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except (OSError, IndexError):
            continue
    return found


def _stop(words: list[str], scratch: Path, number: int, after_s: float, what: str) -> None:
    """Start a command, stop it, and check how it ended."""
    shared = set(os.listdir("/dev/shm"))  # noqa: S108 - semaphores lie there
    running = subprocess.Popen(
        [sys.executable, "-m", "taemi_edge", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(scratch)},
        start_new_session=True,
    )
    time.sleep(after_s)
    running.send_signal(number)
    said = running.communicate(timeout=120)[1]
    told = [line for line in said.splitlines() if line.startswith("taemi-edge: ")]
    assert "Traceback" not in said, f"{what}: {said}"
    assert "Exception ignored" not in said, f"{what}: {said}"
    assert "leaked" not in said, f"{what}: {said}"
    assert running.returncode in (128 + number, -number, 0), f"{what}: {said}"
    assert len(told) <= (running.returncode == 128 + number), f"{what}: {said}"
    until = time.monotonic() + 5
    while (others := _others_of(running.pid)) and time.monotonic() < until:
        time.sleep(0.1)
    assert others == [], what
    left = {name for name in set(os.listdir("/dev/shm")) - shared if str(running.pid) in name}  # noqa: S108
    assert left == set(), what


def _check_places(out: Path, scratch: Path) -> None:
    """Whatever is there is whole, and there is no draft."""
    assert [path for place in (out, scratch) for path in place.rglob(".draft-*")] == []
    assert list(scratch.iterdir()) == []
    if (out / "bundle").exists():
        open_bundle(out / "bundle")


def _stopped_often(command: str, times: int, places: tuple[Path, ...], tmp_path: Path, longest_s: float) -> None:
    seed = random.randrange(10_000)
    chance = random.Random(seed)
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    for turn in range(times):
        for place in (out, scratch):
            place.mkdir(exist_ok=True)
        number, after_s = chance.choice(SIGNALS), chance.uniform(0.3, longest_s)
        what = f"{command} turn {turn} of seed {seed}: signal {number} after {after_s:.2f} s"
        _stop(_words(command, *places, out), scratch, number, after_s, what)
        _check_places(out, scratch)


@pytest.mark.once
def test_a_run_and_a_build_are_stopped_once(calibrated_folder, corpus_folder, store_folder, demo_video, tmp_path):
    places = (calibrated_folder, corpus_folder, store_folder, demo_video)
    for command in ("run", "build-engine"):
        _stopped_often(command, 1, places, tmp_path, 3)


@pytest.mark.nightly
@pytest.mark.parametrize(
    "command", ["run", "export", "calibrate", "build-engine", "evaluate", "extract", "train", "bench"]
)
def test_any_command_is_stopped_often(command, request, corpus_folder, store_folder, demo_video, tmp_path: Path):
    bundle = request.getfixturevalue("calibrated_folder" if command == "build-engine" else "tiny_folder")
    _stopped_often(command, 6, (bundle, corpus_folder, store_folder, demo_video), tmp_path, 12)

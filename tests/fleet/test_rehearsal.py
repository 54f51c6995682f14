"""The rehearsal of a bundle: what it runs on, and what it refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taemi_edge.bundle.folder import open_bundle
from taemi_edge.errors import CheckFailedError, MediaError
from taemi_edge.fleet import rehearsal
from taemi_edge.fleet.rehearsal import _judged, rehearse

OK = {
    "status": "ok",
    "time_s": 0.5,
    "reason": {},
    "latency_ms": {"total": 3.0},
}
NAMES = ("admiration", "amusement", "determination", "empathic_pain", "excitement", "joy")


def line(**changes: object) -> dict:
    return {**OK, "intensities": dict.fromkeys(NAMES, 0.5), **changes}


def test_a_whole_rehearsal_takes_less_than_a_hop(tiny):
    assert 0 < rehearse(tiny, threads=1) < 500


def test_a_clip_that_cannot_be_read_is_one_sentence_and_no_fault_of_the_bundle(tiny, tmp_path):
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"no clip")
    with pytest.raises(MediaError, match=r"cannot be rehearsed on it: taemi-edge: .*clip.mp4"):
        rehearse(tiny, clip, threads=1)


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([], "0 predictions came"),
        ([line(status="no signal")], "none rests on a signal"),
        ([line(intensities={**dict.fromkeys(NAMES, 0.5), "joy": None})], "intensities is no number at 0.5 s"),
        ([line(intensities=None)], "intensities is no number"),
        ([line(reason={"vision": "NaN in its features"})], "vision: its encoder gives NaN"),
        ([line(latency_ms={"total": 900.0})], "a hop took 900 ms in the rehearsal, and lasts 500 ms"),
    ],
)
def test_what_a_rehearsal_refuses(tiny, lines, why: str):
    assert _judged([line()], tiny) == 3.0
    with pytest.raises(CheckFailedError, match=why):
        _judged(lines, tiny)


def test_a_run_that_hangs_is_ended(tiny, monkeypatch):
    monkeypatch.setattr(rehearsal, "_TIMEOUT_S", 0.05)
    with pytest.raises(CheckFailedError, match="had not ended after 0.05 s"):
        rehearse(tiny, threads=1)


@pytest.mark.nightly
@pytest.mark.parametrize("example", ["digits", "gesture"])  # series alone; series beside a video
def test_series_are_rehearsed_on_their_golden_feeds(cli, tmp_path, example: str):
    pytest.importorskip("torch", reason="the example is exported with torch")
    model = Path(__file__).parent.parent.parent / "examples" / example / "model.py"
    done = cli("export", f"{model}:build", "--output", tmp_path / example)
    assert done.returncode == 0, done.stderr
    assert rehearse(open_bundle(tmp_path / example), threads=1) > 0


def test_a_process_that_is_killed_leaves_no_rehearsal_behind(tiny_folder, tmp_path):
    code = (
        "import sys, pathlib\n"
        "from taemi_edge.bundle.folder import open_bundle\n"
        "from taemi_edge.fleet.rehearsal import rehearse\n"
        "rehearse(open_bundle(pathlib.Path(sys.argv[1])), threads=1)\n"
    )
    surroundings = {**os.environ, "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", code, str(tiny_folder)], env=surroundings)
    scratch = _first(lambda: next(iter(tmp_path.glob(".draft-*")), None))
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    rehearsing = _first(children.read_text).split()
    parent.send_signal(signal.SIGKILL)
    parent.wait(10)
    _first(lambda: not any(Path(f"/proc/{child}/cmdline").exists() and _lives(child) for child in rehearsing))
    assert rehearsing
    assert scratch.is_dir()
    subprocess.run([sys.executable, "-c", code, str(tiny_folder)], env=surroundings, check=True, timeout=120)
    assert not list(tmp_path.glob(".draft-*"))


def _lives(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _first(seen: Callable[[], Any]) -> Any:
    """Wait for what is true."""
    deadline = time.monotonic() + 30
    while not (found := seen()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found

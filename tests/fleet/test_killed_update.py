"""An update that is killed at any moment leaves a whole model behind `current`, and the next one goes on from there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from taemi_edge.fleet import update as update_module
from taemi_edge.fleet.update import UpdateOptions, update
from tests.fleet.updating import variant

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.once
@pytest.mark.parametrize(
    ("how", "least"),
    [pytest.param("steps", 8, id="steps"), pytest.param("writes", 60, id="writes", marks=pytest.mark.nightly)],
)
def test_the_device_runs_one_of_the_two(tiny_folder, tmp_path, monkeypatch, how: str, least: int):
    monkeypatch.setattr("taemi_edge.fleet.watching._FIRST_REPORTS_S", 0.0)
    monkeypatch.setattr(update_module, "rehearse", lambda *_: 1.0)
    root, newer = tmp_path / "root", variant(tiny_folder, tmp_path / "new", "new")
    old = variant(tiny_folder, tmp_path / "old", "old")
    update(root, UpdateOptions(source=str(old), target="cpu", precision="fp32", threads=1))
    words = [sys.executable, "-m", "tests.fleet.killed_update", how, str(root), str(newer)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(lines) > least
    assert [line["killed"] for line in lines] == [True] * (len(lines) - 1) + [False]
    assert {line["left"]["trained_on"] for line in lines} == {"old", "new"}
    assert {line["then"]["trained_on"] for line in lines} == {"new"}
    assert all(line[when]["verified"] for line in lines for when in ("left", "then"))
    assert len({json.dumps(line["files"]) for line in lines}) == 1, "killed updates leave something behind"

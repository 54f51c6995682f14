"""A campaign finds what is wrong with a parser that is broken in every way, goes on, and says how to see it again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fuzz.engine import HAS_ATHERIS
from tests.fuzz.harness import Harness, judge
from tests.fuzz.ledger import Counts, Ledger

ROOT = Path(__file__).parents[2]


def _fail(content: bytes) -> None:
    raise ValueError({b"long": "a" * 3000, b"lines": "one\ntwo", b"empty": "", b"good": "expected 1, got 2"}[content])


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"long", "a message of 3000 characters"),
        (b"lines", "not printable"),
        (b"empty", "an empty message"),
        (b"other", "KeyError: b'other'"),
    ],
)
def test_a_refusal_is_one_line_of_an_error_of_ours(content: bytes, what: str):
    finding, _ = judge(Harness("broken", _fail, refusals=(ValueError,)), content)
    assert finding is not None
    assert what in finding.what


def test_a_refusal_in_good_order_is_no_finding():
    assert judge(Harness("broken", _fail, refusals=(ValueError,)), b"good")[0] is None


def test_an_input_that_takes_long_is_a_finding(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tests.fuzz.harness.MOST_SECONDS", 0.2)
    finding, seconds = judge(Harness("slow", lambda _: time.sleep(0.3)), b"")
    assert finding is not None
    assert "it took 0." in finding.what
    assert seconds > 0.2


def test_the_ledger_keeps_the_input_that_was_being_read(tmp_path: Path):
    ledger, counts = Ledger(tmp_path / "ledger"), Counts(7, 1.5, 0.25, 30.0)
    ledger.begin(counts, b"\0deadly")
    left = Ledger(tmp_path / "ledger").read()
    assert (left.counts, left.content) == (counts, b"\0deadly")
    ledger.end(counts)
    assert ledger.read().content is None


def _fuzz(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.fuzz", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=120, check=False)


@pytest.mark.once
def test_a_campaign_counts_and_says_what_made_its_inputs(tmp_path: Path):
    done = _fuzz("--only", "address", "--minutes", "0.01", "--place", str(tmp_path), "--json", str(tmp_path / "a.json"))
    told = json.loads((tmp_path / "a.json").read_text())
    assert told["parsers"]["address"]["inputs"] == told["inputs"] > 10, done.stdout + done.stderr
    assert told["engine"].startswith("atheris" if HAS_ATHERIS else "mutations")
    assert "address" in done.stdout


def test_one_input_is_judged_alone(tmp_path: Path):
    (tmp_path / "a.txt").write_text("rtsp://door.local/1")
    done = _fuzz("--only", "address", "--input", str(tmp_path / "a.txt"))
    assert (done.returncode, "in good order" in done.stdout) == (0, True), done.stderr

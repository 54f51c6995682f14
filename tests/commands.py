"""What tests of commands check again and again: lines of JSON, and one clear sentence on standard error."""

from __future__ import annotations

import json
import subprocess


def lines_of(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def refused(done: subprocess.CompletedProcess[str], message: str) -> None:
    """Exit 2 with one clear sentence, no traceback."""
    assert done.returncode == 2, done.stderr
    sentences = [line for line in done.stderr.strip().splitlines() if not line.startswith("note:")]
    assert len(sentences) == 1, done.stderr
    assert sentences[0].startswith("taemi-edge: ")
    assert message in sentences[0]

"""The workflows of GitHub Actions, as far as they can be tried without a runner: form, rights and commands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

#: What they hold depends on no interpreter.
pytestmark = pytest.mark.once

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def _tool(name: str) -> str:
    tool = Path(sys.executable).with_name(name)
    if not tool.exists():
        pytest.skip(f"{name} is in the extra `dev`")
    return str(tool)


def test_github_understands_them():
    command = [_tool("check-jsonschema"), "--builtin-schema", "vendor.github-workflows", *map(str, WORKFLOWS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nobody_can_abuse_them():
    """Actions by commit, no rights that are not needed, no text of others in a shell."""
    command = [_tool("zizmor"), "--offline", "--no-progress", "--min-severity", "low", *map(str, WORKFLOWS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.name)
def test_what_they_run_is_there(workflow: Path):
    text = workflow.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z][\w-]*)", text)) <= targets
    scripts = re.findall(r"(?:tools|packaging|\.ci)/[\w./-]+", text)
    assert [script for script in scripts if not (ROOT / script).exists()] == []

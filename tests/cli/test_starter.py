"""The example that `init-model` writes goes the way that its own first lines say."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="the example is made of PyTorch modules")
pytest.importorskip("onnx", reason="graphs are checked with onnx")

from tests.cli.checks import refused
from tests.conftest import FEW_CLIPS


def _words(line: str) -> list[str]:
    return line.strip().partition("#")[0].split()


def test_a_new_user_follows_what_the_example_says(cli, tmp_path):
    done = cli("init-model", "mine", cwd=tmp_path)
    assert "next: taemi-edge export mine/model.py:build --output export/mine" in done.stdout
    head = (tmp_path / "mine" / "model.py").read_text().split('"""')[1]
    commands = [_words(line) for line in head.splitlines() if line.startswith(("    taemi-edge ", "    python "))]
    assert [words[1] for words in commands] == [
        "export",
        "parity",
        "mine/model.py",
        "run",
        "calibrate",
        "build-engine",
        "bench",
    ]
    few = {**FEW_CLIPS, "methods": '["minmax"]', "alphas": "[0.5]"}
    quicker = {
        "calibrate": ["--workers", "1", *[f"--set={name}={value}" for name, value in few.items()]],
        "build-engine": ["--set", "runs=2", "--no-cache", "--threads", "1"],
        "bench": ["--runs", "5", "--threads", "1"],
    }
    for program, *words in commands:
        if program == "python":
            subprocess.run([sys.executable, *words], cwd=tmp_path, check=True, timeout=60)
            continue
        done = cli(*words, *quicker.get(words[0], []), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        if words[0] == "run":
            lines = [json.loads(line) for line in done.stdout.splitlines()]
            assert len(lines) == 10
            assert all(set(line["presence"].values()) == {"live"} for line in lines[1:])
            assert lines[-1]["state"]["best"] in ("idle", "running", "stuck")
            assert 0 <= lines[-1]["load"]["load"] <= 1


def test_nothing_is_replaced(cli_here, tmp_path):
    (tmp_path / "model.py").write_text("mine\n")
    refused(cli_here("init-model", tmp_path), "model.py exists already and is not replaced: name another folder")
    assert (tmp_path / "model.py").read_text() == "mine\n"

"""The command `bench`: wrong use, rivals that are missing, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--against", "tflite"], "--against 'tflite': expected onnxruntime-cpu"),
        (["--sources", "1,many"], "--sources: expected a number of at least 1, got 'many'"),
        (["--batch", "face=2"], "--batch face=N: expected one of vision, audio, text, fusion"),
        (["--batch", "vision=0"], "--batch: expected a number of at least 1, got '0'"),
        (["--sources", "9" * 20], "--sources: expected a number of at most 10000, got '99999999999999999999'"),
        (["--batch", "vision=" + "9" * 5000], "--batch: expected a number of at most 10000, got '9999"),
        (["--host", "--sources", "257"], "--sources 257: expected at most 256, as many as engines are built for"),
        (["--device", "tensorrt"], "holds ONNX graphs: run `taemi-edge build-engine"),
        (["--device", "cuda"], "--device cuda needs ONNX Runtime with CUDAExecutionProvider"),
        (["--model", "model.toml"], "--model model.toml: expected FILE.py:FUNCTION or PACKAGE.MODULE:FUNCTION"),
        (["--model", "m.py:build", "--checkpoint", "c"], "expected one of the two, got both"),
        pytest.param(
            ["--model", "m.py:build", "--runs", "5"],
            "m.py:build: expected a Python file at m.py, found nothing there",
            marks=pytest.mark.skipif(find_spec("torch") is None, reason="without PyTorch its contender is left out"),
        ),
        (["--data", "corpus"], "--data: expected --against openvino-int8 beside it"),
        (
            ["--against", "openvino-int4"],
            "openvino-int4': expected onnxruntime-cpu, onnxruntime-cuda, openvino,",
        ),
        (["--sweep", "--against", "openvino"], "--against: expected only --sources, --runs, --device, --threads"),
        (["--sweep", "--host"], "--sweep: expected only --sources, --runs, --json and --plot beside --host"),
        (["--host", "--device", "cpu"], "--device: expected only --sources, --runs, --json and --plot beside --host"),
        (["--plot", "b.bmp"], "--plot b.bmp: expected a file that ends in"),
    ],
)
def test_wrong_words_are_refused(cli_here, tiny_folder: Path, tmp_path: Path, words, problem):
    done = cli_here("bench", tiny_folder, *words, cwd=tmp_path)
    assert done.returncode == 2
    assert problem in done.stderr


def test_ctrl_c_leaves_no_contender_and_no_file_behind(tiny_folder: Path, tmp_path: Path):
    command = [sys.executable, "-m", "taemi_edge", "bench", str(tiny_folder), "--runs", "5000", "--against", "none"]
    command += ["--json", str(tmp_path / "b.json"), "--plot", str(tmp_path / "b.png")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    for _ in range(400):
        if pids := children.read_text().split():
            break
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in err
    assert list(tmp_path.iterdir()) == []
    deadline_s = time.monotonic() + 5  # a contender that was still importing ends a moment after its parent
    while [pid for pid in pids if os.path.exists(f"/proc/{pid}")] and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]


def test_an_interpreter_that_is_not_there_is_named(cli, tiny_folder: Path, tmp_path: Path):
    words = ["--runs", 5, "--sources", "1", "--rivals-python", tmp_path / "no-python", "--against", "torch-eager"]
    done = cli("bench", tiny_folder, *words)
    assert done.returncode == 0
    assert "not run: torch-eager fp32: " in done.stderr
    assert "no-python" in done.stderr

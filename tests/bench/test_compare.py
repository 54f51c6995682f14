"""The benchmark as a command: contenders in processes of their own, on the CPU against ONNX Runtime and PyTorch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from taemi_edge.bench import contender as contenders
from taemi_edge.bench.contender import Contender
from taemi_edge.bench.options import BenchOptions, rivals_from
from taemi_edge.bench.report import OURS, BenchReport, stats_of
from taemi_edge.bench.worker import Opening, Request
from taemi_edge.bundle.spec import PRESENCE_PATTERNS, pattern_name
from taemi_edge.errors import UsageError


@pytest.fixture(scope="module")
def report(cli, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[BenchReport, Path, str]:
    folder = tmp_path_factory.mktemp("bench")
    words = ["--runs", 5, "--sources", "1,3", "--batch", "vision=4"]
    done = cli("bench", tiny_folder, *words, "--json", folder / "b.json", "--plot", folder / "b.png")
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode((folder / "b.json").read_bytes(), type=BenchReport), folder, done.stdout


def test_every_contender_is_timed_and_held_against_pytorch(report):
    found, _, _ = report
    pytest.importorskip("torch", reason="PyTorch is one of the contenders")
    assert list(found.contenders) == [OURS, "onnxruntime-cpu fp32", "torch-eager fp32"]
    assert found.not_run == {}
    for timings in (*(p.timings for p in found.parts), *(w.timings for w in found.windows)):
        assert [t.contender for t in timings] == list(found.contenders)
        for timing in timings:
            assert timing.failure == ""
            assert timing.wall.runs == 5
            assert 0 < timing.wall.median <= timing.wall.p99
            assert timing.max_abs < 1e-4


def test_parts_batches_patterns_and_sources_are_all_there(report):
    found, _, _ = report
    assert [(p.part, p.batch) for p in found.parts] == [
        ("vision", 1),
        ("vision", 4),
        ("audio", 1),
        ("text", 1),
        ("fusion", 1),
    ]
    patterns = [pattern_name(p) for p in PRESENCE_PATTERNS]
    assert [(w.kind, w.pattern) for w in found.windows] == [(k, p) for k in ("hop", "window") for p in patterns]
    assert [s.sources for s in found.sources] == [1, 3]
    assert found.sources[0].throughput_ratio == 1.0
    assert found.sources[1].predictions_per_s == pytest.approx(3e3 / found.sources[1].timing.wall.median, rel=1e-3)
    assert found.ratios.keys() == found.contenders.keys() - {OURS}
    assert found.overhead_ms > 0


def test_a_part_is_held_against_the_ceilings_that_were_measured(report):
    found, _, _ = report
    pytest.importorskip("onnx", reason="graphs are counted with onnx")
    assert found.ceilings["copy_gb_s"] > 0.5
    one, four = found.parts[:2]
    assert four.operations == 4 * one.operations
    for part in found.parts:
        assert 0 < part.share < 1
        seconds = max(
            part.bytes / (found.ceilings["copy_gb_s"] * 1e9), part.operations / (found.ceilings["fp32_tflop_s"] * 1e12)
        )
        assert part.limit_ms == pytest.approx(1e3 * seconds, rel=0.1)


def test_tables_and_picture_say_the_same(report):
    found, folder, out = report
    assert "parts, feeds on the device" in out
    assert "several sources in one call" in out
    for name, ratio in found.ratios.items():
        assert f"takes {name} {ratio:.2f} x as long" in out
    assert (folder / "b.png").stat().st_size > 20_000


def test_a_rival_that_cannot_run_says_why(tiny_folder: Path, tmp_path: Path):
    opening = Opening(contender="onnxruntime-cuda", bundle=str(tiny_folder), graphs=str(tiny_folder))
    with pytest.raises(UsageError, match="--device cuda needs ONNX Runtime with CUDAExecutionProvider"):
        Contender("onnxruntime-cuda fp32", opening, sys.executable, tmp_path / "log")


def test_an_interpreter_that_is_not_there_is_named(cli, tiny_folder: Path, tmp_path: Path):
    words = ["--runs", 5, "--sources", "1", "--rivals-python", tmp_path / "no-python", "--against", "torch-eager"]
    done = cli("bench", tiny_folder, *words)
    assert done.returncode == 0
    assert "not run: torch-eager fp32: " in done.stderr
    assert "no-python" in done.stderr


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--against", "tflite"], "--against tflite: expected onnxruntime-cpu"),
        (["--sources", "1,many"], "--sources: expected a number of at least 1, got 'many'"),
        (["--batch", "face=2"], "--batch face=N: expected one of vision, audio, text, fusion"),
        (["--batch", "vision=0"], "--batch: expected a number of at least 1, got '0'"),
        (["--device", "tensorrt"], "holds ONNX graphs: run `taemi-edge build-engine"),
        (["--device", "cuda"], "--device cuda needs ONNX Runtime with CUDAExecutionProvider"),
        (["--plot", "b.bmp"], "--plot b.bmp: expected a file that ends in"),
    ],
)
def test_wrong_words_are_refused(cli, tiny_folder: Path, words, problem):
    done = cli("bench", tiny_folder, *words)
    assert done.returncode == 2
    assert problem in done.stderr


def test_a_contender_that_dies_says_its_last_words(tiny_folder: Path, tmp_path: Path):
    opening = Opening(contender="runtime", bundle=str(tiny_folder), device="cpu")
    with Contender(OURS, opening, sys.executable, tmp_path / "log") as contender:
        assert contender.ask(Request(do="run")).failure == "nothing is prepared"
        (tmp_path / "log").write_text("CUDA error: out of memory\n")
        contender._process.kill()
        contender._process.wait()
        assert contender.ask(Request(do="ceilings")).failure == "its process died: CUDA error: out of memory"


def test_ctrl_c_leaves_no_contender_behind(tiny_folder: Path):
    command = [sys.executable, "-m", "taemi_edge", "bench", str(tiny_folder), "--runs", "5000", "--against", "none"]
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
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]


def test_another_interpreter_gets_this_package_and_nothing_beside_it(monkeypatch, tmp_path: Path):
    installed = tmp_path / "site-packages" / "taemi_edge" / "bench"
    installed.mkdir(parents=True)
    (tmp_path / "site-packages" / "numpy").mkdir()
    monkeypatch.setattr(contenders, "__file__", str(installed / "contender.py"))
    folder = Path(contenders.import_path("/usr/bin/python-other", tmp_path))
    assert [entry.name for entry in folder.iterdir()] == ["taemi_edge"]
    assert (folder / "taemi_edge").resolve() == installed.parent
    assert contenders.import_path(sys.executable, tmp_path).split(os.pathsep)[0] == str(tmp_path / "site-packages")


def test_names_and_options_are_checked():
    assert rivals_from([]) is None
    assert rivals_from(["none"]) == ()
    assert rivals_from(["torch-eager", "onnxruntime-cpu"]) == ("onnxruntime-cpu", "torch-eager")
    with pytest.raises(UsageError, match="--runs 2: expected at least 5"):
        BenchOptions(runs=2)
    assert stats_of([]) is None

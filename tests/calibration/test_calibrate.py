"""Calibrating a bundle: INT8 is the same model, and what cannot be calibrated is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("onnx", reason="graphs are quantised with onnx")


from taemi_edge.bundle.folder import open_bundle
from taemi_edge.parity.comparison import check_parity
from tests.cli.checks import refused
from tests.conftest import FEW_CLIPS


def test_int8_runs_and_is_the_same_model_as_fp32(calibrated_folder, tiny_folder):
    report, _ = check_parity(str(tiny_folder), str(calibrated_folder))
    assert {stage.stage: stage.cosine > 0.95 for stage in report.stages} == dict.fromkeys(
        ("vision", "audio", "text", "fusion", "end-to-end"), True
    )


def test_a_bundle_that_is_quantised_already(cli_here, calibrated_folder, corpus_folder, tmp_path):
    done = cli_here("calibrate", calibrated_folder, "--data", corpus_folder, "--output", tmp_path / "out")
    refused(done, "vision.onnx is int8 already: name the exported bundle")
    assert not (tmp_path / "out").exists()


def test_neither_clips_nor_ranges(cli_here, tiny_folder):
    refused(
        cli_here("calibrate", tiny_folder), "expected --data CORPUS to calibrate on, or --ranges of another machine"
    )


def test_inspect_says_what_it_was_calibrated_on(cli_here, calibrated_folder):
    done = cli_here("inspect", calibrated_folder)
    assert "calibrated    on 6 clips of the synthetic corpus of seed 3 (14 clips) by taemi-edge" in done.stdout


def test_the_bundle_that_is_read_is_never_written_over(cli_here, tiny_folder, corpus_folder):
    done = cli_here("calibrate", tiny_folder, "--data", corpus_folder, "--output", tiny_folder)
    refused(done, "expected another folder than the one that is read")
    assert open_bundle(tiny_folder).manifest.calibration is None


def test_ctrl_c_leaves_nothing_behind(tiny_folder, corpus_folder, tmp_path):
    command = [sys.executable, "-m", "taemi_edge", "calibrate", str(tiny_folder), "--data", str(corpus_folder)]
    words = [f"--set={key}={value}" for key, value in FEW_CLIPS.items()]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = {**os.environ, "TMPDIR": str(scratch)}
    output = ["--output", str(tmp_path / "out")]
    with subprocess.Popen([*command, *words, *output], stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert "collecting ranges" in process.stderr.readline()
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130, rest
    assert rest.strip().splitlines()[-1].startswith("taemi-edge: interrupted")
    assert [entry.name for entry in tmp_path.iterdir()] == ["scratch"]
    assert list(scratch.glob("taemi-edge-*")) == []

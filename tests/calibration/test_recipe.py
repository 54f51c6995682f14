"""Calibration recipes: values that no calibration can have are refused."""

from __future__ import annotations

import pytest

pytest.importorskip("onnx", reason="graphs are quantised with onnx")


from tests.test_run import refused


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("batch=0", "expected batch >= 1, got 0"),
        ("held_out=0", "expected held_out >= 1, got 0"),
        ("rows=1", "expected rows >= 2"),
        ("percentile=200", "expected 0 < percentile <= 100, got 200"),
        ("alphas=[2]", "expected every alpha between 0 and 1"),
        ("exclude.sound.conv=x", "expected vision, audio, text or fusion in exclude"),
    ],
)
def test_values_that_no_calibration_can_have(change, words, cli, tiny_folder, corpus_folder):
    refused(cli("calibrate", tiny_folder, "--data", corpus_folder, "--set", change), words)

"""The budget of INT8: who misses it, and by how much."""

from __future__ import annotations

import pytest

pytest.importorskip("onnx", reason="graphs are quantised with onnx")


from taemi_edge.bundle.folder import open_bundle
from tests.conftest import FEW_CLIPS


def test_a_budget_that_is_missed_is_exit_1_and_says_by_how_much(cli, tiny_folder, corpus_folder, tmp_path):
    changes = {**FEW_CLIPS, "methods": '["minmax"]', "alphas": "[0.5]", "budget.mean_pearson_drop": "-2"}
    words = [f"--set={key}={value}" for key, value in changes.items()]
    done = cli("calibrate", tiny_folder, "--data", corpus_folder, "--output", tmp_path / "out", *words)
    assert done.returncode == 1, done.stderr  # labels would have to be met by two more than FP32 meets them
    assert "vision in INT8: expected a mean Pearson on labels of at least" in done.stderr
    assert open_bundle(tmp_path / "out").manifest.calibration is not None  # to be looked at; auto refuses its INT8

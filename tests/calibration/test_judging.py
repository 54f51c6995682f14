"""A calibrated bundle is judged on clips that were not used, with labels or without."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="graphs are quantised with onnx")


from taemi_edge.bundle.folder import Bundle, open_bundle
from taemi_edge.taemi.names import PARTS
from tests.cli.checks import refused


def test_the_record_says_what_each_flavour_costs_on_clips_that_were_not_used(calibrated: Bundle):
    record = calibrated.manifest.calibration
    assert (record.clips, record.held_out, record.synthetic) == (6, 3, True)
    assert set(record.mean_pearson) == {"fp32", "fp16", "int8", "int8-u8", "int8-dynamic"}
    for part in PARTS:
        assert record.closeness[part]["fp16"].pearson > 0.9999
        for flavour in ("int8", "int8-u8", "int8-dynamic"):
            assert record.closeness[part][flavour].pearson > 0.98
            assert record.closeness[part][flavour].score is not None
    assert "powers down to 1e-10" in record.excluded["audio"]["frontend"]
    assert all("frontend" in record.host_excluded[flavour]["audio"] for flavour in ("int8-u8", "int8-dynamic"))
    assert len(record.patterns) > 4  # the fusion head saw tokens
    assert all(0 < error < 0.2 for pair in record.layer_error.values() for error in pair)
    assert sum(record.alphas["text"].values()) > 3


def test_clips_without_labels_are_judged_against_fp32_alone(cli, tiny_folder, corpus_folder, tmp_path):
    """As `run --record` keeps them."""
    folder = Path(shutil.copytree(corpus_folder, tmp_path / "losses"))
    for file in folder.glob("*_split.csv"):
        file.unlink()
    settings = {"min_clips": "4", "held_out": "4", "trial_clips": "2", "methods": '["minmax"]', "budget.pearson": "0.5"}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    done = cli("calibrate", tiny_folder, "--data", folder, "--output", tmp_path / "out", "--workers", 1, *words)
    assert done.returncode == 0, done.stderr
    assert "the clips have none: judged against FP32 alone" in done.stdout
    record = open_bundle(tmp_path / "out").manifest.calibration
    assert record.held_out >= 4
    assert record.mean_pearson == dict.fromkeys(("fp32", "fp16", "int8", "int8-u8", "int8-dynamic"))
    assert record.closeness["audio"]["int8"].pearson > 0.5
    refused(cli("extract", tiny_folder, "--data", folder, "--output", tmp_path / "store"), "train_split.csv")

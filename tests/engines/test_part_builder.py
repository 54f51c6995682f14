"""Parts are built from their graphs; FP16 can be cast, INT8 needs a calibration."""

from __future__ import annotations

import pytest

from taemi_edge.engines.build import build_engine
from tests.cli.checks import refused
from tests.engines.targets import target


def test_an_exported_bundle_is_cast_to_fp16_by_its_golden_feeds(tiny_folder, tmp_path):
    pytest.importorskip("onnx", reason="graphs are cast with onnx")
    made = build_engine(tiny_folder, target(), "fp16", tmp_path / "out", threads=1, cache=None)
    assert made.bundle.manifest.parts["text"].precision == "fp16"


def test_int8_of_a_bundle_that_was_never_calibrated(cli_here, tiny_folder, tmp_path):
    words = ("build-engine", tiny_folder, "--target", "cpu", "--precision", "int8", "--output", tmp_path / "o")
    refused(cli_here(*words), "has no int8 graph of vision: run `taemi-edge calibrate")
    assert list(tmp_path.iterdir()) == []

"""One part is planned: activations that no range fits are named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="graphs are quantised with onnx")

import onnx

from taemi_edge.bundle.folder import read_manifest, write_manifest
from taemi_edge.calibration.calibrate import calibrate_bundle
from taemi_edge.errors import CalibrationError
from taemi_edge.taemi.vidmimic2 import open_corpus
from tests.calibration.recipes import few


def damaged(tiny_folder: Path, folder: Path, part: str, name: str, value: float) -> Path:
    """The tiny bundle with one initialiser of a part filled with a value."""
    shutil.copytree(tiny_folder, folder)
    model = onnx.load(folder / f"{part}.onnx")
    tensor = next(t for t in model.graph.initializer if t.name == name)
    filled = np.full(onnx.numpy_helper.to_array(tensor).shape, value, np.float32)
    tensor.CopyFrom(onnx.numpy_helper.from_array(filled, name))
    onnx.save(model, folder / f"{part}.onnx")
    write_manifest(folder, read_manifest(folder))
    return folder


@pytest.mark.parametrize(
    ("value", "words"),
    [(np.nan, "expected finite activations, got NaN"), (0.0, "expected activations that vary, got 0")],
    ids=["nan", "constant"],
)
def test_activations_that_are_nan_or_constant_are_named(value, words, tiny_folder, corpus_folder, tmp_path):
    bundle = damaged(tiny_folder, tmp_path / "b", "text", "backbone.embeddings.LayerNorm.weight", value)
    if value == 0.0:
        bundle = damaged(bundle, tmp_path / "c", "text", "backbone.embeddings.LayerNorm.bias", value)
    tensor = "text: /backbone/embeddings/LayerNorm/LayerNormalization_output_0: "
    with pytest.raises(CalibrationError, match=tensor + words):
        calibrate_bundle(bundle, open_corpus(corpus_folder), few(), tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()

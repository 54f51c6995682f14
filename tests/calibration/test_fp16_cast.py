"""A part is cast to FP16 without a corpus, and keeps the islands of its recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="graphs are cast with onnx")

from onnx import TensorProto

from taemi_edge.bundle.folder import Bundle
from taemi_edge.calibration.fp16_cast import cast_part
from taemi_edge.calibration.graph_sessions import runner_of
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.parity.golden import load_cases


def test_a_cast_part_has_fp16_weights_and_is_near_pytorch(tiny: Bundle, tmp_path: Path):
    file = tmp_path / "text.onnx"
    cast_part(tiny, "text", "fp16", file)
    weights = [tensor.data_type for tensor in Graph.load(file).initialisers.values() if len(tensor.dims) == 2]
    assert weights.count(TensorProto.FLOAT16) > len(weights) / 2
    run = runner_of(str(file))
    for case in load_cases(tiny.golden_file):
        if case.part == "text":
            (want,) = (case.expected or {}).values()
            (got,) = run(case.feeds).values()
            assert np.abs(got - want).max() < 2e-2

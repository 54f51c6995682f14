"""Labels that flip, and which metrics count labels or follow the correlation with FP32."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx", reason="graphs are quantised with onnx")

from taemi_edge.bundle.outputs import ClassesSpec, RegressionSpec
from taemi_edge.calibration.scoring import count_flips, counts_labels, follows_pearson
from taemi_edge.parity.judge import Judge

OUTPUTS = {"door": ClassesSpec(names=("open", "shut")), "load": RegressionSpec(names=("left",))}


def test_the_output_with_most_flips_counts_and_numbers_have_none():
    rooms = {**OUTPUTS, "lights": ClassesSpec(names=("on", "blue"), exclusive=False)}
    want = {"door": np.eye(2), "load": np.zeros((2, 1)), "lights": np.array([[3.0, -3.0], [-3.0, -3.0]])}
    got = {**want, "load": np.ones((2, 1)), "lights": np.array([[3.0, 3.0], [-3.0, -3.0]])}
    assert count_flips(rooms, want, want) == 0
    assert count_flips(rooms, want, got) == 0.5
    assert count_flips({"load": OUTPUTS["load"]}, want, got) is None


@pytest.mark.parametrize(
    ("metric", "labels", "pearson"),
    [("accuracy", True, False), ("pearson", False, True), ("mae", False, False), (lambda p, t: 1.0, False, False)],
    ids=["accuracy", "pearson", "mae", "own"],
)
def test_what_a_metric_is_like(metric, labels: bool, pearson: bool):
    judge = Judge(OUTPUTS, metric)
    assert (counts_labels(judge), follows_pearson(judge)) == (labels, pearson)

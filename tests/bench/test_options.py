"""What a benchmark compares: names of rivals, and numbers in their range."""

from __future__ import annotations

import pytest

from taemi_edge.bench.options import BenchOptions, rivals_from
from taemi_edge.bench.report import stats_of
from taemi_edge.errors import UsageError


def test_names_and_options_are_checked():
    assert rivals_from([]) is None
    assert rivals_from(["none"]) == ()
    assert rivals_from(["torch-eager", "onnxruntime-cpu"]) == ("onnxruntime-cpu", "torch-eager")
    with pytest.raises(UsageError, match="--runs 2: expected at least 5"):
        BenchOptions(runs=2)
    assert stats_of([]) is None

"""What a head gives for the samples must be able to be what its outputs declare."""

from __future__ import annotations

import numpy as np
import pytest

import taemi_edge as te
from taemi_edge.export.declared_outputs import value_problem

HALF = te.Classes(["a", "b"], gives="probabilities")
ANY = te.Classes(["a", "b"], gives="probabilities", exclusive=False)
UNIT = te.Regression(["x", "y"], range=(0, 1))


@pytest.mark.parametrize(
    ("output", "values", "words"),
    [
        (HALF, [0.25, 0.75], ""),
        (HALF, [2.5, -1.5], "expected probabilities from 0 to 1, got -1.5 to 2.5: use gives='logits'"),
        (HALF, [0.9, 0.8], "expected probabilities that sum to 1, got a sum of 1.7"),
        (ANY, [0.9, 0.8], ""),
        (te.Classes(["a", "b"]), [2.5, -1.5], ""),
        (UNIT, [-0.2, 1.1], ""),
        (UNIT, [87.0, 140.0], "expected values in the declared range, 0 to 1, got 87 to 140: declare the range"),
        (te.Regression(["x", "y"]), [87.0, 140.0], ""),
    ],
)
def test_values_that_an_output_cannot_have_are_named(output, values, words):
    found = value_problem(output.spec(), np.array([values, values], np.float32))
    assert found.startswith(words)
    assert bool(found) == bool(words)

"""A prediction as a line of JSON."""

from __future__ import annotations

import msgspec

from taemi_edge.runtime.prediction import Prediction
from tests.runtime.test_annotate import PREDICTION


def test_a_line_is_read_back_as_it_was_written():
    line = PREDICTION.to_json()
    assert "\n" not in line
    assert msgspec.json.decode(line, type=Prediction) == PREDICTION

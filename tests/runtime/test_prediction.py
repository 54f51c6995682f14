"""A prediction as a line of JSON."""

from __future__ import annotations

import copy

import msgspec
import pytest

from taemi_edge.runtime.prediction import Prediction
from tests.runtime.test_annotate import PREDICTION

MIXED = msgspec.structs.replace(
    PREDICTION,
    outputs={"mood": {"valence": 0.5}, "door": {"best": "open", "probabilities": {"open": 0.75, "shut": 0.25}}},
)


def test_a_line_has_each_group_of_outputs_under_its_own_name():
    line = MIXED.to_json()
    assert "\n" not in line
    read = msgspec.json.decode(line)
    assert list(read) == ["source", "time_s", "window_s", "mood", "door", *list(read)[5:]]
    assert list(read)[5:] == ["presence", "age_ms", "latency_ms", "reason", "status", "backend"]
    rest = {name: value for name, value in read.items() if name not in MIXED.outputs}
    assert msgspec.convert({**rest, "outputs": {n: read[n] for n in MIXED.outputs}}, Prediction) == MIXED


def test_a_group_of_outputs_is_an_attribute():
    assert MIXED.mood == {"valence": 0.5}
    assert MIXED.door["best"] == "open"
    with pytest.raises(AttributeError, match="or one of its outputs, got 'moods'"):
        _ = MIXED.moods


def test_a_prediction_is_copied():
    assert copy.copy(MIXED) == copy.deepcopy(MIXED) == MIXED

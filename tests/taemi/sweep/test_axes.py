"""What a sweep changes: values, ranges, and words that are neither."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="recipes of TAEMI are trained with torch")

from taemi_edge.errors import UsageError
from taemi_edge.taemi.sweep.axes import read_axis, split_values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,2,3", ["1", "2", "3"]),
        ("x", ["x"]),
        ('["audio","text"],["text"]', ['["audio","text"]', '["text"]']),
        ("{a=1,b=2},{a=3}", ["{a=1,b=2}", "{a=3}"]),
        ("'a,b',\"c,d\"", ["'a,b'", '"c,d"']),
        ("1,", ["1", ""]),
    ],
)
def test_commas_inside_of_a_value_do_not_end_it(text, expected):
    assert split_values(text) == expected


@pytest.mark.parametrize(
    ("key", "text", "log", "whole"),
    [
        ("training.learning_rate", "1e-4..1e-2", True, False),
        ("fusion.dropout", "0..0.5", False, False),
        ("training.learning_rate", "linear:1e-4..1e-2", False, False),
        ("training.learning_rate", "log:0.001..0.002", True, False),
        ("training.weight_decay", "-1..1", False, False),
        ("training.mse_weight", "1..9", False, False),  # written whole, and yet the key is a fraction
        ("fusion.dim", "8..64", False, True),
        ("training.epochs", "1..100", True, True),
        ("vision.encoder.config.hidden_size", "8..16", False, True),
    ],
)
def test_a_range_is_drawn_as_it_is_written(key, text, log, whole):
    axis = read_axis(key, text)
    assert (axis.log, axis.whole) == (log, whole)
    drawn = [float(axis.draw(random)) for random in [np.random.default_rng(1)] for _ in range(500)]
    low, high = axis.span
    assert low <= min(drawn) <= max(drawn) <= high
    middle = (low * high) ** 0.5 if log else (low + high) / 2
    assert 150 < sum(value < middle for value in drawn) < 350
    assert all(value == int(value) for value in drawn) == whole


def test_both_ends_of_whole_numbers_are_drawn():
    axis, random = read_axis("fusion.heads", "1..3"), np.random.default_rng(0)
    assert {axis.draw(random) for _ in range(100)} == {"1", "2", "3"}


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("learning_rate", "1", "the recipe has no such key: did you mean training.learning_rate?"),
        ("training.learning_rat", "1", "did you mean training.learning_rate"),
        ("fusion.dim.x", "1", "no such key"),
        ("zzz", "1", "has its keys"),
        ("fusion.dim", "8,,16", "expected a value on each side of a comma"),
        ("fusion.dim", "", "expected a value on each side of a comma"),
        ("training.learning_rate", "1e-3,0.001", "got 0.001 twice"),
        ("fusion.dropout", "0.5..0.1", "from a lower to a higher number"),
        ("fusion.dropout", "0.1..0.1", "from a lower to a higher number"),
        ("fusion.dropout", "0..1e999", "from a lower to a higher number"),
        ("fusion.dropout", "log:0..1", "expected a low end above 0"),
        ("fusion.dim", "8..16.5", "whole numbers at both ends"),
    ],
)
def test_what_cannot_be_tried_is_refused(key, text, message):
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        read_axis(key, text)


def test_true_and_one_are_different_values():
    assert read_axis("fusion.missing_tokens", "true,1").texts == ("true", "1")

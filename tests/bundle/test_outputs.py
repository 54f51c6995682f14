"""What a prediction carries of an output, and which names its numbers and classes can have."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from taemi_edge.bundle.outputs import ClassesSpec, RegressionSpec


@pytest.mark.parametrize("value", [3.3e-9, -1.2345e-5, 0.25, 4.8e8])
def test_numbers_of_any_size_keep_their_digits(value: float):
    assert RegressionSpec(names=("load",)).described(np.array([value]))["load"] == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("name", ["two\nlines", "bell\a", "turned\u202eround"])
def test_names_have_no_control_characters(name: str):
    with pytest.raises(ValueError, match="without line breaks and control characters"):
        RegressionSpec(names=(name,))
    with pytest.raises(msgspec.ValidationError, match="control characters"):
        msgspec.convert({"kind": "classes", "names": ["open", name]}, ClassesSpec)


def test_names_may_be_in_any_language_and_hold_signs():
    names = ("<b>bold</b>", 'it\'s "quoted"', "\N{GRINNING FACE} joy", "Größe")
    assert list(RegressionSpec(names=names).described(np.zeros(4))) == list(names)

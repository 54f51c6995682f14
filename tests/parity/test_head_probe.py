"""What is measured of a head decides how it may be fed: a head with positions must not pass as one without."""

from __future__ import annotations

import pytest

from taemi_edge.parity.head_probe import length_errors, order_matters
from taemi_edge.parity.sample_cases import make_cases
from tests.parity.toy_model import SPECS, STREAMS, TOKENS, ToyModel, sample, without_masks


@pytest.mark.parametrize("specs", [SPECS, without_masks(SPECS)])
def test_a_mean_is_blind_to_length_and_order(specs):
    model = ToyModel()
    cases = make_cases(specs, {}, model.run, TOKENS, [sample(0), sample(1, steps=5)])
    assert not order_matters(model.run, cases)
    errors = length_errors(model.run, cases, TOKENS, STREAMS)
    assert set(errors) == set(STREAMS)
    assert max(errors.values()) < 1e-6


def test_a_head_with_positions_is_not():
    model = ToyModel(positions=True)
    cases = make_cases(SPECS, {}, model.run, TOKENS, [sample(0), sample(1, steps=5)])
    assert order_matters(model.run, cases)
    errors = length_errors(model.run, cases, TOKENS, STREAMS)
    assert errors["mic"] > 0.01
    assert errors["front"] == 0  # its stand-in is zeros: more of them change nothing
    assert errors["imu"] == 0  # the mask hides its stand-in

"""What is measured of a head decides how it may be fed: a head with positions must not pass as one without."""

from __future__ import annotations

import pytest

from taemi_edge.parity.head_probe import length_errors, order_matters, padding_error, unread_streams
from taemi_edge.parity.sample_cases import make_cases
from tests.parity.toy_model import SPECS, STREAMS, TOKENS, ToyModel, sample, without_masks


@pytest.mark.parametrize("specs", [SPECS, without_masks(SPECS)])
def test_a_mean_is_blind_to_length_and_order(specs):
    model = ToyModel()
    cases = make_cases(specs, {}, model.run, TOKENS, [sample(0), sample(1, steps=5)])
    assert not order_matters(model.run, cases)
    assert padding_error(model.run, cases, STREAMS) < 1e-6
    assert unread_streams(model.run, cases) == []
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


def test_a_head_that_reads_what_a_mask_hides_is_known_as_such():
    model = ToyModel()

    def unmasked(part, feeds):
        shown = {n: v if n != "mic_mask" else v | 1 for n, v in feeds.items()}
        return model.run(part, shown if part == "fusion" else feeds)

    cases = make_cases(SPECS, {}, unmasked, TOKENS, [sample(0), sample(1, steps=5)])
    assert padding_error(unmasked, cases, STREAMS) > 0.01


def test_a_stream_that_changes_nothing_is_named():
    model = ToyModel()

    def deaf(part, feeds):
        return model.run(part, {n: v * (n != "front") if part == "fusion" else v for n, v in feeds.items()})

    assert unread_streams(deaf, make_cases(SPECS, {}, deaf, TOKENS, [sample(0)])) == ["front"]

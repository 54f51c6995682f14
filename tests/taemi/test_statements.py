"""What TAEMI says of itself for its model cards."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="a checkpoint is made with PyTorch")

from taemi_edge.taemi.checkpoint import CheckpointState
from taemi_edge.taemi.packaged_weights import head_name
from taemi_edge.taemi.statements import card_of

MOBILE = "package:taemi-mobile-synthetic"


def state(head: str = "", encoder: str = "package:x") -> CheckpointState:
    weights = {"vision": encoder, **({"fusion": head} if head else {})}
    return CheckpointState(trained=bool(head), weights=weights)


def test_the_head_that_ships_has_the_figures_that_were_measured_of_it():
    [found] = card_of(state(head_name(MOBILE))).evaluations
    assert found.synthetic
    assert found.clean.low is not None
    assert len(found.by_name) == 6
    assert "taemi-edge evaluate" in found.command


@pytest.mark.parametrize("head", ["", f"{MOBILE} 0123456789ab", "checkpoints/mine"])
def test_another_head_has_none(head: str):
    assert card_of(state(head)).evaluations == ()


def test_it_names_what_the_law_says_of_inferring_emotions():
    said = card_of(state())
    for words in ("2024/1689", "5(1)(f)", "Annex III, point 1(c)", "50(3)", "no legal advice"):
        assert words in said.misuse.replace("\n", " ")
    assert said.limits
    assert said.licence != card_of(state(encoder="random")).licence == "Apache-2.0"
    trained = card_of(state(encoder="trained end to end, from random"))
    assert trained.licence == "Apache-2.0", "no weights of others are in it"

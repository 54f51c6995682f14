"""Pooling under masks: padding changes nothing, and a constant is the same at every length."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the heads are PyTorch")

from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.taemi.pooling import last_step, masked_mean, masked_statistics, reverse_steps


def clip(length: int, padding: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One clip (1, T, 3) whose padding holds large numbers, and its mask."""
    states = torch.randn(1, length + padding, 3, generator=torch.Generator().manual_seed(seed))
    states[:, length:] = 1e4
    return states, (torch.arange(length + padding) < length).int()[None]


@given(length=st.integers(1, 9), padding=st.integers(0, 5), seed=st.integers(0, 99))
def test_padding_changes_nothing(length: int, padding: int, seed: int):
    states, mask = clip(length, padding, seed)
    bare, ones = states[:, :length], mask[:, :length]
    for pool in (masked_mean, masked_statistics, last_step):
        assert torch.allclose(pool(states, mask), pool(bare, ones), atol=1e-5)
    assert torch.equal(last_step(states, mask), states[:, length - 1])


@given(length=st.integers(1, 9), padding=st.integers(0, 5))
def test_reversing_turns_the_valid_steps_alone(length: int, padding: int):
    states, mask = clip(length, padding, seed=0)
    turned = reverse_steps(states, mask)
    assert torch.equal(turned[:, :length], states[:, :length].flip(1))
    assert torch.equal(turned[:, length:], states[:, length:])
    assert torch.equal(reverse_steps(turned, mask), states)


def test_statistics_are_those_of_the_valid_steps():
    states, mask = clip(5, 2, seed=1)
    mean, deviation, lowest, highest = masked_statistics(states, mask)[0].chunk(4)
    valid = states[0, :5]
    assert torch.allclose(mean, valid.mean(0))
    assert torch.allclose(deviation, valid.std(0, correction=0), atol=1e-4)
    assert torch.equal(lowest, valid.amin(0))
    assert torch.equal(highest, valid.amax(0))


def test_a_clip_without_a_valid_step_gives_finite_numbers_and_gradients():
    states = torch.randn(2, 3, 4, requires_grad=True)
    mask = torch.tensor([[0, 0, 0], [1, 1, 1]], dtype=torch.int32)
    pooled = masked_statistics(states, mask)
    assert torch.equal(pooled[0], torch.zeros(16))
    pooled.sum().backward()
    assert states.grad is not None
    assert torch.isfinite(states.grad).all()

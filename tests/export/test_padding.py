"""Whether a module reads what stands behind its masks is measured."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="export starts from PyTorch")

from taemi_edge.export.padding import padding_effect
from tests.export import heads
from tests.export.heads import LENGTHS, SCORES, SOUND, SOUND_MASK, WORDS


class Convolved(torch.nn.Module):
    """The convolution carries padding into the last live step."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = torch.nn.Conv1d(5, 8, 3, padding=1), torch.nn.Linear(8, 3)

    def forward(self, sound, sound_mask):
        x = self.conv(sound.transpose(1, 2)).transpose(1, 2)
        return self.head(heads.masked_mean(x, sound_mask))


def test_a_head_that_gathers_the_last_live_step_is_blind_to_padding():
    assert padding_effect(heads.Gathered(), (SOUND, SOUND_MASK), (SCORES,), LENGTHS) < 1e-6


def test_a_convolution_over_padding_is_not():
    torch.manual_seed(0)
    assert padding_effect(Convolved(), (SOUND, SOUND_MASK), (SCORES,), LENGTHS) > 0.1


def test_without_masks_there_is_no_padding():
    assert padding_effect(heads.Crossmodal(), (SOUND, WORDS), (SCORES,), LENGTHS) == 0

"""What is done to padded sequences under their masks: pooling them, reading their last step, turning them round.

A mask has 1 for each valid step of a clip, then 0 for the padding up to the longest clip. Nothing here looks into a
mask with a Python branch, so that every function stays dynamic when it is exported.

Shapes in this file: B clips, T steps, d features.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Further out than any aligned feature, and within FP16: masked steps are moved there for a minimum or a maximum.
_BEYOND = 10_000.0
#: Keeps the root's gradient finite where every step is the same.
_LEAST_VARIANCE = 1e-6


def masked_mean(states: Tensor, mask: Tensor) -> Tensor:
    """The mean over the steps whose mask is 1, (B, d), of states (B, T, d) with a mask (B, T).

    Example:
        >>> masked_mean(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1, 1, 0]])).tolist()
        [[2.0]]
    """
    weights = mask.to(states.dtype).unsqueeze(2)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1.0)


def masked_statistics(states: Tensor, mask: Tensor) -> Tensor:
    """Mean, standard deviation, minimum and maximum over the steps whose mask is 1, (B, 4 d).

    A constant gives the same at every length: itself three times, and a deviation of nearly 0. A clip without a valid
    step gives zeros.

    Example:
        >>> statistics = masked_statistics(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1, 1, 0]]))
        >>> [round(value, 3) for value in statistics[0].tolist()]
        [2.0, 1.0, 1.0, 3.0]
    """
    mean = masked_mean(states, mask)
    variance = masked_mean((states - mean.unsqueeze(1)).square(), mask)
    valid = mask.to(states.dtype).unsqueeze(2)
    excluded = (1 - valid) * _BEYOND
    some = valid.amax(1)
    lowest = (states * valid + excluded).amin(1) * some
    highest = (states * valid - excluded).amax(1) * some
    return torch.cat([mean, torch.sqrt(variance + _LEAST_VARIANCE) * some, lowest, highest], dim=1)


def last_step(states: Tensor, mask: Tensor) -> Tensor:
    """The states at the last step whose mask is 1, (B, d): where a recurrence has read the whole clip, and no padding.

    Example:
        >>> last_step(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1, 1, 0]])).tolist()
        [[3.0]]
    """
    last = (mask.long().sum(1) - 1).clamp(min=0)
    return states.gather(1, last.view(-1, 1, 1).expand(-1, 1, states.shape[2]))[:, 0]


def reverse_steps(states: Tensor, mask: Tensor) -> Tensor:
    """The same clips with their valid steps in the opposite order; the padding stays at the end. Twice is no change.

    A recurrence reads this where it goes backwards: reversed with its padding, a clip would begin with the padding.

    Example:
        >>> reverse_steps(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1, 1, 0]])).flatten().tolist()
        [3.0, 1.0, 9.0]
    """
    places = torch.ones_like(mask).long().cumsum(1) - 1  # 0 to T - 1 in every row
    length = mask.long().sum(1, keepdim=True)
    turned = torch.where(places < length, length - 1 - places, places)
    return states.gather(1, turned.unsqueeze(2).expand(-1, -1, states.shape[2]))

"""Is a module blind to padding? Whether its outputs depend on what stands behind its masks.

A window of several sources is padded to the longest of them. A module that reads what stands there, because a
convolution, a recurrence or a pooling does not know the mask, gives a source other outputs in company than alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from taemi_edge.bundle.values import TensorSpec
from taemi_edge.export.example_feeds import Examples, with_garbage
from taemi_edge.export.modules import in_evaluation, run_module
from taemi_edge.export.reference_cases import fitting_ids, live_steps


@torch.no_grad()
def padding_effect(
    module: nn.Module,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    lengths: Mapping[str, int],
    examples: Mapping[str, Tensor] | None = None,
) -> float:
    """Measure how much other values at masked positions change a module's outputs, as a part of the largest output.

    Args:
        module: on the CPU; it is in evaluation mode afterwards.
        inputs: the input tensors; `X_mask` is the mask of `X`, and `mask` that of whatever has its batch and steps.
        outputs: the output tensors; steps that are masked themselves do not count.
        lengths: a length for every dynamic dimension, with a batch of 2 or more.
        examples: real values for some inputs, with the batch first.

    Returns:
        0 for a module without masks and for one that is blind to padding, up to rounding; infinity where its outputs
        become no numbers.

    Example:
        >>> x = TensorSpec(name="x", dtype="float32", shape=("batch", "steps", 4))
        >>> mask = TensorSpec(name="x_mask", dtype="int32", shape=("batch", "steps"))
        >>> class Mean(nn.Module):
        ...     def forward(self, x, x_mask):
        ...         return x.mean(1)
        >>> y = TensorSpec(name="y", dtype="float32", shape=("batch", 4))
        >>> padding_effect(Mean(), (x, mask), (y,), {"batch": 2, "steps": 6}) > 1
        True
    """
    with in_evaluation(module):
        feeds = fitting_ids(module, Examples(inputs, examples or {}), lengths).at(lengths)
        clean = run_module(module, feeds, outputs)
        padded = run_module(module, with_garbage(inputs, feeds), outputs)
    live = live_steps(inputs, outputs, feeds)
    effects = [0.0]
    for name, want in clean.items():
        counts = live.get(name, ...)
        difference = (padded[name][counts] - want[counts]).abs().max()
        largest = want[counts].abs().max().clamp(min=1e-12)
        effects.append(float((difference / largest).nan_to_num(nan=float("inf"))))
    return max(effects)

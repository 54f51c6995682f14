"""Example inputs for a module, made from the description of its input tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from taemi_edge.bundle.values import TensorSpec


def example_feeds(inputs: tuple[TensorSpec, ...], lengths: Mapping[str, int]) -> dict[str, Tensor]:
    """Make one tensor for each input: ones for int32 (ids and masks), a sine wave for the other dtypes.

    Args:
        inputs: the input tensors; a string in a shape names a dynamic dimension.
        lengths: the length of every dynamic dimension.

    Example:
        >>> mask = TensorSpec(name="mask", dtype="int32", shape=("batch", 3))
        >>> example_feeds((mask,), {"batch": 2})["mask"].shape
        torch.Size([2, 3])
    """
    example = {}
    for spec in inputs:
        shape = [lengths[d] if isinstance(d, str) else d for d in spec.shape]
        dtype = getattr(torch, spec.dtype)
        example[spec.name] = torch.ones(shape, dtype=dtype) if spec.dtype == "int32" else _ramp(shape, dtype)
    return example


def _ramp(shape: list[int], dtype: torch.dtype) -> Tensor:
    """A sine wave: values that are neither constant nor random. A uint8 tensor gets 28 to 228."""
    count = int(torch.tensor(shape).prod())
    wave = torch.sin(torch.arange(count, dtype=torch.float32) * 0.1).view(shape)
    return (wave * 100 + 128).to(dtype) if dtype == torch.uint8 else wave.to(dtype)

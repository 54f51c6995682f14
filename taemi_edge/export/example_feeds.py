"""Example inputs for a module, made from the description of its input tensors.

They are made to be telling: every row of a mask has another number of ones, because a module that is traced with masks
of ones may export without its masks, and nobody notices until streams of different lengths share a call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from taemi_edge.bundle.values import Array, TensorSpec

#: What stands at masked positions where a check asks whether they are read.
GARBAGE = 100.0

Masks = Literal["ragged", "full"]


@dataclass(frozen=True)
class Examples:
    """Makes example feeds of any length for the inputs of a module.

    Attributes:
        inputs: the input tensors; a string in a shape names a dynamic dimension.
        given: real values for some inputs, with the batch first; they are repeated or cut to the length asked for.
        ids_below: ids that are not given are 1 to `ids_below - 1`.
    """

    inputs: tuple[TensorSpec, ...]
    given: Mapping[str, Tensor] = field(default_factory=dict)
    ids_below: int = 2

    def at(self, lengths: Mapping[str, int], masks: Masks = "ragged") -> dict[str, Tensor]:
        """Make one tensor for each input; `lengths` has the length of every dynamic dimension."""
        feeds: dict[str, Tensor] = {}
        for spec in self.inputs:
            shape = [lengths[d] if isinstance(d, str) else d for d in spec.shape]
            dtype = getattr(torch, spec.dtype)
            if is_mask(spec):
                feeds[spec.name] = _mask(shape, dtype, masks, turn=sum(map(is_mask, self.inputs[: len(feeds)])))
            elif spec.name in self.given:
                feeds[spec.name] = _fitted(self.given[spec.name], shape).to(dtype)
            elif spec.dtype in ("int32", "int64"):
                feeds[spec.name] = _ids(shape, dtype, self.ids_below)
            else:
                feeds[spec.name] = _ramp(shape, dtype)
        return feeds


def example_feeds(inputs: tuple[TensorSpec, ...], lengths: Mapping[str, int]) -> dict[str, Tensor]:
    """Make one tensor for each input: ragged masks, ids of one, a sine wave for the other dtypes.

    Args:
        inputs: the input tensors; a string in a shape names a dynamic dimension.
        lengths: the length of every dynamic dimension.

    Example:
        >>> mask = TensorSpec(name="mask", dtype="int32", shape=("batch", 3))
        >>> example_feeds((mask,), {"batch": 2})["mask"].tolist()
        [[1, 1, 1], [1, 1, 0]]
    """
    return Examples(inputs).at(lengths)


def as_tensors(arrays: Mapping[str, Array]) -> dict[str, Tensor]:
    """Arrays as tensors of their own memory."""
    return {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}


def is_mask(spec: TensorSpec) -> bool:
    """Say whether an input is a mask: whole numbers (batch, steps) under the name `mask` or `STREAM_mask`.

    Example:
        >>> is_mask(TensorSpec(name="imu_mask", dtype="int32", shape=("batch", "imu_steps")))
        True
    """
    return spec.dtype.startswith("int") and len(spec.shape) == 2 and (spec.name == "mask" or spec.name[-5:] == "_mask")


def masks_of(inputs: tuple[TensorSpec, ...]) -> dict[str, str]:
    """Pair inputs with their masks: `X` with `X_mask`, and with `mask` whatever has its batch and steps.

    Returns:
        The name of the mask of every input that has one.
    """
    pairs = {}
    for mask in filter(is_mask, inputs):
        owner = mask.name.removesuffix("_mask")
        for spec in inputs:
            if not is_mask(spec) and spec.shape[:2] == mask.shape and (spec.name == owner or mask.name == "mask"):
                pairs[spec.name] = mask.name
    return pairs


def with_garbage(inputs: tuple[TensorSpec, ...], feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put other values at the masked positions of every input that has a mask."""
    changed = dict(feeds)
    for name, mask in masks_of(inputs).items():
        value, live = feeds[name], feeds[mask].bool()
        live = live.view(*live.shape, *[1] * (value.dim() - 2))
        # other ids are ids that the module knows: those of the row, in reverse
        garbage = torch.full_like(value, GARBAGE) if value.is_floating_point() else value.flip(1)
        changed[name] = torch.where(live, value, garbage)
    return changed


def _mask(shape: list[int], dtype: torch.dtype, masks: Masks, turn: int) -> Tensor:
    """Ones at the front of each row, in every row another number; `turn` gives each mask another full row."""
    rows, steps = shape
    if masks == "full":
        return torch.ones(shape, dtype=dtype)
    live = [max(1, -(-steps * (rows - (row + turn) % rows) // rows)) for row in range(rows)]
    return (torch.arange(steps) < torch.tensor(live)[:, None]).to(dtype)


def _ids(shape: list[int], dtype: torch.dtype, below: int) -> Tensor:
    """Ids that jump about in 1 to `below - 1`."""
    count = torch.Size(shape).numel()
    return (torch.arange(count) * 7919 % max(1, below - 1) + 1).to(dtype).view(shape)


def _fitted(example: Tensor, shape: list[int]) -> Tensor:
    """Repeat or cut an example along every axis until it has a shape."""
    repeats = [-(-want // have) for want, have in zip(shape, example.shape, strict=True)]
    return example.repeat(repeats)[tuple(slice(want) for want in shape)].contiguous()


def _ramp(shape: list[int], dtype: torch.dtype) -> Tensor:
    """A sine wave: values that are neither constant nor random. A uint8 tensor gets 28 to 228."""
    count = torch.Size(shape).numel()
    wave = torch.sin(torch.arange(count, dtype=torch.float32) * 0.1).view(shape)
    return (wave * 100 + 128).to(dtype) if dtype == torch.uint8 else wave.to(dtype)

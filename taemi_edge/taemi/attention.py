"""Multi-head attention under a key mask, written so that every exporter keeps its lengths dynamic.

Shapes in this file: B clips, Tq and T steps of the queries and the keys, d the shared width of the fusion.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention without `nn.MultiheadAttention`, inside which exporters freeze the key length.

    Keys carry no positions, so a constant tiled along the keys gives what the constant alone gives.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, dim // heads
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, queries: Tensor, keys: Tensor, key_mask: Tensor) -> Tensor:
        q = self._split(self.query(queries)) * self.head_dim**-0.5  # (B, heads, Tq, head_dim)
        k, v = self._split(self.key(keys)), self._split(self.value(keys))
        scores = torch.matmul(q, k.transpose(2, 3)) + additive_mask(key_mask, q.dtype)[:, None, None, :]
        mixed = torch.matmul(torch.softmax(scores, dim=-1), v).transpose(1, 2).flatten(2)  # (B, Tq, d)
        attended: Tensor = self.out(mixed)
        return attended

    def _split(self, states: Tensor) -> Tensor:
        batch, steps, _ = states.shape
        return states.view(batch, steps, self.heads, self.head_dim).transpose(1, 2)


def additive_mask(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Turn a mask into a term for attention scores: 0 where the mask is 1, and -10,000 where it is 0.

    The number is finite, so that a fully masked row gives no NaN, and it fits FP16.

    Example:
        >>> additive_mask(torch.tensor([1, 0]), torch.float32).tolist()
        [-0.0, -10000.0]
    """
    return (1 - mask.to(dtype)) * -10_000.0

"""Attention written out, so that the TorchScript exporter keeps its lengths dynamic.

PyTorch's `nn.MultiheadAttention`, and with it `nn.TransformerEncoder`, reshapes by lengths that the TorchScript tracer
takes for constants: the graph then runs at the traced length alone. While a module is traced, `written_out_attention`
puts the same computation in its place, in operations that the tracer follows. The module itself does not change, and
the graph is compared with what PyTorch's own attention gives.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_PYTORCHS = functional.multi_head_attention_forward
_SIGNATURE = inspect.signature(_PYTORCHS)

#: What `_attend` does not write out: PyTorch's own function stays in charge of it.
_RARE = ("bias_k", "bias_v", "add_zero_attn", "static_k", "static_v")


@contextmanager
def written_out_attention(module: nn.Module) -> Iterator[None]:
    """Trace the `nn.MultiheadAttention` layers of a module with their lengths dynamic; see the module's docstring.

    A module without such a layer is traced as it is.

    Example:
        >>> attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
        >>> x = torch.randn(2, 5, 8)
        >>> with written_out_attention(attention):
        ...     written_out = attention(x, x, x)[0]
        >>> torch.allclose(written_out, attention(x, x, x)[0], atol=1e-6)
        True
    """
    if not any(isinstance(layer, nn.MultiheadAttention) for layer in module.modules()):
        yield
        return
    functional.multi_head_attention_forward = _attend_or_delegate
    try:
        yield
    finally:
        functional.multi_head_attention_forward = _PYTORCHS


def _attend_or_delegate(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
    given = _SIGNATURE.bind(*args, **kwargs).arguments
    rare = any(given.get(name) is not None and given[name] is not False for name in _RARE)
    if rare or given["query"].dim() != 3 or given.get("training", True):
        return _PYTORCHS(*args, **kwargs)
    return _attend(given)


def _attend(given: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
    """Multi-head attention over (T, B, D), as `torch.nn.functional.multi_head_attention_forward` describes it."""
    heads, width = given["num_heads"], given["embed_dim_to_check"]
    projected = _projections(given, width)
    q, k, v = (_split(x, -1, (heads, width // heads)).permute(1, 2, 0, 3) for x in projected)  # (B, H, T, D/H)
    scores = torch.matmul(q, k.transpose(-2, -1)) / math.sqrt(width // heads)
    for mask in (_head_mask(given.get("attn_mask"), heads), _key_mask(given.get("key_padding_mask"))):
        if mask is not None:
            scores = scores.masked_fill(mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    weights = scores.softmax(-1)
    values = torch.matmul(weights, v)
    if not given.get("need_weights", True):
        values = _without_hidden_rows(values, _key_mask(given.get("key_padding_mask")))
    joined = values.permute(2, 0, 1, 3).flatten(2)  # (T, B, D)
    out = functional.linear(joined, given["out_proj_weight"], given["out_proj_bias"])
    if not given.get("need_weights", True):
        return out, None
    return out, weights.mean(1) if given.get("average_attn_weights", True) else weights


def _without_hidden_rows(values: Tensor, mask: Tensor | None) -> Tensor:
    """Zeros where a mask hides all keys of a row, as `scaled_dot_product_attention` has it; a softmax gives NaN there.

    Where the weights are asked for, PyTorch itself gives NaN.
    """
    if mask is None:
        return values
    shown = ~mask if mask.dtype == torch.bool else mask > -math.inf
    return values.masked_fill(shown.to(values.dtype).amax(-1, keepdim=True) == 0, 0.0)


def _projections(given: dict[str, Any], width: int) -> list[Tensor]:
    if given.get("use_separate_proj_weight"):
        weights = [given[f"{name}_proj_weight"] for name in "qkv"]
    else:
        weights = list(given["in_proj_weight"].split(width))
    bias = given["in_proj_bias"]
    biases = [None] * 3 if bias is None else list(bias.split(width))
    inputs = (given["query"], given["key"], given["value"])
    return [functional.linear(x, w, b) for x, w, b in zip(inputs, weights, biases, strict=True)]


def _head_mask(mask: Tensor | None, heads: int) -> Tensor | None:
    """(T, S) or (B * H, T, S) as something that broadcasts over (B, H, T, S)."""
    if mask is None or mask.dim() == 2:
        return mask
    return _split(mask, 0, (-1, heads))


def _split(x: Tensor, axis: int, sizes: tuple[int, int]) -> Tensor:
    split: Tensor = x.unflatten(axis, sizes)  # type: ignore[no-untyped-call]
    return split


def _key_mask(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else mask[:, None, None, :]

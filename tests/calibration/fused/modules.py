"""Small networks of the classes that are rewritten for processors, exported as the project exports any model."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from taemi_edge.bundle.values import TensorSpec
from taemi_edge.export.tracing import export_module

FEATURES, HEADS = 24, 3


class SelfAttention(nn.Module):
    """Attention in as many ways as people write it.

    Args:
        way: "sdpa", "eager" (scores by hand), "filled" (masked_fill), "packed" (one product, split into heads),
            "split" (one product, split into three), or "batched" (three axes, as bmm takes them).
        causal: whether a step sees only those before it.
    """

    def __init__(self, way: str, causal: bool = False) -> None:
        super().__init__()
        self.way, self.causal = way, causal
        self.norm = nn.LayerNorm(FEATURES)
        self.query, self.key, self.value = (nn.Linear(FEATURES, FEATURES, bias=b) for b in (True, False, True))
        self.packed, self.out = nn.Linear(FEATURES, 3 * FEATURES), nn.Linear(FEATURES, FEATURES)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        batch, steps, _ = x.shape
        size = FEATURES // HEADS
        heads = (batch, steps, HEADS, size)
        normal = self.norm(x)
        if self.way == "packed":
            query, key, value = self.packed(normal).reshape(batch, steps, 3, HEADS, size).permute(2, 0, 3, 1, 4)
        elif self.way == "split":
            parts = self.packed(normal).split(FEATURES, dim=-1)
            query, key, value = (part.view(heads).transpose(1, 2) for part in parts)
        else:
            query, key, value = (f(normal).view(heads).transpose(1, 2) for f in (self.query, self.key, self.value))
        seen = mask[:, None, None, :].bool()
        if self.causal:
            seen = seen & torch.ones(steps, steps, dtype=torch.bool).tril()
        if self.way in ("sdpa", "packed", "split"):
            made = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        elif self.way == "batched":
            query, key, value = (t.reshape(batch * HEADS, steps, size) for t in (query, key, value))
            scores = torch.bmm(query / size**0.5, key.transpose(1, 2))
            made = torch.bmm(scores.softmax(-1), value).view(batch, HEADS, steps, size)
        elif self.way == "filled":
            scores = (query @ key.transpose(-1, -2) / size**0.5).masked_fill(~seen, torch.finfo(torch.float32).min)
            made = scores.softmax(-1) @ value
        else:
            made = ((query * size**-0.5) @ key.transpose(2, 3) + (1.0 - seen.float()) * -1e9).softmax(-1) @ value
        return x + self.out(made.transpose(1, 2).reshape(batch, steps, FEATURES))


class Ways(nn.Module):
    """One layer after another, each with attention written in another way."""

    def __init__(self, *ways: tuple[str, bool]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(SelfAttention(way, causal) for way, causal in ways)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, mask)
        return x


class Layers(nn.Module):
    """PyTorch's own encoder layers."""

    def __init__(self, norm_first: bool = True) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(FEATURES, HEADS, 32, batch_first=True, norm_first=norm_first)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.layers(x, src_key_padding_mask=mask == 0)


class CrossAttention(nn.Module):
    """A head in which one sequence reads another, and both are pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(FEATURES, HEADS, batch_first=True)

    def forward(self, x: Tensor, x_mask: Tensor, y: Tensor, y_mask: Tensor) -> Tensor:
        made, _ = self.attend(x, y, y, key_padding_mask=y_mask == 0, need_weights=False)
        weights = x_mask[..., None].float()
        return (made * weights).sum(1) / weights.sum(1).clamp(min=1)


class Recurrence(nn.Module):
    """A GRU over a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(FEATURES, 16, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.gru(x)[0][:, -1]


def exported(module: nn.Module, folder: Path, streams: tuple[str, ...] = ("x",), masks: bool = True) -> bytes:
    """Export a module that takes sequences with masks, and give the content of the file."""
    torch.manual_seed(0)
    inputs = []
    for name in streams:
        inputs.append(TensorSpec(name=name, dtype="float32", shape=("batch", f"{name}_steps", FEATURES)))
        if masks:
            spec = "mask" if len(streams) == 1 else f"{name}_mask"
            inputs.append(TensorSpec(name=spec, dtype="int32", shape=("batch", f"{name}_steps")))
    ones = (torch.ones(2, 5, FEATURES) if spec.dtype == "float32" else torch.ones(2, 5).int() for spec in inputs)
    with torch.no_grad():
        shape = module.eval()(*ones).shape
    out = TensorSpec(name="out", dtype="float32", shape=("batch", *(["x_steps"] if len(shape) == 3 else []), shape[-1]))
    file = folder / "part.onnx"
    export_module(module, file, tuple(inputs), (out,), lengths={"batch": 2, "x_steps": 5, "y_steps": 7}, opset=17)
    return file.read_bytes()

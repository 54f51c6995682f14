"""Small networks with random weights: an encoder for each kind of stream, and heads of every sort, as ONNX graphs."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from taemi_edge.bundle.spec import HeadSpec
from taemi_edge.bundle.streams import AudioSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.bundle.values import HEAD, PartSpec, TensorSpec

Axes = dict[str, dict[int, str]]


class Pixels(nn.Module):
    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, dim)

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.tanh(self.linear(pixels.float().flatten(1) / 255))


class Words(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(100, dim)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Each word beside the mean of all: what a padded text gives must not depend on the padding."""
        kept = mask.float().unsqueeze(-1)
        words = self.embedding(ids) * kept
        return words + words.sum(1, keepdim=True) / kept.sum(1, keepdim=True)


class Sound(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(1, dim, 10, 10)

    def forward(self, samples: Tensor) -> Tensor:
        return torch.tanh(self.convolution(samples.unsqueeze(1))).transpose(1, 2)


class MeanOfRows(nn.Module):
    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, dim)

    def forward(self, values: Tensor) -> Tensor:
        return torch.tanh(self.linear(values)).mean(1)


class Head(nn.Module):
    """A mean of each stream: under its mask, with a weight for each place where the order matters."""

    def __init__(self, dims: list[int], head: HeadSpec) -> None:
        super().__init__()
        self.spec = head
        self.mood = nn.Linear(sum(dims), 3)
        self.state = nn.Linear(sum(dims), 2)

    def forward(self, *features: Tensor) -> tuple[Tensor, Tensor]:
        step = 2 if self.spec.masks else 1
        masks = features[1::2] if self.spec.masks else (None,) * len(features)
        pooled = torch.cat([self.pool(x, mask) for x, mask in zip(features[::step], masks, strict=True)], dim=1)
        return self.mood(pooled), self.state(pooled)

    def pool(self, x: Tensor, mask: Tensor | None) -> Tensor:
        places = torch.cumsum(torch.ones_like(x[..., :1]), 1)
        weights = 1.0 / places if self.spec.order_matters else torch.ones_like(places)
        if mask is None:
            return (x * weights).sum(1)
        weights = weights * mask.unsqueeze(-1).float()
        return (x * weights).sum(1) / (weights.sum(1) + 1e-6)


def seed(number: int) -> None:
    """Make the weights that follow those of a number."""
    torch.manual_seed(number)


def export_encoder(folder: Path, name: str, spec: StreamSpec) -> PartSpec:
    """Write the encoder of a stream as NAME.onnx."""
    dim = spec.feature_dim
    net: nn.Module
    axes: Axes = {}
    if isinstance(spec, VideoSpec):
        clip = (spec.clip_frames,) if spec.clip_frames > 1 else ()
        shape = (*clip, *spec.size_hw, 3)
        net, feeds = Pixels(int(np.prod(shape)), dim), {"pixels": torch.zeros(2, *shape, dtype=torch.uint8)}
    elif isinstance(spec, TextSpec):
        ids = torch.ones(2, 7, dtype=torch.int32)
        net, feeds = Words(dim), {"ids": ids, "mask": ids}
        axes = {name: {1: "tokens"} for name in ("ids", "mask", "features")}
    elif isinstance(spec, AudioSpec):
        net, feeds = Sound(dim), {"samples": torch.zeros(2, 80)}
        axes = {"samples": {1: "samples"}, "features": {1: "steps"}}
    elif spec.chunk_s:
        net, feeds = MeanOfRows(spec.channels, dim), {"values": torch.zeros(2, 15, spec.channels)}
        axes = {"values": {1: "rows"}}
    else:
        net, feeds = nn.Sequential(nn.Linear(spec.channels, dim), nn.Tanh()), {"values": torch.zeros(2, spec.channels)}
    return _exported(net, folder / f"{name}.onnx", feeds, ["features"], axes)


def export_head(folder: Path, streams: dict[str, StreamSpec], head: HeadSpec) -> PartSpec:
    """Write a head that reads these streams as fusion.onnx."""
    feeds: dict[str, Tensor] = {}
    axes: Axes = {}
    for name, spec in streams.items():
        feeds[name] = torch.randn(2, 4, spec.feature_dim)
        axes[name] = {1: f"{name}_steps"}
        if head.masks:
            feeds[f"{name}_mask"] = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]], dtype=torch.int32)
            axes[f"{name}_mask"] = {1: f"{name}_steps"}
    net = Head([spec.feature_dim for spec in streams.values()], head)
    return _exported(net, folder / f"{HEAD}.onnx", feeds, ["mood", "state"], axes)


def _exported(net: nn.Module, file: Path, feeds: dict[str, Tensor], outputs: list[str], axes: Axes) -> PartSpec:
    net = net.eval()
    dynamic = {name: {0: "batch", **axes.get(name, {})} for name in (*feeds, *outputs)}
    options: dict[str, Any] = {"input_names": list(feeds), "output_names": outputs, "dynamic_axes": dynamic}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter speaks of its successor
        torch.onnx.export(net, tuple(feeds.values()), str(file), **options, dynamo=False, opset_version=17)
    with torch.no_grad():
        found = net(*feeds.values())
    values = {**feeds, **dict(zip(outputs, found if isinstance(found, tuple) else (found,), strict=True))}

    def spec(name: str) -> TensorSpec:
        dtype: Any = str(values[name].dtype).removeprefix("torch.")
        shape = tuple(dynamic[name].get(axis, size) for axis, size in enumerate(values[name].shape))
        return TensorSpec(name=name, dtype=dtype, shape=shape)

    return PartSpec(
        file=file.name,
        inputs=tuple(map(spec, feeds)),
        outputs=tuple(map(spec, outputs)),
        precision="fp32",
        opset=17,
        parameters=sum(p.numel() for p in net.parameters()),
    )

"""A small model that a drive fits: a camera `eye`, an IMU `wrist` and words `talk`. Its weights are random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn

import taemi_edge as te
from tests.robots.material import IMU_RATE_HZ, SPOKEN

SIZE, WIDTH = 48, 12


class Eye(nn.Module):
    """Pictures, uint8 (B, 48, 48, 3), to features (B, 12)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 5, stride=3), nn.ReLU(), nn.Conv2d(8, WIDTH, 3, stride=2))

    def forward(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.layers(pixels.to(torch.float32).permute(0, 3, 1, 2) / 127.5 - 1.0).mean((2, 3))
        return features


class Wrist(nn.Module):
    """Rows at 200 Hz, (B, T, channels), to features at 20 Hz, (B, T / 10, 12)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer = nn.Conv1d(channels, WIDTH, 10, stride=10)

    def forward(self, values: Tensor) -> Tensor:
        return torch.tanh(self.layer(values.transpose(1, 2) / 5.0)).transpose(1, 2)


class Talk(nn.Module):
    """Token ids and their mask, int32 (B, T), to features (B, T, 12)."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.table = nn.Embedding(words, WIDTH)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        features: Tensor = self.table(ids) * mask.to(torch.float32).unsqueeze(2)
        return features


class Head(nn.Module):
    """Two numbers, (B, 2), from the mean of each stream's steps."""

    def __init__(self, widths: tuple[int, int, int]) -> None:
        super().__init__()
        self.answer = nn.Linear(sum(widths), 2)

    def forward(
        self, eye: Tensor, eye_mask: Tensor, wrist: Tensor, wrist_mask: Tensor, talk: Tensor, talk_mask: Tensor
    ) -> Tensor:
        pooled = []
        for steps, mask in ((eye, eye_mask), (wrist, wrist_mask), (talk, talk_mask)):
            weights = mask.to(steps.dtype).unsqueeze(2)
            pooled.append((steps * weights).sum(1) / weights.sum(1).clamp(min=1.0))
        numbers: Tensor = self.answer(torch.cat(pooled, dim=1))
        return numbers


def export_robot(folder: Path, channels: int = 6) -> Path:
    """Export it; `channels` are those of the IMU: 6, or 10 with the orientation."""
    torch.manual_seed(0)
    tokenizer = _tokenizer()
    streams = {
        "eye": te.Stream(te.Video((SIZE, SIZE), 5.0), Eye(), missing="mask"),
        "wrist": te.Stream(te.Series(channels, rate_hz=IMU_RATE_HZ, chunk_s=0.5), Wrist(channels), missing="mask"),
        "talk": te.Stream(te.Text(tokenizer, 16), Talk(tokenizer.get_vocab_size()), missing="mask"),
    }
    samples = _samples(tokenizer, SIZE, channels)
    return _export(folder, "robot", streams, Head((WIDTH, WIDTH, WIDTH)), samples)


def export_large_robot(folder: Path) -> Path:
    """One of the size that robots run: EfficientNet-lite0 and MiniLM with the weights of others; all else is random."""
    from taemi_edge.taemi.checkpoint import open_checkpoint

    torch.manual_seed(0)
    made = open_checkpoint("taemi-mobile")
    made.model.eval()
    tokenizer = Tokenizer.from_str(made.tokenizer_json)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    seen, said = made.model.vision, made.model.text
    size = made.recipe.vision.size_hw[0]
    streams = {
        "eye": te.Stream(te.Video((size, size), 5.0), seen, missing="mask"),
        "wrist": te.Stream(te.Series(6, rate_hz=IMU_RATE_HZ, chunk_s=0.5), Wrist(6), missing="mask"),
        "talk": te.Stream(te.Text(tokenizer, 64), said, missing="mask"),
    }
    ids = torch.ones(1, 2, dtype=torch.int32)
    with torch.no_grad():
        widths = (seen(torch.zeros(1, size, size, 3, dtype=torch.uint8)).shape[-1], WIDTH, said(ids, ids).shape[-1])
    return _export(folder, "large-robot", streams, Head(widths), _samples(tokenizer, size, 6))


def _export(folder: Path, name: str, streams: Any, head: nn.Module, samples: list[dict[str, Any]]) -> Path:
    outputs = {"effort": te.Regression(["push", "turn"])}
    model = te.Model(streams, head, outputs, samples=samples, window_s=2.0, hop_s=0.5, name=name)
    te.export_model(model, folder)
    return folder


def _samples(tokenizer: Tokenizer, size: int, channels: int) -> list[dict[str, Any]]:
    random = np.random.default_rng(0)
    return [
        {
            "eye/pixels": random.integers(0, 255, (10, size, size, 3), np.uint8),
            "wrist/values": random.normal(size=(2 * IMU_RATE_HZ, channels)).astype(np.float32),
            "talk/ids": np.array(tokenizer.encode(words).ids, np.int32),
            "label/effort": random.normal(size=2).astype(np.float32),
        }
        for words in ("after two years", "the United States", "together with partners has") * 2
    ]


def _tokenizer() -> Tokenizer:
    words = ["[UNK]", *dict.fromkeys(word.strip(",.") for _, _, word in SPOKEN), ",", "."]
    made = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made

"""Makes the three ONNX files of this example, which stand for files that somebody else handed over.

    python examples/only-onnx/make_onnx.py

They are as such files are: ids and masks are int64 and have the names that transformers gives them, the picture's input
is called `image`, and the head has two outputs. The weights are random (seeded): nothing here has learnt anything.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

HERE = Path(__file__).parent
PICTURE_WIDTH, WORDS_WIDTH = 16, 12


class Picture(nn.Module):
    """Pictures, uint8 (B, 32, 32, 3), to features (B, 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 5, stride=2), nn.ReLU(), nn.Conv2d(8, PICTURE_WIDTH, 3, stride=2))

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.layers(image.to(torch.float32).permute(0, 3, 1, 2) / 255.0).mean((2, 3))
        return features


class Words(nn.Module):
    """Token ids and their mask, int64 (B, T), to features (B, T, 12), each with the mean of its window mixed in."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.mix = nn.Embedding(259, WORDS_WIDTH), nn.Linear(2 * WORDS_WIDTH, WORDS_WIDTH)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states, weights = self.table(input_ids), attention_mask.to(torch.float32).unsqueeze(2)
        mean = (states * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True).clamp(min=1.0)
        return torch.tanh(self.mix(torch.cat([states, mean.expand_as(states)], dim=2)))


class Head(nn.Module):
    """Features of both streams with their masks to three logits (B, 3) and one number (B, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(PICTURE_WIDTH + WORDS_WIDTH, 16), nn.GELU())
        self.topic, self.interest = nn.Linear(16, 3), nn.Linear(16, 1)

    def forward(
        self, picture: Tensor, picture_mask: Tensor, words: Tensor, words_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        pooled = []
        for steps, mask in ((picture, picture_mask), (words, words_mask)):
            weights = mask.to(steps.dtype).unsqueeze(2)
            pooled.append((steps * weights).sum(1) / weights.sum(1).clamp(min=1.0))
        states = self.layers(torch.cat(pooled, dim=1))
        return self.topic(states), torch.sigmoid(self.interest(states))


def write(module: nn.Module, file: Path, inputs: dict[str, Tensor], outputs: tuple[str, ...]) -> None:
    """Trace a module into an ONNX file whose first dimension, and second of sequences, is dynamic."""
    axes = {name: {0: "batch"} if name == "image" else {0: "batch", 1: f"{name}_steps"} for name in inputs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            str(file),
            input_names=[*inputs],
            output_names=[*outputs],
            dynamic_axes={**axes, **{name: {0: "batch"} for name in outputs}},
            opset_version=17,
            dynamo=False,
        )


def main() -> None:
    """Write the three files beside this one."""
    torch.manual_seed(0)
    ids = torch.randint(3, 259, (2, 7))
    write(Picture(), HERE / "picture.onnx", {"image": torch.zeros(2, 32, 32, 3, dtype=torch.uint8)}, ("features",))
    write(Words(), HERE / "words.onnx", {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, ("states",))
    feeds = {
        "picture": torch.randn(2, 3, PICTURE_WIDTH),
        "picture_mask": torch.ones(2, 3, dtype=torch.int32),
        "words": torch.randn(2, 7, WORDS_WIDTH),
        "words_mask": torch.ones(2, 7, dtype=torch.int32),
    }
    write(Head(), HERE / "head.onnx", feeds, ("logits", "score"))


if __name__ == "__main__":
    main()

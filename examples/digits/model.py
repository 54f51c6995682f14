"""Ten digits from six views, any of which may be missing: six encoders, one head, and a learned vector for each view.

This file is all that `taemi-edge export` needs:

    taemi-edge export examples/digits/model.py:build --output export/digits

The weights lie beside it. The environment variable DIGITS_WEIGHTS names others, which `train.py --output` has written.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from digits_data import NAMES, VIEWS, load_few
from safetensors.torch import load_file
from torch import Tensor, nn

import taemi_edge as te

WEIGHTS = Path(os.environ.get("DIGITS_WEIGHTS") or Path(__file__).with_name("weights.safetensors"))
#: How many features each encoder gives. They differ on purpose: the head aligns them.
WIDTHS = {"fac": 32, "fou": 24, "kar": 32, "mor": 8, "pix": 32, "zer": 24}
ALIGNED = 48
HEADS = 4


class ViewEncoder(nn.Module):
    """Encodes the numbers of a view, (B, C), as features (B, D). The mean and the scale of each number lie inside."""

    mean: Tensor
    scale: Tensor

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))
        self.layers = nn.Sequential(nn.Linear(channels, 64), nn.GELU(), nn.Linear(64, width))

    def forward(self, values: Tensor) -> Tensor:
        features: Tensor = self.layers((values - self.mean) / self.scale)
        return features


class DigitsHead(nn.Module):
    """Ten logits, (B, 10), from the features of six views, each (B, T, D) with a mask (B, T); a view has one step."""

    def __init__(self) -> None:
        super().__init__()
        self.align = nn.ModuleDict({view: nn.Linear(width, ALIGNED) for view, width in WIDTHS.items()})
        self.which_view = nn.Parameter(torch.randn(len(WIDTHS), ALIGNED) * 0.02)
        self.query, self.key, self.value, self.mix = (nn.Linear(ALIGNED, ALIGNED) for _ in range(4))
        self.classify = nn.Linear(ALIGNED, len(NAMES))

    def forward(
        self,
        fac: Tensor,
        fac_mask: Tensor,
        fou: Tensor,
        fou_mask: Tensor,
        kar: Tensor,
        kar_mask: Tensor,
        mor: Tensor,
        mor_mask: Tensor,
        pix: Tensor,
        pix_mask: Tensor,
        zer: Tensor,
        zer_mask: Tensor,
    ) -> Tensor:
        views = zip(WIDTHS, (fac, fou, kar, mor, pix, zer), self.which_view, strict=True)
        steps = torch.cat([self.align[view](features) + which for view, features, which in views], dim=1)  # (B, 6T, d)
        mask = torch.cat([fac_mask, fou_mask, kar_mask, mor_mask, pix_mask, zer_mask], dim=1).to(steps.dtype)
        steps = steps + self.mix(self._attention(steps, mask))
        weights = mask.unsqueeze(2)
        mean = (steps * weights).sum(1) / weights.sum(1).clamp(min=1.0)
        logits: Tensor = self.classify(mean)
        return logits

    def _attention(self, steps: Tensor, mask: Tensor) -> Tensor:
        """Self-attention written out: `nn.MultiheadAttention` freezes the batch when it is exported."""
        q, k, v = (self._by_head(project(steps)) for project in (self.query, self.key, self.value))
        scores = q @ k.transpose(2, 3) * (ALIGNED // HEADS) ** -0.5 + (1 - mask[:, None, None, :]) * -10_000.0
        attended: Tensor = (scores.softmax(3) @ v).transpose(1, 2).flatten(2)  # (B, T, d)
        return attended

    def _by_head(self, steps: Tensor) -> Tensor:
        heads: Tensor = steps.unflatten(2, (HEADS, ALIGNED // HEADS)).transpose(1, 2)  # (B, heads, T, d / heads)
        return heads


class DigitsModel(nn.Module):
    """The whole model as it is trained. `forward` takes which views are live, and reads the tokens of the others."""

    def __init__(self) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({view: ViewEncoder(channels, WIDTHS[view]) for view, channels in VIEWS.items()})
        self.tokens = nn.ParameterDict({view: nn.Parameter(torch.randn(width) * 0.5) for view, width in WIDTHS.items()})
        self.head = DigitsHead()

    def forward(self, views: dict[str, Tensor], live: Tensor, *, zeros: bool = False) -> Tensor:
        """Logits (B, 10) from six views, each (B, C), and which of them are live, bool (B, 6)."""
        feeds = []
        for at, view in enumerate(WIDTHS):
            token = torch.zeros_like(self.tokens[view]) if zeros else self.tokens[view]
            features = torch.where(live[:, at, None], self.encoders[view](views[view]), token)
            feeds += [features.unsqueeze(1), torch.ones(len(live), 1)]
        logits: Tensor = self.head(*feeds)
        return logits


def trained() -> DigitsModel:
    """The model with its trained weights: those of seed 0, unless DIGITS_WEIGHTS names others."""
    model = DigitsModel()
    model.load_state_dict(load_file(WEIGHTS))
    return model.eval()


def build() -> te.Model:
    """The model as taemi-edge takes it."""
    model = trained()
    views, digits = load_few()
    return te.Model(
        streams={
            view: te.Stream(te.Series(channels), model.encoders[view], missing=model.tokens[view].detach())
            for view, channels in VIEWS.items()
        },
        head=model.head,
        outputs={"digit": te.Classes(NAMES)},
        samples=[
            {**{f"{view}/values": values[row] for view, values in views.items()}, "label/digit": digits[row]}
            for row in range(len(digits))
        ],
        window_s=1.0,
        hop_s=1.0,
        metric="accuracy",
    )

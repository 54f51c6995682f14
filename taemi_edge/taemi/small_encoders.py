"""Encoders of a few ten thousand parameters, for a model that is trained as a whole: `taemi-nano`.

They are named in a recipe as any architecture is: `small-cnn` for pictures, `mel-cnn` for a log-mel spectrogram. Both
are convolutions and ReLU alone, without batch statistics, so that a clip is encoded alike in training and on a device.

Shapes in this file: B pictures or segments, T steps of sound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from taemi_edge.errors import CheckpointError

SMALL_CNN, MEL_CNN = "small-cnn", "mel-cnn"


class SmallCnn(nn.Module):
    """A convolutional network for small pictures, (B, 3, H, W), which gives one vector each as a map (B, D, 1, 1).

    Each of `channels` halves the picture. The last convolution sees the whole map at once, so it knows where in the
    face a mouth or a brow is, which a mean over the map would not.

    Example:
        >>> import torch
        >>> SmallCnn((32, 32), channels=(4, 8), narrow=2, features=5)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5, 1, 1])
    """

    def __init__(self, size_hw: tuple[int, int], channels: Sequence[int], narrow: int, features: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width, (height, breadth) = 3, size_hw
        for wider in channels:
            layers += [nn.Conv2d(width, wider, 3, stride=2, padding=1), nn.ReLU()]
            width, height, breadth = wider, (height + 1) // 2, (breadth + 1) // 2
        layers += [nn.Conv2d(width, narrow, 1), nn.ReLU(), nn.Conv2d(narrow, features, (height, breadth))]
        self.layers = nn.Sequential(*layers)

    def forward(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.layers(pixels)
        return features


class MelCnn(nn.Module):
    """A convolutional network for log-mel spectrograms, (B, mels, frames), which gives (B, T, D).

    Args:
        mels: bands of the spectrogram, which has a frame each 10 ms.
        channels: of each convolution; the last one is D.
        strides: of each convolution. Strides that multiply to 10 give ten steps a second.

    Example:
        >>> import torch
        >>> MelCnn(8, channels=(4, 6), strides=(2, 5))(torch.zeros(3, 8, 50)).shape
        torch.Size([3, 5, 6])
    """

    def __init__(self, mels: int, channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.num_mel_bins = mels
        layers: list[nn.Module] = []
        width = mels
        for wider, stride in zip(channels, strides, strict=True):
            layers += [nn.Conv1d(width, wider, 5, stride=stride, padding=2), nn.ReLU()]
            width = wider
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, mels: Tensor) -> Tensor:
        features: Tensor = self.layers(mels)
        return features.permute(0, 2, 1)


def small_encoder(architecture: str, config: Mapping[str, Any], size_hw: tuple[int, int]) -> nn.Module:
    """Build one of this module's encoders as a recipe describes it.

    Raises:
        CheckpointError: a key of `config` is unknown or missing, or holds what is no size.
    """
    try:
        if architecture == SMALL_CNN:
            return SmallCnn(size_hw, **config)
        return MelCnn(**config)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"encoder {architecture!r}: expected its sizes as `config`, got {error}") from error

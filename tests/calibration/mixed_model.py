"""A model of four streams for the tests: a recurrent head without masks, numbers and classes, a required stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the model is written in PyTorch")
pytest.importorskip("onnx", reason="graphs are quantised with onnx")

from torch import Tensor, nn

import taemi_edge as te
from taemi_edge.bundle.folder import Bundle

STREAMS = ("camera", "microphone", "motion", "pulse")
_D = 6


class Camera(nn.Module):
    """Two pictures (B, 2, 8, 8, 3) to a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(6, 8, 3, stride=2), nn.Linear(8, _D)

    def forward(self, pixels: Tensor) -> Tensor:
        planes = pixels.float().permute(0, 1, 4, 2, 3).flatten(1, 2) / 255
        return self.out(torch.relu(self.conv(planes)).mean((2, 3)))


class Microphone(nn.Module):
    """Sound (B, samples) to a step for each 20 samples, by grouped convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(1, 8, 20, stride=20), nn.Conv1d(8, _D, 3, padding=1, groups=2)

    def forward(self, samples: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(samples[:, None]))).transpose(1, 2)


class Motion(nn.Module):
    """Rows (B, steps, 3) to steps, by a GRU in both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.out = nn.GRU(3, 8, batch_first=True, bidirectional=True), nn.Linear(16, _D)

    def forward(self, values: Tensor) -> Tensor:
        return self.out(self.recurrent(values)[0])


class Head(nn.Module):
    """Reads the order of the steps, and takes no masks."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.GRU(_D, 12, batch_first=True)
        self.norm, self.mix = nn.LayerNorm(12), nn.Linear(12, 12)
        self.state, self.load = nn.Linear(12, 3), nn.Linear(12, 2)

    def forward(self, camera: Tensor, microphone: Tensor, motion: Tensor, pulse: Tensor) -> dict[str, Tensor]:
        steps = self.recurrent(torch.cat([camera, microphone, motion, pulse], 1))[0]
        fused = torch.tanh(self.mix(self.norm(steps.mean(1))))
        return {"state": self.state(fused) * 3, "load": self.load(fused)}


def model() -> Any:
    torch.manual_seed(0)
    return te.Model(
        streams={
            "camera": te.Stream(te.Video((8, 8), 5.0, clip_frames=2), Camera(), missing=torch.randn(_D)),
            "microphone": te.Stream(te.Audio(400, 0.5, context_s=0.25), Microphone(), missing="zeros"),
            "motion": te.Stream(te.Series(3, rate_hz=10.0, chunk_s=1.0), Motion(), missing=torch.randn(2, _D)),
            "pulse": te.Stream(te.Series(2), nn.Linear(2, _D), required=True),
        },
        head=Head(),
        outputs={"state": te.Classes(["rest", "walk", "run"]), "load": te.Regression(["left", "right"])},
        samples=[sample(number) for number in range(6)],
        window_s=2.0,
        hop_s=0.5,
    )


def sample(number: int, *missing: str) -> dict[str, Any]:
    """Two seconds of every stream but those that are missing; honest noise with a state and a load in it."""
    rng = np.random.default_rng(number)
    state, load = number % 3, rng.random(2)
    motion = rng.normal(size=(20, 3)) * (0.2 + state) + np.sin(np.arange(20) * state)[:, None]
    arrays = {
        "camera/pixels": rng.integers(0, 256, (7, 8, 8, 3)).astype(np.uint8),
        "microphone/samples": (rng.normal(size=800) * 0.2 * (1 + state)).astype(np.float32),
        "motion/values": motion.astype(np.float32),
        "pulse/values": (rng.normal(size=(5, 2)) + load).astype(np.float32),
        "label/state": np.array(state),
        "label/load": load.astype(np.float32),
    }
    return {key: value for key, value in arrays.items() if key.partition("/")[0] not in missing}


def samples(count: int, first: int = 100) -> list[dict[str, Any]]:
    """Samples of which every third lacks a stream that is not required."""
    lost = ((), ("camera",), ())
    return [sample(first + number, *lost[number % 3]) for number in range(count)]


def export(folder: Path) -> Bundle:
    bundle, report = te.export_model(model(), folder)
    assert report.ok
    return bundle

"""Trains the gestures on synthetic data, and says what each stream is worth.

    python examples/gesture/train.py --output weights.safetensors

It draws 2,100 gestures to learn from and 700 to judge; each stream is dropped from a quarter of the training gestures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from gesture_data import NAMES, gestures
from model import GestureModel
from safetensors.torch import save_file
from torch import Tensor, nn

EPOCHS, BATCH, LEARNING_RATE = 24, 64, 3e-3
#: Which streams are live: camera, IMU.
PATTERNS = {"both": (True, True), "camera alone": (True, False), "IMU alone": (False, True)}

Tensors = tuple[Tensor, Tensor, Tensor]


def tensors(count: int, seed: int) -> Tensors:
    """Pictures, values and labels of `count` synthetic gestures."""
    drawn = gestures(count, seed)
    pictures, imu = np.stack([one.pictures for one in drawn]), np.stack([one.imu for one in drawn])
    labels = [NAMES.index(one.name) for one in drawn]
    return torch.from_numpy(pictures), torch.from_numpy(imu), torch.tensor(labels)


def train(data: Tensors, seed: int) -> GestureModel:
    """Train with modality dropout: each stream alone is lost in a quarter of the gestures."""
    torch.manual_seed(seed)
    pictures, imu, labels = data
    model = GestureModel()
    steps = -(-len(labels) // BATCH)
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=EPOCHS * steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(labels)).split(BATCH):
            drawn = torch.rand(len(rows))
            live = torch.stack([drawn >= 0.25, drawn < 0.75], dim=1)
            loss = nn.functional.cross_entropy(model(pictures[rows], imu[rows], live), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return model.eval()


def accuracies(model: GestureModel, data: Tensors) -> dict[str, float]:
    """Accuracy in each presence pattern."""
    pictures, imu, labels = data
    found = {}
    for name, live in PATTERNS.items():
        with torch.no_grad():
            best = model(pictures, imu, torch.tensor([live]).expand(len(labels), -1)).argmax(1)
        found[name] = float((best == labels).float().mean())
    return found


def main() -> None:
    """Train, judge, print, and write the weights where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="where to write the weights, as safetensors")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = train(tensors(2100, seed=1), options.seed)
    for name, accuracy in accuracies(model, tensors(700, seed=2)).items():
        print(f"| {name} | {accuracy:.3f} |")
    if options.output:
        save_file(model.state_dict(), options.output)


if __name__ == "__main__":
    main()

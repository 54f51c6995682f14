"""Trains the doorway's model on synthetic data, and says what each stream is worth.

    python examples/doorway/train.py --output weights.safetensors

It draws 900 visits to learn from and 300 to judge; each stream is dropped from a quarter of the training visits.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from doorway_data import NAMES, visits
from model import DoorwayModel, LogMel
from safetensors.torch import save_file
from torch import Tensor, nn

EPOCHS, BATCH, LEARNING_RATE = 24, 50, 2e-3
#: Which streams are live: camera, microphone.
PATTERNS = {"both": (True, True), "camera alone": (True, False), "microphone alone": (False, True)}

Tensors = tuple[Tensor, Tensor, Tensor]


def tensors(count: int, seed: int) -> Tensors:
    """Pictures, spectra (which are fixed, so they are computed once) and labels of `count` synthetic visits."""
    drawn = visits(count, seed)
    log_mel = LogMel()
    spectra = torch.cat([log_mel(torch.from_numpy(visit.samples)[None]) for visit in drawn])
    pictures, labels = np.stack([visit.pictures for visit in drawn]), np.stack([visit.labels for visit in drawn])
    return torch.from_numpy(pictures), spectra, torch.from_numpy(labels)


def train(data: Tensors, seed: int) -> DoorwayModel:
    """Train with modality dropout and learned tokens."""
    torch.manual_seed(seed)
    pictures, spectra, labels = data
    model = DoorwayModel()
    steps = -(-len(labels) // BATCH)
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=EPOCHS * steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(labels)).split(BATCH):
            drawn = torch.rand(len(rows))
            live = torch.stack([drawn >= 0.25, drawn < 0.75], dim=1)
            loss = nn.functional.mse_loss(model(pictures[rows], spectra[rows], live), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return model.eval()


def concordance(predicted: Tensor, true: Tensor) -> Tensor:
    """Lin's concordance correlation of each column, (3,), over the whole split."""
    means, variances = (predicted.mean(0), true.mean(0)), (predicted.var(0), true.var(0))
    covariance = ((predicted - means[0]) * (true - means[1])).sum(0) / (len(true) - 1)
    return 2 * covariance / (variances[0] + variances[1] + (means[0] - means[1]) ** 2)


def concordances(model: DoorwayModel, data: Tensors) -> dict[str, list[float]]:
    """The concordance of valence, arousal and dominance in each presence pattern."""
    pictures, spectra, labels = data
    found = {}
    for name, live in PATTERNS.items():
        with torch.no_grad():
            predicted = model(pictures, spectra, torch.tensor([live]).expand(len(labels), -1))
        found[name] = concordance(predicted, labels).tolist()
    return found


def main() -> None:
    """Train, judge, print, and write the weights where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="where to write the weights, as safetensors")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = train(tensors(900, seed=1), options.seed)
    print(f"| CCC | {' | '.join(NAMES)} | mean |")
    for name, values in concordances(model, tensors(300, seed=2)).items():
        print(f"| {name} | {' | '.join(f'{v:.2f}' for v in values)} | {np.mean(values):.2f} |")
    if options.output:
        save_file(model.state_dict(), options.output)


if __name__ == "__main__":
    main()

"""Trains the digits on the real data set, and says how well they are read when views are missing.

    python examples/digits/train.py --seeds 3
    python examples/digits/train.py --seed 1 --output runs/digits-1.safetensors

For each seed it trains three times, ten seconds each: with modality dropout and learned tokens, with modality dropout
and zeros, and with neither. The table is the accuracy on the test split. `--output` writes the weights of the first
seed with dropout and tokens: `weights.safetensors` was made so. `--seed` trains one seed alone, with dropout and
tokens.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import torch
from digits_data import VIEWS, Labels, Views, load_digits
from model import DigitsModel
from safetensors.torch import save_file
from torch import Tensor, nn

EPOCHS, BATCH, LEARNING_RATE = 60, 64, 4e-3


def train(seed: int, *, dropout: bool, zeros: bool) -> DigitsModel:
    """Train on the 1,200 digits of the training split.

    Modality dropout: half of the digits lose each view with probability .5; one view at least stays.
    """
    torch.manual_seed(seed)
    views, digits = load_digits("train")
    model = DigitsModel()
    for view, values in views.items():
        model.encoders[view].get_buffer("mean").copy_(torch.from_numpy(values.mean(0)))
        model.encoders[view].get_buffer("scale").copy_(torch.from_numpy(values.std(0) + 1e-6))
    inputs, labels = {view: torch.from_numpy(values) for view, values in views.items()}, torch.from_numpy(digits)
    steps = -(-len(labels) // BATCH)
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=EPOCHS * steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(labels)).split(BATCH):
            live = _draw_live(len(rows)) if dropout else torch.ones(len(rows), len(VIEWS), dtype=torch.bool)
            logits = model({view: values[rows] for view, values in inputs.items()}, live, zeros=zeros)
            loss = nn.functional.cross_entropy(logits, labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return model.eval()


def _draw_live(rows: int) -> Tensor:
    lossy = torch.rand(rows, 1) < 0.5
    live = ~(lossy & (torch.rand(rows, len(VIEWS)) < 0.5))
    live[torch.arange(rows), torch.randint(len(VIEWS), (rows,))] = True
    return live


def accuracies(model: DigitsModel, views: Views, digits: Labels, *, zeros: bool) -> dict[str, float]:
    """Accuracy with all views, with a random half of them lost, over all 63 patterns, and with one view alone."""
    inputs, labels = {view: torch.from_numpy(values) for view, values in views.items()}, torch.from_numpy(digits)
    generator = torch.Generator().manual_seed(0)
    halves = torch.rand(len(labels), len(VIEWS), generator=generator).argsort(1) < len(VIEWS) // 2

    def accuracy(live: Tensor) -> float:
        with torch.no_grad():
            best = model(inputs, live.expand(len(labels), -1), zeros=zeros).argmax(1)
        return float((best == labels).float().mean())

    patterns = {p: accuracy(torch.tensor([p])) for p in itertools.product((False, True), repeat=len(VIEWS)) if any(p)}
    alone = {view: patterns[tuple(other == view for other in VIEWS)] for view in VIEWS}
    return {
        "all six": patterns[(True,) * len(VIEWS)],
        "a random half lost": accuracy(halves),
        "mean of 63 patterns": float(np.mean(list(patterns.values()))),
        "worst pattern": min(patterns.values()),
        **{f"{view} alone": value for view, value in alone.items()},
    }


#: By the name of the column: whether views are lost in training, and whether zeros stand for them.
VARIANTS = {"tokens + dropout": (True, False), "zeros + dropout": (True, True), "zeros, no dropout": (False, True)}


def main() -> None:
    """Train, judge, print, and write the first seed's weights where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, help="this seed alone, with dropout and tokens")
    parser.add_argument("--output", type=Path, help="where to write the weights of the first seed, as safetensors")
    options = parser.parse_args()
    torch.set_num_threads(1)
    alone = options.seed is not None
    variants = dict(list(VARIANTS.items())[:1]) if alone else VARIANTS
    columns: dict[str, list[dict[str, float]]] = {variant: [] for variant in variants}
    views, digits = load_digits("test")
    for number, seed in enumerate([options.seed] if alone else range(options.seeds)):
        for variant, (dropout, zeros) in variants.items():
            model = train(seed, dropout=dropout, zeros=zeros)
            columns[variant].append(accuracies(model, views, digits, zeros=zeros))
            if options.output and number == 0 and variant == "tokens + dropout":
                options.output.parent.mkdir(parents=True, exist_ok=True)
                save_file(model.state_dict(), options.output)
    seeds = f"seed {options.seed}" if alone else f"mean of {options.seeds} seeds"
    print(f"| test accuracy, {seeds} | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name in columns["tokens + dropout"][0]:
        means = [np.mean([found[name] for found in column]) for column in columns.values()]
        print(f"| {name} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")


if __name__ == "__main__":
    main()

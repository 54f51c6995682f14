"""Puts a trained head among the package's assets, where `fusion.weights = "package:NAME"` of a recipe finds it.

    python tools/ship_head.py checkpoints/taemi-mobile taemi-mobile-synthetic

docs/how-to/training.md has the commands that made the one that ships.
"""

from __future__ import annotations

import sys
from pathlib import Path

from taemi_edge.taemi.checkpoint import load_checkpoint, save_head

COMMANDS = (
    "taemi-edge synth runs/corpus --clips 900 --seed 0",
    "taemi-edge export taemi-mobile --output export/taemi-mobile",
    "taemi-edge extract export/taemi-mobile --data runs/corpus --output runs/features",
    "taemi-edge train taemi-mobile --data runs/features --output checkpoints/taemi-mobile --threads 2",
)


def main(checkpoint: Path, name: str) -> None:
    assets = Path(__file__).parent.parent / "taemi_edge" / "assets" / "heads"
    file = assets / f"{name}.safetensors"
    save_head(load_checkpoint(checkpoint), file, " && ".join(COMMANDS))
    print(f"{file}: {file.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

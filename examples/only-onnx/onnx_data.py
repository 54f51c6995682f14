"""Writes a table to calibrate on: real pictures with real words, and no labels, since the weights are random.

    python examples/only-onnx/onnx_data.py runs/only-onnx

The pictures are cut from the photograph of Grace Hopper that ships with matplotlib, which is in the public domain; the
words are the sentences of this project's README.
"""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.cbook import get_sample_data

README = Path(__file__).parents[2] / "README.md"
SIZE = 160


def sentences() -> list[str]:
    """The sentences of the README's running text, each between 20 and 120 characters long."""
    paragraphs = README.read_text(encoding="utf-8").split("\n\n")
    running = " ".join(" ".join(p.split()) for p in paragraphs if p[:1].isalpha())
    return [s for s in re.split(r"(?<=[.:;])\s", re.sub(r"[*`\[\]]|\(\S+\)", "", running)) if 20 <= len(s) <= 120]


def write_table(folder: Path, rows: int = 96) -> None:
    """Write `samples.csv` and the pictures that it names: one sample in four is held out to judge on."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    photo: Any = cv2.imread(str(get_sample_data("grace_hopper.jpg", asfileobj=False)))
    words = sentences()
    with (folder / "samples.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("id", "split", "picture", "words"))
        for row in range(rows):
            top, left = (int(random.integers(0, length - SIZE)) for length in photo.shape[:2])
            cv2.imwrite(str(folder / f"{row:03}.png"), photo[top : top + SIZE, left : left + SIZE])
            split = "test" if row % 4 == 3 else "train"
            table.writerow((f"{row:03}", split, f"{row:03}.png", words[row % len(words)]))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("expected one folder to write the table to: python examples/only-onnx/onnx_data.py runs/only-onnx")
    write_table(Path(sys.argv[1]))

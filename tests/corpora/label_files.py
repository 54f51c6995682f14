"""Writing label files and empty media files in tests."""

from __future__ import annotations

from pathlib import Path

from taemi_edge.taemi.vidmimic2 import COLUMNS

HEADER = ",".join(("Filename", *COLUMNS))


ROW = "0.333,0.333,0,0,0.333,0"


def write_labels(folder: Path, *rows: str, split: str = "train", header: str = HEADER) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{split}_split.csv").write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return folder


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()

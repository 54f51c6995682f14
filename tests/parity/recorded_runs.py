"""Recorded runs for tests: what `taemi-edge run --record F.mcap` writes of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from taemi_edge.bundle.folder import open_bundle
from taemi_edge.live.outputs.channels.output import FileRecording
from taemi_edge.live.viewer_config import McapConfig
from taemi_edge.media.rehearsed_losses import parse_drop
from taemi_edge.runtime.files import RunOptions, run_file
from taemi_edge.runtime.json_lines import JsonLines
from taemi_edge.runtime.prediction import Prediction


def record(bundle: Path, place: Path, files: dict[str, Path], *drops: str, **config: Any) -> list[Prediction]:
    """Run a bundle over a file for each stream, and record it; gives what it predicted."""
    opened, source = open_bundle(bundle), files.pop("source", None)
    with FileRecording(opened, McapConfig(file=str(place), **config), None) as viewer:
        options = RunOptions(streams=files, drops=tuple(map(parse_drop, drops)), threads=1, viewer=viewer)
        with JsonLines(place.with_suffix(".jsonl")) as lines:
            return run_file(opened, source, options, lines).predictions

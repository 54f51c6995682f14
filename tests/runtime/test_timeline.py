"""The plot of a run's predictions over time."""

from __future__ import annotations

from pathlib import Path

import pytest


def test_the_timeline_is_drawn(cli, tiny_folder, demo_video, tmp_path: Path):
    pytest.importorskip("matplotlib")
    drop = ["--drop", "vision@2-4", "--plot", tmp_path / "t.png", "--output", tmp_path / "p.jsonl"]
    assert cli("run", tiny_folder, demo_video, *drop).returncode == 0
    assert (tmp_path / "t.png").stat().st_size > 20_000

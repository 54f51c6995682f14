"""The plot of a parity report."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from taemi_edge.parity.comparison import check_parity
from taemi_edge.parity.plot import plot_parity


def test_a_report_becomes_a_picture(tiny_folder: Path, tmp_path: Path):
    plot_parity(*check_parity(str(tiny_folder), threads=1), tmp_path / "parity.png")
    assert (tmp_path / "parity.png").stat().st_size > 10_000

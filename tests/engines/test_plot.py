"""The choice of auto is drawn: candidates that were timed, with their reasons."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="pictures need the extra `plot`")

from taemi_edge.bundle.records import Candidate
from taemi_edge.engines.plot import plot_choice


def test_a_picture_names_what_was_timed(tmp_path: Path):
    candidates = [
        Candidate(
            part="text", precision=precision, median_ms=ms, p95_ms=ms, bytes=1, build_s=1.0, kept=ms == 1.0, reason="x"
        )
        for precision, ms in (("fp32", 2.0), ("fp16", 1.0), ("int8", None))
    ]
    plot_choice(candidates, "engines", tmp_path / "choice.svg")
    assert "</svg>" in (tmp_path / "choice.svg").read_text()

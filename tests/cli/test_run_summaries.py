"""The line at the end of a run."""

from __future__ import annotations

from pathlib import Path

from taemi_edge.cli.run_summaries import _backends, print_summary
from taemi_edge.runtime.files import RunSummary


def test_a_run_without_predictions_and_with_damage(capsys):
    print_summary(Path("a.mp4"), RunSummary(media_s=4.0, damaged_packets=2))
    line = capsys.readouterr().err
    assert line.startswith("a.mp4: 0 predictions, real-time factor")
    assert "2 damaged packets skipped" in line


def test_backends_are_counted_where_there_are_several():
    class Made:
        def __init__(self, backend: str) -> None:
            self.backend = backend

    assert _backends([Made("cpu"), Made("cpu")]) == "on cpu"
    assert _backends([Made("tensorrt+graph"), Made("tensorrt"), Made("tensorrt+graph")]) == (
        "on tensorrt+graph 2, tensorrt 1"
    )

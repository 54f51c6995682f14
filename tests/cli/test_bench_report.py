"""Tables and pictures of a benchmark's report."""

from __future__ import annotations

from pathlib import Path

import pytest

from taemi_edge.bench.power import PowerReport
from taemi_edge.bench.report import OURS, BenchReport, PartTimes, SourcesTimes, Timing, WindowTimes, stats_of
from taemi_edge.cli.bench_report import plot_bench, print_bench

OURS_MS, RIVAL_MS = (Timing(contender=name, wall=stats_of(times)) for name, times in ((OURS, [2.0]), ("torch", [8.0])))
REPORT = BenchReport(
    bundle="b",
    model="taemi-tiny",
    command="taemi-edge bench b",
    machine={"architecture": "x86_64"},
    contenders={OURS: {}, "torch": {}},
    not_run={"onnxruntime-cuda fp32": "no GPU"},
    parts=(PartTimes(part="vision", batch=4, timings=(OURS_MS, Timing(contender="torch", failure="out of memory"))),),
    windows=(WindowTimes(kind="hop", pattern="all", timings=(OURS_MS, RIVAL_MS)),),
    sources=(SourcesTimes(sources=1, timing=OURS_MS, predictions_per_s=500.0),),
    ceilings={"copy_gb_s": 12.5},
    ratios={"torch": 4.0},
    overhead_ms=0.225,
    saved={"audio": 0.5},
    power=PowerReport(),
    seconds=1.0,
)


def test_every_figure_and_failure_is_printed(capsys):
    print_bench(REPORT)
    shown = capsys.readouterr()
    for words in (
        "2 (2)",
        "8 (8)",
        "takes torch 4.00 x as long",
        "adds 225 microseconds",
        "without audio the encoders take 50%",
        "copy gb s 12.5",
    ):
        assert words in shown.out
    assert "vision, batch 4, torch: out of memory" in shown.err
    assert "not run: onnxruntime-cuda fp32: no GPU" in shown.err


def test_the_picture_is_drawn(tmp_path: Path):
    pytest.importorskip("matplotlib")
    plot_bench(REPORT, tmp_path / "b.png")
    assert (tmp_path / "b.png").stat().st_size > 20_000

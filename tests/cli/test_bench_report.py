"""Tables and pictures of a benchmark's report."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from taemi_edge.bench.limits import without_share
from taemi_edge.bench.noise import judged
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


def test_how_near_a_contender_is_stands_beside_its_time(capsys):
    near = Timing(contender=OURS, wall=stats_of([2.0]), pearson=0.999999, max_abs=1e-6)
    fast_and_wrong = Timing(contender="torch", wall=stats_of([1.0]), pearson=0.41234, max_abs=3.5)
    parts = (PartTimes(part="vision", batch=1, timings=(near, fast_and_wrong), share=0.8, fp32_share=1.25),)
    print_bench(msgspec.structs.replace(REPORT, parts=parts, script_ratios={"torch": 8.5}))
    shown = capsys.readouterr().out
    assert ".99999 (1.0e-06)" in shown
    assert ".41233 (3.5e+00)" in shown or ".41234 (3.5e+00)" in shown
    assert "80.0%" in shown
    assert "125.0%" in shown
    assert "a script of torch that encodes its window again takes 8.50 x as long as a hop" in shown


def test_a_reason_is_printed_once(capsys):
    failed = Timing(contender="torch", failure="no such operator")
    windows = tuple(WindowTimes(kind="hop", pattern=name, timings=(OURS_MS, failed)) for name in ("all", "none"))
    print_bench(msgspec.structs.replace(REPORT, windows=windows))
    shown = capsys.readouterr().err
    assert shown.count("no such operator") == 1
    assert "not run: hop, all (and 1 more), torch: no such operator" in shown


def test_the_picture_is_drawn(tmp_path: Path):
    pytest.importorskip("matplotlib")
    plot_bench(REPORT, tmp_path / "b.png")
    assert (tmp_path / "b.png").stat().st_size > 20_000


def test_figures_of_a_busy_machine_are_marked_everywhere(capsys, tmp_path: Path):
    noise = judged(by_others=0.48, load=0.3, spread=0.1)
    parts = (without_share(PartTimes(part="vision", batch=1, timings=(OURS_MS,), share=1.259, fp32_share=1.3)),)
    report = msgspec.structs.replace(REPORT, parts=parts, noise=noise)
    print_bench(report)
    shown = capsys.readouterr()
    assert "125.9%" not in shown.out
    assert "not judged" in shown.out
    assert shown.out.count("[NOISE: the machine was busy]") == 4
    assert "note: the machine was busy (other processes took 48% of its cores), so these figures are noise" in shown.err
    plot_bench(report, tmp_path / "bench.svg")
    drawn = (tmp_path / "bench.svg").read_text()
    assert "NOISE: the machine was busy" in drawn
    assert "not judged: the machine is busy" in drawn
    again = msgspec.json.decode(msgspec.json.encode(report), type=BenchReport)
    assert (again.noise.busy, again.parts[0].share) == (True, None)


def test_a_report_from_before_noise_was_measured_is_read():
    older = msgspec.json.decode(msgspec.json.encode(REPORT))
    del older["noise"]
    assert msgspec.convert(older, BenchReport, strict=False).noise is None

"""Summaries of times."""

from __future__ import annotations

from taemi_edge.bench.report import OURS, Timing, find, stats_of


def test_quantiles_of_single_runs():
    stats = stats_of([float(i) for i in range(1, 102)])
    assert (stats.median, stats.p95, stats.p99, stats.runs) == (51.0, 96.0, 100.0, 101)


def test_no_times_have_no_summary():
    assert stats_of([]) is None


def test_the_clock_of_the_device_is_preferred():
    wall, device = stats_of([2.0]), stats_of([1.0])
    assert Timing(contender=OURS, wall=wall, device=device).best is device
    assert Timing(contender=OURS, wall=wall).best is wall
    assert find([Timing(contender="a"), Timing(contender="b")], "b").contender == "b"

"""Which setting is best, and by how much: ranks, intervals, undefined values."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="training needs the extra `train`")

from taemi_edge.taemi.sweep.results import best_run, rank_rows
from taemi_edge.taemi.sweep.runs import RunLine


def rows_of(found: dict[str, list[float | None]], tests: dict[str, list[float | None]] | None = None):
    lines = {
        (name, seed): RunLine(
            setting=name,
            values={"a": name},
            seed=seed,
            valid=value,
            test=(tests or {}).get(name, [None] * 9)[seed],
            problem="diverged" if value is None else "",
        )
        for name, values in found.items()
        for seed, value in enumerate(values)
    }
    seeds = range(max(len(values) for values in found.values()))
    return rank_rows([({"a": name}, name) for name in found], lines, seeds)


def test_the_mean_on_the_validation_split_chooses_and_the_test_split_does_not():
    rows = rows_of({"x": [0.5, 0.6], "y": [0.7, 0.6]}, {"x": [0.9, 0.9], "y": [0.1, 0.2]})
    assert [row.folder for row in rows] == ["y", "x"]
    assert rows[0].valid.mean == pytest.approx(0.65)
    assert rows[0].test.mean == pytest.approx(0.15)
    assert rows[0].to_best is None
    assert rows[1].to_best.mean == pytest.approx(-0.1)
    assert rows[1].to_best.interval.low == pytest.approx(-0.1 - 12.706 * 0.1, abs=1e-6)  # differences -.2 and 0


def test_a_setting_that_lacks_a_seed_stands_after_those_that_lack_none():
    rows = rows_of({"lucky": [0.9, None], "sound": [0.5, 0.6], "gone": [None, None]})
    assert [row.folder for row in rows] == ["sound", "lucky", "gone"]
    assert (rows[1].valid.mean, rows[1].valid.seeds, rows[1].valid.interval) == (0.9, 1, None)
    assert rows[1].to_best.seeds == 1
    assert rows[1].to_best.mean == pytest.approx(0.4)
    assert rows[1].problems == {"1": "diverged"}
    assert rows[2].valid.mean is None
    assert rows[2].to_best is None


def test_an_undefined_value_is_not_a_zero():
    rows = rows_of({"x": [-0.5, None], "y": [-0.6, -0.6]})
    assert {row.folder: row.valid.mean for row in rows} == {"x": -0.5, "y": -0.6}


def test_the_seed_that_is_best_on_the_validation_split_is_kept():
    rows = rows_of({"x": [0.5, 0.7, 0.7], "y": [0.8, 0.1, 0.1]}, {"x": [0.9, 0.3, 0.4]})
    best = best_run(rows, [4, 5, 6], "runs/{folder}/seed-{seed}/checkpoint")
    assert (best.seed, best.valid, best.test) == (5, 0.7, 0.3)
    assert best.checkpoint == "runs/x/seed-5/checkpoint"
    assert best_run(rows_of({"x": [None]}), [0], "") is None

"""Pictures of sweeps: by how many keys vary, and of what kind their values are."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("matplotlib", reason="pictures need the extra `plot`")

from taemi_edge.taemi.sweep.axes import read_axis
from taemi_edge.taemi.sweep.picture import plot_sweep, spaced_by_factors
from taemi_edge.taemi.sweep.plan import plan_sweep
from taemi_edge.taemi.sweep.results import Sweep, rank_rows
from taemi_edge.taemi.sweep.runs import RunLine

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        (["training.learning_rate=1e-4,1e-3,1e-2"], {}),
        (["fusion.kind=anchored,concat"], {}),
        (["fusion.dim=16,32", "fusion.kind=anchored,concat,late-pooling"], {}),
        (["training.learning_rate=1e-4..1e-2", "fusion.dropout=0..0.5"], {"draws": 12}),
        (["training.learning_rate=1e-4..1e-2", "fusion.dropout=0..0.5", "fusion.kind=anchored,concat"], {"draws": 40}),
        ([], {}),
        (["fusion.missing_tokens=true,false", 'training.modalities=["audio"],["text"]'], {"seeds": 1}),
    ],
    ids=["a curve", "words", "a map", "dots", "a list", "one", "one seed"],
)
def test_every_kind_of_sweep_is_drawn(changes, more, tmp_path):
    plan = plan_sweep("taemi-tiny", [read_axis(*text.split("=", 1)) for text in changes], **{"seeds": 3, **more})
    values, seeds = random.Random(1), range(plan.seeds)
    lines = {
        (s.folder, seed): RunLine(setting=s.folder, values=s.values, seed=seed, valid=values.random(), test=None)
        for s in plan.settings
        for seed in seeds
        if plan.seeds == 1 or seed or s is not plan.settings[-1] or len(plan.settings) == 1  # one value lacks
    }
    rows = rank_rows([(s.values, s.folder) for s in plan.settings], lines, seeds)
    sweep = Sweep(
        recipe="r$1$", data="d", metric="mean_pearson", varied=plan.varied, logarithmic=(), seeds=tuple(seeds),
        rows=rows, best=None, lacking=1, left_out={}, elsewhere=0,
    )  # fmt: skip
    plot_sweep(sweep, tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1e-4, 1e-3, 1e-2], True), ([1, 2, 4, 8], True), ([0.1, 0.2, 0.3], False), ([-1, 1, 10], False), ([1], False),
     ([1, 100], True), ([1, 2], False)],
)  # fmt: skip
def test_values_that_grow_by_factors_have_a_logarithmic_axis(values, expected):
    assert spaced_by_factors(values) is expected

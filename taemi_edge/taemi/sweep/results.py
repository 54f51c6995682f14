"""What a sweep found: a row for each setting, with intervals over the seeds, ordered by the validation split.

The validation split alone chooses. The test split is told beside it: the best of many settings looks better on the
split that chose it than it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from taemi_edge.bundle.values import Frozen
from taemi_edge.parity.metrics import Interval, mean_of, paired_interval
from taemi_edge.taemi.sweep.runs import RunLine


class Figure(Frozen, frozen=True):
    """A mean over seeds.

    Attributes:
        mean: over the seeds whose value is defined; None where none is.
        interval: its 95 % interval (Student's t); None for fewer than two values.
        seeds: how many values there are.
    """

    mean: float | None
    interval: Interval | None
    seeds: int


class Row(Frozen, frozen=True):
    """A setting with what its runs found.

    Attributes:
        values: the setting.
        folder: where its runs are, in the folder `runs` of the sweep.
        valid: mean Pearson on the validation split, over the seeds.
        to_best: the difference to the best setting, paired by seed; None for the best, and where no seed is shared.
        test: mean Pearson on the test split, which chooses nothing.
        by_seed: what each run found on the validation split; None where it is undefined or the run has a problem.
        test_by_seed: the same on the test split.
        problems: why runs have no value, by seed.
    """

    values: dict[str, Any]
    folder: str
    valid: Figure
    to_best: Figure | None
    test: Figure
    by_seed: list[float | None]
    test_by_seed: list[float | None]
    problems: dict[str, str]

    @property
    def lacking(self) -> int:
        """How many seeds have no value."""
        return len(self.by_seed) - self.valid.seeds


class Best(Frozen, frozen=True):
    """The run that is kept as `best`: of the best setting, the seed with the highest value on the validation split."""

    values: dict[str, Any]
    seed: int
    valid: float
    test: float | None
    checkpoint: str


class Sweep(Frozen, frozen=True):
    """The result of a sweep, which is results.json.

    Attributes:
        recipe: the name of the recipe.
        data: what was trained on, in words.
        metric: what is compared.
        varied: the keys that settings differ in.
        logarithmic: those of them that were drawn by their logarithm.
        seeds: the seed of each column of `by_seed`.
        rows: the settings, the best first. Those that lack values of some seeds come after those that lack none.
        best: the run that is kept; None where no run has a value.
        lacking: how many runs are not done yet.
        left_out: why combinations were not tried.
        elsewhere: how many runs of other settings or seeds lie in the folder.
    """

    recipe: str
    data: str
    metric: str
    varied: tuple[str, ...]
    logarithmic: tuple[str, ...]
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    best: Best | None
    lacking: int
    left_out: dict[str, str]
    elsewhere: int

    @property
    def trained(self) -> int:
        """How many runs have a value."""
        return sum(row.valid.seeds for row in self.rows)


def figure(values: Sequence[float | None]) -> Figure:
    """The mean of the values that are defined, with its interval.

    Example:
        >>> figure([0.25, None, 0.75]).mean, figure([0.25, None]).interval
        (0.5, None)
    """
    known = [value for value in values if value is not None]
    interval = paired_interval(np.array(known)) if len(known) > 1 else None
    return Figure(mean=mean_of(list(values)), interval=interval, seeds=len(known))


def rank_rows(
    settings: Sequence[tuple[dict[str, Any], str]], lines: Mapping[tuple[str, int], RunLine], seeds: Sequence[int]
) -> tuple[Row, ...]:
    """Order settings by what their runs found, the best first.

    A setting without a value for some seed comes after all that have every value, whatever its mean: a mean over the
    seeds that went well would flatter it.

    Args:
        settings: the values and the folder of each.
        lines: what runs found, by folder and seed; those that are not done are not in it.
        seeds: of the runs.
    """
    rows = [_row(values, folder, [lines.get((folder, seed)) for seed in seeds], seeds) for values, folder in settings]
    rows.sort(key=lambda row: (row.lacking, -(row.valid.mean or 0.0)))
    return tuple(_compared(row, rows[0]) for row in rows)


def best_run(rows: Sequence[Row], seeds: Sequence[int], folder_of: str) -> Best | None:
    """The run whose checkpoint is kept; of equal ones that with the smallest seed.

    Args:
        rows: the best first.
        seeds: of the runs.
        folder_of: where a run's checkpoint is, with `{folder}` and `{seed}`.
    """
    if not rows or rows[0].valid.mean is None:
        return None
    row = rows[0]
    known = [(value, at) for at, value in enumerate(row.by_seed) if value is not None]
    value, at = max(known, key=lambda pair: (pair[0], -pair[1]))
    return Best(
        values=row.values,
        seed=seeds[at],
        valid=value,
        test=row.test_by_seed[at],
        checkpoint=folder_of.format(folder=row.folder, seed=seeds[at]),
    )


def _row(values: dict[str, Any], folder: str, lines: Sequence[RunLine | None], seeds: Sequence[int]) -> Row:
    valid = [line.valid if line else None for line in lines]
    test = [line.test if line else None for line in lines]
    return Row(
        values=values,
        folder=folder,
        valid=figure(valid),
        to_best=None,
        test=figure(test),
        by_seed=valid,
        test_by_seed=test,
        problems={str(seed): line.problem for seed, line in zip(seeds, lines, strict=True) if line and line.problem},
    )


def _compared(row: Row, best: Row) -> Row:
    if row is best:
        return row
    pairs = [
        mine - other
        for mine, other in zip(row.by_seed, best.by_seed, strict=True)
        if mine is not None and other is not None
    ]
    return Row(
        values=row.values,
        folder=row.folder,
        valid=row.valid,
        to_best=figure(pairs) if pairs else None,
        test=row.test,
        by_seed=row.by_seed,
        test_by_seed=row.test_by_seed,
        problems=row.problems,
    )

"""A sweep to look at: a curve over one key, a map over two, a ranked list over more, each with its intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from taemi_edge.bundle.atomic import new_file
from taemi_edge.pictures import SERIES_COLOURS, literal, new_figure
from taemi_edge.taemi.sweep.plan import in_words, shown
from taemi_edge.taemi.sweep.results import Figure, Row, Sweep

#: A list of more settings than these shows the best of them.
_MOST_ROWS = 30
#: A map of more cells than these has no figures in them.
_MOST_FIGURES = 64
#: Words beside an axis are cut to so many letters.
_LONGEST = 60
_VALID, _TEST, _BEST = SERIES_COLOURS[0], SERIES_COLOURS[1], SERIES_COLOURS[4]


def plot_sweep(sweep: Sweep, file: Path) -> None:
    """Draw a sweep.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    known = [row for row in sweep.rows if row.valid.mean is not None]
    numbers = [_numeric(row.values[key] for row in known) for key in sweep.varied]
    if len(sweep.varied) == 1 and numbers[0] and len(known) > 1:
        figure = new_figure((7.5, 4.5), "taemi-edge sweep")
        _draw_curve(figure.subplots(), sweep, known)
    elif len(sweep.varied) == 2 and len(known) > 1:
        shown_rows = min(len(known), _MOST_ROWS)
        figure = new_figure((13, max(4.5, 0.28 * shown_rows + 1.6)), "taemi-edge sweep")
        left, right = figure.subplots(1, 2)
        _draw_map(figure, left, sweep, known)
        _draw_list(right, sweep, known)
    else:
        figure = new_figure((9, 0.3 * min(len(known), _MOST_ROWS) + 1.8), "taemi-edge sweep")
        _draw_list(figure.subplots(), sweep, known)
    figure.suptitle(literal(f"{sweep.recipe}, {len(sweep.seeds)} seeds, on {sweep.data}"), fontsize=10)
    with new_file(file) as draft:
        figure.savefig(draft, dpi=110)


def spaced_by_factors(values: Sequence[float]) -> bool:
    """Whether values lie more evenly by their logarithms than by themselves.

    >>> spaced_by_factors([0.001, 0.01, 0.1]), spaced_by_factors([1, 2, 3, 4, 5]), spaced_by_factors([0, 1, 10])
    (True, False, False)
    """
    found = np.unique(np.asarray(values, np.float64))
    if len(found) < 2 or found[0] <= 0:
        return False
    if len(found) == 2:
        return bool(found[1] / found[0] >= 10)
    plain, logs = np.diff(found), np.diff(np.log(found))
    return bool(np.std(logs) / np.mean(logs) < np.std(plain) / np.mean(plain))


def _draw_curve(axis: Any, sweep: Sweep, rows: Sequence[Row]) -> None:
    """Mean and interval over one key with numbers; each seed is a dot."""
    key = sweep.varied[0]
    ordered = sorted(rows, key=lambda row: row.values[key])
    x = [row.values[key] for row in ordered]
    test = [(at, row.test) for at, row in zip(x, ordered, strict=True) if row.test.mean is not None]
    _draw_means(
        axis, [(at, row.valid) for at, row in zip(x, ordered, strict=True)], _VALID, "validation, which chooses"
    )
    _draw_means(axis, test, _TEST, "test", beside_pt=6)
    dots = [(at, value) for at, row in zip(x, ordered, strict=True) for value in row.by_seed if value is not None]
    axis.plot(*zip(*dots, strict=True), "_", color=_VALID, markersize=9, alpha=0.7)
    best = sweep.rows[0]
    where = {"color": _BEST, "markersize": 15, "zorder": 5, "label": f"best: {literal(shown(best.values[key]))}"}
    axis.plot(best.values[key], best.valid.mean, "*", **where)
    if _is_log(sweep, key, x):
        axis.set_xscale("log")
    axis.set(xlabel=literal(key), ylabel="mean Pearson, 95 % over the seeds")
    _limit_to_means(axis.set_ylim, rows)
    axis.grid(alpha=0.25)
    axis.legend(frameon=False)


def _draw_means(
    axis: Any, figures: Sequence[tuple[float, Figure]], colour: str, label: str, beside_pt: float = 0.0
) -> None:
    """Means with error bars, moved aside by some points so that two of them do not hide each other."""
    from matplotlib.transforms import offset_copy

    moved = offset_copy(axis.transData, axis.figure, x=beside_pt, units="points")
    style = {"fillstyle": "none", "linestyle": "--"} if beside_pt else {"linestyle": "-"}
    means = [figure.mean for _, figure in figures]
    axis.plot([at for at, _ in figures], means, marker="o", color=colour, label=label, transform=moved, **style)
    for at, figure in figures:
        if figure.interval is not None:
            ends = [figure.interval.low, figure.interval.high]
            axis.plot([at, at], ends, "-", color=colour, lw=1.6, alpha=0.6, transform=moved)


def _draw_list(axis: Any, sweep: Sweep, rows: Sequence[Row]) -> None:
    """The settings from the best down, with intervals."""
    chosen = rows[:_MOST_ROWS]
    for at, row in enumerate(chosen):
        for figure, shift, colour, fill in ((row.valid, -0.12, _VALID, "full"), (row.test, 0.14, _TEST, "none")):
            if figure.mean is None:
                continue
            if figure.interval is not None:
                axis.plot(
                    [figure.interval.low, figure.interval.high], [at + shift] * 2, color=colour, lw=1.6, alpha=0.7
                )
            axis.plot(figure.mean, at + shift, "o", color=colour, fillstyle=fill, markersize=6)
        dots = [value for value in row.by_seed if value is not None]
        axis.plot(dots, [at - 0.12] * len(dots), "|", color=_VALID, markersize=6, alpha=0.7)
    axis.plot([], [], "o-", color=_VALID, label="validation, which chooses")
    axis.plot([], [], "o-", color=_TEST, fillstyle="none", label="test")
    axis.axvline(rows[0].valid.mean, color=_BEST, lw=0.8, ls=":")
    axis.set_yticks(range(len(chosen)), [_name(sweep, row) for row in chosen], fontsize=8)
    axis.set_ylim(len(chosen) - 0.5, -0.5)
    more = f" (the best {_MOST_ROWS} of {len(rows)})" if len(rows) > _MOST_ROWS else ""
    axis.set(xlabel=f"mean Pearson, 95 % over the seeds{more}")
    _limit_to_means(axis.set_xlim, chosen)
    axis.grid(axis="x", alpha=0.25)
    axis.figure.legend(loc="outside lower right", frameon=False, fontsize=8, ncols=2)


def _draw_map(figure: Any, axis: Any, sweep: Sweep, rows: Sequence[Row]) -> None:
    """The validation split over two keys: cells where every combination was tried, else dots where settings lie."""
    x_key, y_key = sweep.varied
    xs, ys = (_in_order(row.values[key] for row in rows) for key in (x_key, y_key))
    if 2 * len(rows) >= len(xs) * len(ys):
        table = np.full((len(ys), len(xs)), np.nan)
        words: dict[tuple[int, int], str] = {}
        for row in rows:
            cell = _place(ys, row.values[y_key]), _place(xs, row.values[x_key])
            table[cell] = row.valid.mean
            words[cell] = f"{row.valid.mean:.3f}" + (f"\n{_seeds(row)}" if row.lacking else "")
        image = axis.imshow(table, aspect="auto", cmap="viridis", origin="lower")
        axis.set_xticks(range(len(xs)), [_label(x) for x in xs], rotation=30 if len(xs) > 4 else 0)
        axis.set_yticks(range(len(ys)), [_label(y) for y in ys])
        if table.size <= _MOST_FIGURES:
            middle = (np.nanmin(table) + np.nanmax(table)) / 2
            for (y, x), value in np.ndenumerate(table):
                text = words.get((y, x), "-")
                axis.text(
                    x, y, text, ha="center", va="center", color="black" if value > middle else "white", fontsize=8
                )
        best = (_place(xs, rows[0].values[x_key]), _place(ys, rows[0].values[y_key]))
        axis.add_patch(_outline(best))
    else:
        sides = [[_position(values, row.values[key]) for row in rows] for values, key in ((xs, x_key), (ys, y_key))]
        image = axis.scatter(*sides, c=[row.valid.mean for row in rows], cmap="viridis", s=60, edgecolors="0.4")
        axis.plot(sides[0][0], sides[1][0], "*", color=_BEST, markersize=16)
        for values, key, scale in ((xs, x_key, axis.set_xscale), (ys, y_key, axis.set_yscale)):
            if _numeric(values) and _is_log(sweep, key, values):
                scale("log")
        for values, ticks in ((xs, axis.set_xticks), (ys, axis.set_yticks)):
            if not _numeric(values):
                ticks(range(len(values)), [_label(value) for value in values])
    axis.set(xlabel=literal(x_key), ylabel=literal(y_key))
    figure.colorbar(image, ax=axis, label="mean Pearson, validation")


def _outline(place: tuple[int, int]) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((place[0] - 0.5, place[1] - 0.5), 1, 1, fill=False, edgecolor=_BEST, lw=2.5)


def _limit_to_means(limit: Any, rows: Sequence[Row]) -> None:
    """Show all means and seeds; an interval of two seeds may be wider than any scale, and is cut then."""
    seen = [value for row in rows for value in (*row.by_seed, *row.test_by_seed, row.valid.mean) if value is not None]
    low, high = min(seen), max(seen)
    room = max(high - low, 0.02)
    ends = [i for row in rows for i in (row.valid.interval, row.test.interval) if i is not None]
    lowest = min([low, *(i.low for i in ends)]) - 0.05 * room
    highest = max([high, *(i.high for i in ends)]) + 0.05 * room
    limit(max(lowest, low - room), min(highest, high + room))


def _is_log(sweep: Sweep, key: str, values: Sequence[float]) -> bool:
    return key in sweep.logarithmic or spaced_by_factors(values)


def _numeric(values: Any) -> bool:
    found = list(values)
    return bool(found) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in found)


def _in_order(values: Any) -> list[Any]:
    """Different values: numbers by size, others in the order in which they came."""
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return sorted(found) if _numeric(found) else found


def _place(values: Sequence[Any], value: Any) -> int:
    return list(values).index(value)


def _position(values: Sequence[Any], value: Any) -> float:
    return float(value) if _numeric(values) else float(_place(values, value))


def _label(value: Any) -> str:
    return literal(_cut(shown(value), 16))


def _name(sweep: Sweep, row: Row) -> str:
    """A setting in words; without the tables that its keys lie in, as long as nothing is mistaken for another."""
    ends = [key.rpartition(".")[2] for key in sweep.varied]
    keys = sweep.varied if len(set(ends)) < len(ends) else ends
    named = {name: row.values[key] for name, key in zip(keys, sweep.varied, strict=True)}
    lacking = f" ({_seeds(row)})" if row.lacking else ""
    return literal(_cut(in_words(named), _LONGEST - len(lacking)) + lacking)


def _seeds(row: Row) -> str:
    return f"{row.valid.seeds} of {len(row.by_seed)} seeds"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"

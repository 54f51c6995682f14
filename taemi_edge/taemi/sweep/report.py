"""A sweep to read: a page with a table of all settings, and what led to the checkpoint that is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from taemi_edge.bundle.atomic import new_file
from taemi_edge.taemi.sweep.plan import in_words, shown
from taemi_edge.taemi.sweep.results import Figure, Row, Sweep

#: Of fewer values of a key, one is always at an end.
_LEAST_VALUES = 3
_HOW = """
Mean Pearson over the whole split, the mean of the seeds. Brackets hold Student's 95 % interval over the seeds; with few
seeds it is wide. "to the best" is the difference on the validation split, paired by seed: where its interval holds 0,
this sweep does not tell the two settings apart. The validation split alone chooses, and the best of many settings
looks better there than it is. The test split chooses nothing. A setting that lacks the value of a seed, because a run
diverged or its correlation is undefined, stands after those that lack none.
"""


def write_page(sweep: Sweep, file: Path, command: str, picture: Path | None) -> None:
    """Write the page.

    Args:
        sweep: the result.
        file: the Markdown file.
        command: the command that made it, to quote on the page.
        picture: a picture in the same folder, to show on the page; None for no picture.
    """
    with new_file(file) as draft:
        draft.write_text("\n".join(_lines(sweep, command, picture)) + "\n", encoding="utf-8")


def cells(sweep: Sweep, row: Row) -> list[str]:
    """A row of the table: the keys that vary, then the figures as `HEADS` names them."""
    setting = [shown(row.values[key]) for key in sweep.varied] or ["the recipe"]
    seeds = str(row.valid.seeds) if not row.lacking else f"{row.valid.seeds} of {len(row.by_seed)}"
    compared = "" if row.to_best is None else in_brackets(row.to_best, sign="+")
    return [*setting, in_brackets(row.valid), compared, in_brackets(row.test), seeds]


#: What stands over the figures of a row.
HEADS = ("valid", "to the best", "test", "seeds")


def heads(sweep: Sweep) -> list[str]:
    """The heads of the table's columns."""
    return [*(sweep.varied or ("setting",)), *HEADS]


def in_brackets(figure: Figure, sign: str = "") -> str:
    """A mean with its interval, such as "0.571 [0.550, 0.592]"; a dash where it is undefined.

    >>> from taemi_edge.taemi.sweep.results import figure
    >>> in_brackets(figure([0.5])), in_brackets(figure([None]))
    ('0.500', '-')
    """
    if figure.mean is None:
        return "-"
    mean = f"{figure.mean:{sign}.3f}"
    found = figure.interval
    return mean if found is None else f"{mean} [{found.low:{sign}.3f}, {found.high:{sign}.3f}]"


def problems(sweep: Sweep) -> Iterator[str]:
    """A line for each run without a value, and for what was not tried."""
    for row in sweep.rows:
        for seed, problem in row.problems.items():
            yield f"{in_words(row.values, sweep.varied)}, seed {seed}: {problem}"
    for what, why in sweep.left_out.items():
        yield f"left out {what}: {why}"


def verdict(sweep: Sweep) -> str:
    """What was chosen, in one sentence."""
    if sweep.best is None:
        return "no run has a value"
    test = "" if sweep.best.test is None else f", {sweep.best.test:.3f} on test"
    best = f"best on valid: {in_words(sweep.best.values, sweep.varied)}"
    return f"{best}; `best` is its seed {sweep.best.seed} ({sweep.best.valid:.3f} on valid{test})"


def hints(sweep: Sweep) -> Iterator[str]:
    """A line for each key whose best value is the last one that was tried in its direction."""
    for key in sweep.varied if sweep.best else ():
        values = [row.values[key] for row in sweep.rows]
        if len(set(map(str, values))) < _LEAST_VALUES or not all(type(value) in (int, float) for value in values):
            continue
        best = sweep.rows[0].values[key]
        for end, words, more in ((max(values), "largest", "larger"), (min(values), "smallest", "smaller")):
            if best == end:
                yield f"the best {key} is the {words} that was tried, {shown(best)}: {more} ones may be better"


def _lines(sweep: Sweep, command: str, picture: Path | None) -> Iterator[str]:
    yield f"# Sweep of {sweep.recipe}"
    yield ""
    runs = len(sweep.rows) * len(sweep.seeds)
    yield f"Made by `{command}`: {len(sweep.rows)} settings, {len(sweep.seeds)} seeds each, on {sweep.data}."
    yield f"{runs - sweep.lacking} of {runs} runs are done: this is not the end." if sweep.lacking else ""
    yield from _HOW.strip().splitlines()
    yield ""
    if picture is not None:
        yield f"![Mean Pearson of the settings, with intervals over the seeds]({picture.name})"
        yield ""
    yield f"{verdict(sweep)[0].upper()}{verdict(sweep)[1:]}."
    yield ""
    yield f"| {' | '.join(heads(sweep))} |"
    yield "|" + "---|" * len(heads(sweep))
    for row in sweep.rows:
        yield f"| {' | '.join(cell.replace('|', '/') for cell in cells(sweep, row))} |"
    for title, lines in (("Where to go on", list(hints(sweep))), ("Not tried, or without a value", [*problems(sweep)])):
        if lines:
            yield from ("", f"## {title}", "")
            yield from (f"- {line}" for line in lines)
    if sweep.elsewhere:
        yield ""
        yield f"{sweep.elsewhere} further runs lie in the folder, of settings or seeds that this call did not name."

"""The page of a sweep: every setting, what was chosen, and what has no value."""

from __future__ import annotations

import msgspec
import pytest

pytest.importorskip("torch", reason="training needs the extra `train`")

from taemi_edge.taemi.sweep.report import cells, heads, hints, verdict, write_page
from taemi_edge.taemi.sweep.results import Best, Sweep
from tests.taemi.sweep.test_results import rows_of


def sweep_of(found: dict[str, list[float | None]], **more: object) -> Sweep:
    rows = rows_of(found, found)
    usual = {
        "recipe": "tiny", "data": "clips", "metric": "mean_pearson", "varied": ("a",), "logarithmic": (),
        "seeds": (0, 1), "rows": rows, "best": Best(values={"a": "x"}, seed=1, valid=0.6, test=None, checkpoint="c"),
        "lacking": 0, "left_out": {"a=z": "too wide"}, "elsewhere": 3,
    }  # fmt: skip
    return Sweep(**{**usual, **more})


def test_the_page_tells_what_was_found_and_what_was_not(tmp_path):
    sweep = sweep_of({"x": [0.5, 0.6], "y": [0.4, None]})
    write_page(sweep, tmp_path / "t.md", "taemi-edge sweep tiny", tmp_path / "picture.png")
    page = (tmp_path / "t.md").read_text()
    assert "| a | valid | to the best | test | seeds |" in page
    assert "| x | 0.550 [-0.085, 1.185] |  | 0.550 [-0.085, 1.185] | 2 |" in page
    assert "| y | 0.400 | -0.100 | 0.400 | 1 of 2 |" in page
    assert "a=y, seed 1: diverged" in page
    assert "left out a=z: too wide" in page
    assert "3 further runs" in page
    assert "`taemi-edge sweep tiny`" in page
    assert "![" in page
    assert "Best on valid: a=x; `best` is its seed 1 (0.600 on valid)." in page


def test_a_page_of_a_sweep_that_was_stopped_says_so(tmp_path):
    write_page(sweep_of({"x": [0.5, 0.6]}, lacking=1), tmp_path / "t.md", "", None)
    assert "1 of 2 runs are done" in (tmp_path / "t.md").read_text()


def test_a_recipe_without_a_change_has_a_row():
    sweep = sweep_of({"x": [0.5, 0.6]}, varied=())
    assert heads(sweep)[0] == "setting"
    assert cells(sweep, sweep.rows[0])[0] == "the recipe"
    assert verdict(sweep).startswith("best on valid: the recipe;")


@pytest.mark.parametrize(
    ("best", "expected"),
    [(4, ["the best a is the largest that was tried, 4: larger ones may be better"]), (2, []),
     (1, ["the best a is the smallest that was tried, 1: smaller ones may be better"])],
)  # fmt: skip
def test_a_best_value_at_the_end_of_what_was_tried_is_told(best, expected):
    values = {name: [0.9 if name == str(best) else 0.1] * 2 for name in ("1", "2", "4")}
    sweep = sweep_of(values)
    rows = tuple(msgspec.structs.replace(row, values={"a": int(row.values["a"])}) for row in sweep.rows)
    assert list(hints(msgspec.structs.replace(sweep, rows=rows))) == expected
    assert not list(hints(sweep))  # words have no ends

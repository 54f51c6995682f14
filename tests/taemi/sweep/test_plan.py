"""The settings of a sweep: combinations, draws, and what the recipe does not allow."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="recipes of TAEMI are trained with torch")

from taemi_edge.errors import RecipeError, UsageError
from taemi_edge.taemi.sweep.axes import read_axis
from taemi_edge.taemi.sweep.plan import Plan, plan_sweep


def plan(*changes: str, **more: object) -> Plan:
    return plan_sweep("taemi-tiny", [read_axis(*text.split("=", 1)) for text in changes], **more)


def test_every_combination_is_tried():
    found = plan("fusion.kind=anchored,concat", "training.learning_rate=1e-3,0.01", seeds=3)
    assert [tuple(setting.values.values()) for setting in found.settings] == [
        ("anchored", 0.001), ("anchored", 0.01), ("concat", 0.001), ("concat", 0.01),
    ]  # fmt: skip
    assert found.settings[-1].recipe.fusion.kind == "concat"
    assert found.varied == ("fusion.kind", "training.learning_rate")
    assert len({setting.folder for setting in found.settings}) == 4


def test_a_folder_has_the_same_name_however_a_value_is_written():
    names = [
        plan(*changes).settings[0].folder
        for changes in (
            ("fusion.dim=16", "training.learning_rate=1e-3"),
            ("training.learning_rate=0.001", "fusion.dim=16"),
        )
    ]
    assert names[0] == names[1]
    assert plan("fusion.dim=32").settings[0].folder.startswith("dim=32_")
    odd = plan('training.modalities=["audio"]').settings[0].folder
    assert set(odd) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.=+_-")


def test_combinations_that_the_recipe_does_not_allow_are_left_out_and_told():
    found = plan("fusion.dim=16,24", "fusion.heads=2,16")
    assert len(found.settings) == 3
    assert "multiple of heads" in found.left_out["fusion.dim=24 fusion.heads=16"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["fusion.dim=16,33"], "--set fusion.dim=33: .*multiple of heads"),
        (["fusion.dim=16,wide"], "--set fusion.dim=wide: .*Expected `int`, got `str`"),
        (["fusion.kind=anchored,concatt"], "expected anchored, concat"),
        (["fusion.dropout=1.5"], r"expected dropout and modality_dropout in \[0, 1\)"),
    ],
)
def test_a_value_that_fits_nowhere_is_refused(changes, message):
    with pytest.raises(RecipeError, match=message):
        plan(*changes)


def test_more_draws_begin_with_the_same_settings():
    changes = ["training.learning_rate=1e-4..1e-2", "fusion.dim=8..64", "fusion.kind=anchored,concat"]
    five, eight = (plan(*changes, draws=n, seed=3) for n in (5, 8))
    assert [s.folder for s in eight.settings[:5]] == [s.folder for s in five.settings]
    assert len({s.folder for s in eight.settings}) == 8
    assert all(s.values["fusion.dim"] % 2 == 0 for s in eight.settings)  # odd widths are drawn again
    assert [s.folder for s in plan(*changes, draws=5, seed=4).settings] != [s.folder for s in five.settings]


def test_fewer_settings_than_draws_are_told():
    found = plan("fusion.kind=anchored,concat", draws=5)
    assert len(found.settings) == 2
    assert list(found.left_out) == ["3 of 5 draws"]


@pytest.mark.parametrize(
    ("changes", "more", "message"),
    [
        (["fusion.dim=16", "fusion.dim=32"], {}, "expected it once, with all of its values"),
        (["seed=1,2"], {}, "--seeds sets how many"),
        (["fusion.dropout=0..0.5"], {}, "a range needs --random N"),
        (["fusion.dim=16"], {"draws": 3}, "expected a range to draw from"),
        ([], {"draws": 3}, "expected a range to draw from"),
        (["fusion.dropout=0..0.5"], {"draws": 0}, "expected at least one setting"),
        ([], {"seeds": 0}, "expected at least one seed"),
        (["fusion.dropout=0..0.5"], {"draws": 5001, "seeds": 2}, "10,002 runs, and a sweep makes at most 10,000"),
    ],
)
def test_a_plan_that_cannot_be_meant_is_refused(changes, more, message):
    with pytest.raises(UsageError, match=message):
        plan(*changes, **more)


def test_draws_that_fit_nowhere_are_refused():
    with pytest.raises(RecipeError, match="no draw is a setting that the recipe allows"):
        plan("fusion.kind=1..3", draws=2)


def test_without_a_change_the_recipe_itself_is_the_setting():
    assert [s.folder.rpartition("_")[0] for s in plan(seeds=5).settings] == ["recipe"]

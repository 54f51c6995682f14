"""Tolerances of FP16 and INT8: a recipe's own ones, and those that follow from how large the outputs are."""

from __future__ import annotations

import pytest

pytest.importorskip("onnx", reason="graphs are quantised with onnx")

import msgspec

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.values import END_TO_END
from taemi_edge.calibration.recipe import BudgetRecipe, load_recipe_of
from taemi_edge.calibration.tolerances import golden_magnitudes, tolerances_by_recipe
from taemi_edge.errors import CalibrationError


def test_what_a_recipe_names_is_taken_as_it_is(tiny: Bundle):
    recipe = load_recipe_of("taemi-tiny")
    assert tolerances_by_recipe(tiny, recipe, "int8") == recipe.int8
    assert tolerances_by_recipe(tiny, recipe, "fp32") == tiny.manifest.tolerances


def test_the_rest_follows_from_the_outputs_of_the_golden_feeds(tiny: Bundle):
    recipe, magnitudes = load_recipe_of("another"), golden_magnitudes(tiny)
    found = tolerances_by_recipe(tiny, recipe, "fp16")
    assert set(found) == {*tiny.manifest.part_names, END_TO_END}
    for part in tiny.manifest.part_names:
        assert found[part].max_abs == pytest.approx(
            max(0.02 * max(magnitudes[part].values()), tiny.manifest.tolerances[part].max_abs)
        )


def test_a_recipe_that_names_some_parts_alone(tiny: Bundle):
    recipe = msgspec.structs.replace(load_recipe_of("taemi-tiny"), int8={})
    with pytest.raises(CalibrationError, match=r"expected a tolerance of vision in \[int8\], or \[others.int8\]"):
        tolerances_by_recipe(tiny, recipe, "int8")


@pytest.mark.parametrize(
    ("budget", "fp32", "higher", "allowed"),
    [({}, 0.9, True, 0.01), ({}, 40.0, False, 0.8), ({}, 0.4, False, 0.008), ({"metric_loss": 3.0}, 0.9, True, 3.0)],
    ids=["accuracy", "error", "small error", "given"],
)
def test_how_much_of_a_metric_may_be_lost(budget: dict, fp32: float, higher: bool, allowed: float):
    assert BudgetRecipe(**budget).allowed_loss(fp32, higher) == pytest.approx(allowed)

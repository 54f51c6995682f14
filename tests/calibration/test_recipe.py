"""Calibration recipes: values that no calibration can have are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="graphs are quantised with onnx")


from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.calibration.recipe import CalibrationRecipe, load_recipe_of, recipe_name_of
from tests.cli.checks import refused

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("batch=0", "expected batch >= 1, got 0"),
        ("held_out=0", "expected held_out >= 1, got 0"),
        ("rows=1", "expected rows >= 2"),
        ("percentile=200", "expected 0 < percentile <= 100, got 200"),
        ("alphas=[2]", "expected every alpha between 0 and 1"),
        ("exclude.sound.conv=x", "expected vision, audio, text, fusion in exclude"),
    ],
)
def test_values_that_no_calibration_can_have(change, words, cli_here, tiny_folder, corpus_folder):
    refused(cli_here("calibrate", tiny_folder, "--data", corpus_folder, "--set", change), words)


@pytest.mark.parametrize("file", sorted((ROOT / "calibration").glob("*.toml")), ids=lambda file: file.stem)
def test_every_committed_recipe_loads_under_its_own_name(file: Path):
    assert load_recipe("calibration", str(file), CalibrationRecipe).name == file.stem


def test_a_model_without_a_recipe_of_its_own_has_the_default_one():
    assert load_recipe_of("taemi-mobile").name == recipe_name_of("taemi-mobile") == "taemi-mobile"
    assert load_recipe_of("another").name == recipe_name_of("another") == "default"

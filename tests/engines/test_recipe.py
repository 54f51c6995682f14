"""Target recipes: values that no target can have are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.bundle.spec import PARTS
from taemi_edge.engines.recipe import TargetRecipe
from tests.cli.checks import refused

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("change", ["runs=0", "gain=2", "workspace_mib=-1", "optimisation_level=9", "precisions=[]"])
def test_values_that_no_target_can_have(change, cli, calibrated_folder):
    refused(cli("build-engine", calibrated_folder, "--target", "cpu", "--set", change), "expected ")


def test_a_profile_with_a_dimension_that_is_none(cli, calibrated_folder):
    done = cli("build-engine", calibrated_folder, "--target", "cpu", "--set", "profiles.text.token=[1,2,3]")
    refused(done, "expected batch, tokens in profiles.text, got 'token'")


@pytest.mark.parametrize("file", sorted((ROOT / "engines").glob("*.toml")), ids=lambda file: file.stem)
def test_every_committed_target_loads_and_has_a_profile_for_every_part(file: Path):
    target = load_recipe("engines", str(file), TargetRecipe)
    assert target.name == file.stem
    for part in PARTS:
        assert all(0 < low <= usual <= high for low, usual, high in target.spans(part).values())


def test_a_profile_changes_only_the_dimensions_that_it_names():
    target = TargetRecipe(name="mine", backend="tensorrt", profiles={"audio": {"batch": (1, 2, 4)}})
    plain = TargetRecipe(name="plain", backend="tensorrt")
    assert target.spans("audio") == {**plain.spans("audio"), "batch": (1, 2, 4)}
    assert target.spans("text") == plain.spans("text")

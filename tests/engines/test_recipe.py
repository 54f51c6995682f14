"""Target recipes: values that no target can have are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.engines.recipe import TargetRecipe
from tests.cli.checks import refused

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("change", ["runs=0", "gain=2", "workspace_mib=-1", "optimisation_level=9", "precisions=[]"])
def test_values_that_no_target_can_have(change, cli_here, calibrated_folder):
    refused(cli_here("build-engine", calibrated_folder, "--target", "cpu", "--set", change), "expected ")


def test_a_profile_whose_lengths_are_out_of_order(cli_here, calibrated_folder):
    done = cli_here("build-engine", calibrated_folder, "--target", "cpu", "--set", "profiles.text.tokens=[4,2,3]")
    refused(done, "expected 0 < min <= opt <= max for text.tokens, got 4, 2, 3")


def test_a_profile_with_a_dimension_that_is_none(cli_here, calibrated_folder):
    done = cli_here("build-engine", calibrated_folder, "--target", "cpu", "--set", "profiles.text.token=[1,2,3]")
    refused(done, "expected batch, tokens in profiles.text, got 'token'")


@pytest.mark.parametrize("file", sorted((ROOT / "engines").glob("*.toml")), ids=lambda file: file.stem)
def test_every_committed_target_loads_and_serves_any_model(file: Path):
    target = load_recipe("engines", str(file), TargetRecipe)
    assert target.name == file.stem
    assert target.profiles == {}

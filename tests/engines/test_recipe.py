"""Target recipes: values that no target can have are refused."""

from __future__ import annotations

import pytest

from tests.test_run import refused


@pytest.mark.parametrize("change", ["runs=0", "gain=2", "workspace_mib=-1", "optimisation_level=9", "precisions=[]"])
def test_values_that_no_target_can_have(change, cli, calibrated_folder):
    refused(cli("build-engine", calibrated_folder, "--target", "cpu", "--set", change), "expected ")


def test_a_profile_with_a_dimension_that_is_none(cli, calibrated_folder):
    done = cli("build-engine", calibrated_folder, "--target", "cpu", "--set", "profiles.text.token=[1,2,3]")
    refused(done, "expected batch, tokens in profiles.text, got 'token'")

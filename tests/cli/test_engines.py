"""The command `build-engine`, used wrongly."""

from __future__ import annotations

from pathlib import Path

from tests.cli.checks import refused


def test_a_change_without_a_value_is_refused(cli_here, tiny_folder: Path):
    refused(cli_here("build-engine", tiny_folder, "--target", "cpu", "--set", "workspace_mib"), "expected KEY=VALUE")


def test_a_target_must_be_known(cli_here, tiny_folder: Path):
    assert cli_here("build-engine", tiny_folder, "--target", "nowhere").returncode == 2

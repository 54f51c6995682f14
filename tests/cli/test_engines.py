"""The command `build-engine`, used wrongly."""

from __future__ import annotations

from pathlib import Path

from tests.cli.checks import refused


def test_a_change_without_a_value_is_refused(cli, tiny_folder: Path):
    refused(cli("build-engine", tiny_folder, "--target", "cpu", "--set", "workspace_mib"), "expected KEY=VALUE")


def test_a_target_must_be_known(cli, tiny_folder: Path):
    assert cli("build-engine", tiny_folder, "--target", "nowhere").returncode == 2

"""The commands `train` and `ablate`, used wrongly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.checks import refused

pytest.importorskip("torch", reason="training needs torch")


def test_a_change_without_a_value_is_refused(cli_here, tmp_path: Path):
    refused(cli_here("train", "taemi-tiny", "--data", tmp_path, "--set", "fusion.kind"), "expected KEY=VALUE")


def test_a_variant_must_be_known(cli_here, tmp_path: Path):
    done = cli_here("ablate", "--variant", "nowhere", "--output", tmp_path / "a.md")
    assert done.returncode == 2
    assert not (tmp_path / "a.md").exists()

"""The command `evaluate`: what it demands of a result."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from taemi_edge.cli.evaluate import _require
from taemi_edge.errors import CheckFailedError


@pytest.mark.parametrize(("found", "got"), [(0.41, "got 0.410"), (None, "got an undefined one")])
def test_a_mean_pearson_that_is_too_low_fails(found: float | None, got: str):
    with pytest.raises(CheckFailedError, match=f"at least 0.5, {got}"):
        _require(SimpleNamespace(metric="pearson", value=found, higher_is_better=True), 0.5)


def test_one_that_is_high_enough_passes():
    _require(SimpleNamespace(metric="pearson", value=0.5, higher_is_better=True), 0.5)

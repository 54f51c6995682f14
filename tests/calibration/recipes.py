"""A calibration recipe for the few clips of the tests."""

from __future__ import annotations

import pytest

pytest.importorskip("onnx", reason="graphs are quantised with onnx")


from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.calibration.recipe import CalibrationRecipe
from tests.conftest import FEW_CLIPS


def few(**changes: str) -> CalibrationRecipe:
    return load_recipe("calibration", "taemi-tiny", CalibrationRecipe, {**FEW_CLIPS, **changes})

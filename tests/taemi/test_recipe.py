"""The recipe of a model: values that cannot work are refused when the recipe is made."""

from __future__ import annotations

import pytest

from taemi_edge.taemi.recipe import FusionRecipe, TrainingRecipe


@pytest.mark.parametrize(
    ("values", "message"),
    [({"dropout": 1.0}, "dropout and modality_dropout in"), ({"dim": 10, "heads": 4}, "a multiple of heads")],
)
def test_a_fusion_that_cannot_work_is_refused(values: dict[str, float], message: str):
    with pytest.raises(ValueError, match=message):
        FusionRecipe(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch_size": 1}, "batch_size >= 2"),
        ({"warmup": 1.0}, "0 < warmup < 1"),
        ({"modalities": ()}, "at least one of vision, audio, text"),
    ],
)
def test_a_training_that_cannot_work_is_refused(values: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        TrainingRecipe(**values)

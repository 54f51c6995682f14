"""The plot of a training run."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("torch", reason="training needs the extra `train`")

from taemi_edge.taemi.train.plot import plot_training
from taemi_edge.taemi.train.trainer import EpochMetrics


@pytest.mark.parametrize("scores", [(0.1, 0.3, 0.2), (None, None, None)])
def test_a_history_becomes_a_picture_with_or_without_a_valid_split(tmp_path: Path, scores):
    history = [
        EpochMetrics(
            epoch=epoch,
            step=10 * epoch,
            loss=1 / epoch,
            valid_mean_pearson=found,
            learning_rate=1e-3,
            token_gradient={},
            seconds=1.0,
        )
        for epoch, found in enumerate(scores, 1)
    ]
    plot_training(history, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 5000

"""The feature-level task: seeded, with losses at their rates, and a control without anything to find."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from taemi_edge.taemi.names import EMOTIONS, MODALITIES
from taemi_edge.taemi.synthetic.features import FeatureTask, draw_splits


def test_the_task_is_seeded_and_loses_what_it_says():
    a, b, c = (draw_splits(FeatureTask(), seed, 50, 10, 3000) for seed in (0, 0, 1))
    for m in MODALITIES:
        assert torch.equal(a.train.sequences[m].values, b.train.sequences[m].values)
    assert not torch.equal(a.train.labels, c.train.labels)
    lost = {m: float((a.test.sequences[m].lengths == 0).float().mean()) for m in MODALITIES}
    assert lost["text"] == pytest.approx(0.014, abs=0.007)
    assert lost["vision"] == pytest.approx(0.15, abs=0.03)
    assert len(a.clean_test.complete()) == 3000
    assert a.clean_test.labels.shape == (3000, len(EMOTIONS))


def test_with_one_segment_every_step_shows_the_labels():
    one, four = (draw_splits(FeatureTask(segments=s), 0, 10, 10, 800).clean_test for s in (1, 4))
    pooled = [x.batch(None, torch.arange(800)).features["audio"].mean(1).numpy() for x in (one, four)]
    explained = []
    for features, data in zip(pooled, (one, four), strict=True):
        fit = features @ np.linalg.lstsq(features, data.labels.numpy(), rcond=None)[0]
        explained.append(np.corrcoef(fit.ravel(), data.labels.numpy().ravel())[0, 1])
    assert explained[0] > explained[1] + 0.15
